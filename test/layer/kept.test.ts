import { execFileSync } from 'node:child_process';
import { existsSync, lstatSync, mkdirSync, readdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { CompressPool } from '../../shared/layer/compress-pool.ts';
import type { EntryWithBody } from '../../shared/layer/entry.ts';
import { LayerRecords } from '../../shared/layer/record.ts';
import { type LayerUses, UnpackedLayers } from '../../shared/layer/unpacked.ts';
import { writeLayer } from '../../shared/layer/write.ts';
import { sha256 } from '../../shared/oci/digest.ts';
import { DiskBlobs } from '../../shared/store/disk-blobs.ts';
import { layerKeys } from '../../shared/store/keys.ts';
import { SqliteTable } from '../../shared/store/sqlite-table.ts';
import { dir, file, inOrder, temporaryFolder } from './support.ts';

const folder = temporaryFolder();
const pool = new CompressPool(1);
let blobs: DiskBlobs;
let count = 0;
beforeAll(async () => {
  blobs = await DiskBlobs.open(join(folder, 'blobs'));
});
afterAll(() => pool[Symbol.asyncDispose]());
const write = (entries: readonly EntryWithBody[], compression: 'gzip' | 'zstd' = 'gzip') =>
  writeLayer(inOrder(entries), { blobs, compression, pool });
const newId = () => `id${count++}`;

describe('layer records', () => {
  let table: SqliteTable;
  let records: LayerRecords;
  beforeEach(() => {
    table = SqliteTable.open(join(folder, `table${count++}.db`));
    records = new LayerRecords(table, blobs);
    return () => table[Symbol.dispose]();
  });

  it('keep every form of a layer, its table and its members', async () => {
    const entries = [dir('etc'), file('etc/passwd', 'root')];
    const [gzip, zstd] = [await write(entries), await write(entries, 'zstd')];
    expect(await records.find(gzip.diffId)).toBeUndefined();
    for (const layer of [gzip, zstd, gzip]) await records.save(layer);
    expect((await records.get(gzip.diffId))?.forms.map(({ descriptor }) => descriptor)).toEqual([
      gzip.descriptor,
      zstd.descriptor,
    ]);
    expect(await records.find(gzip.diffId)).toEqual({ descriptor: gzip.descriptor, diffId: gzip.diffId });
    const again = new LayerRecords(table, blobs);
    expect(String((await again.toc(gzip)).content('etc/passwd'))).toBe('root');
    expect((await again.tree([gzip])).get('etc/passwd')).toMatchObject({ size: 4 });
    expect(await again.reusable(gzip.diffId, zstd.descriptor.mediaType)).toEqual({
      blob: zstd.descriptor.digest,
      members: Buffer.from(zstd.members),
    });
    expect(await again.members(gzip.diffId, gzip.descriptor.digest)).toEqual(Buffer.from(gzip.members));
    await blobs.delete(gzip.descriptor.digest);
    expect((await records.find(gzip.diffId))?.descriptor).toEqual(zstd.descriptor);
    expect(await records.remove(gzip.diffId)).toBe(true);
    expect(await records.get(gzip.diffId)).toBeUndefined();
  });

  it('make the table of a foreign layer once, also when many ask at the same time', async () => {
    const { descriptor, diffId } = await write([file('foreign', 'x')]);
    const [one, two] = await Promise.all([records.toc({ descriptor, diffId }), records.toc({ descriptor, diffId })]);
    expect(one).toBe(two);
    expect(one.get('foreign')).toMatchObject({ digest: sha256('x') });
    expect((await records.get(diffId))?.toc).toBeDefined();
    await blobs.delete(descriptor.digest);
    expect((await new LayerRecords(table, blobs).toc({ descriptor, diffId })).get('foreign')).toBeDefined();
    const gone = await write([file('gone', 'x')]);
    await blobs.delete(gone.descriptor.digest);
    await expect(records.toc({ descriptor: gone.descriptor, diffId: gone.diffId })).rejects.toMatchObject({ code: 'NOT_FOUND' });
  });

  it('lose nothing when several write at once, and treat a damaged record as none', async () => {
    const entries = [file('shared', 'x')];
    const [gzip, zstd] = [await write(entries), await write(entries, 'zstd')];
    const others = new LayerRecords(table, blobs);
    await Promise.all([records.save(gzip), others.save(zstd), records.save(zstd), others.save(gzip)]);
    expect((await records.get(gzip.diffId))?.forms).toHaveLength(2);
    await table.put(layerKeys.record(gzip.diffId), { forms: [{ digest: 7 }] });
    expect(await records.get(gzip.diffId)).toBeUndefined();
    await records.save(gzip);
    expect((await records.get(gzip.diffId))?.forms).toHaveLength(1);
  });
});

describe.runIf(process.geteuid?.() === 0)('unpacked layers', () => {
  const make = (root: string, bootId = 'boot 1', uses?: LayerUses) =>
    new UnpackedLayers({ root, blobs, owners: true, overlayXattrs: 'trusted', newId, bootId, ...(uses && { uses }) });
  const freshRoot = () => join(folder, `cache${count++}`);

  it('are made once, by whoever comes first', async () => {
    const root = freshRoot();
    const layer = await write([file('a', 'content')]);
    const [one, two] = [make(root), make(root)];
    expect(one.path(layer.diffId)).toBeUndefined();
    const found = await Promise.all([one.directory(layer), one.directory(layer), two.directory(layer), two.directory(layer)]);
    expect(new Set(found).size).toBe(1);
    expect(String(readFileSync(join(found[0]!, 'a')))).toBe('content');
    expect(one.path(layer.diffId)).toBe(found[0]);
    expect(found[0]!.length - root.length).toBeLessThan(30);
    expect(readdirSync(root)).toHaveLength(1);
    expect(one.list()).toEqual([layer.diffId]);
    expect(two.remove(layer.diffId)).toBe(true);
    expect([two.remove(layer.diffId), readdirSync(root)]).toEqual([false, []]);
  });

  it('leave nothing behind when they fail, and work the next time', async () => {
    const root = freshRoot();
    const cache = make(root);
    const layer = await write([file('a', 'x')]);
    await expect(cache.directory({ ...layer, diffId: sha256('other') })).rejects.toMatchObject({ code: 'DIGEST_MISMATCH' });
    const controller = new AbortController();
    controller.abort();
    await expect(cache.directory(layer, undefined, { signal: controller.signal })).rejects.toMatchObject({ code: 'CANCELLED' });
    expect(readdirSync(root)).toEqual([]);
    expect(existsSync(await cache.directory(layer))).toBe(true);
  });

  it('are not trusted after a restart of the machine', async () => {
    const root = freshRoot();
    const layer = await write([file('lost', 'x')]);
    const before = await make(root).directory(layer);
    writeFileSync(join(before, 'lost'), '');
    const after = make(root, 'boot 2');
    expect(after.path(layer.diffId)).toBeUndefined();
    expect(String(readFileSync(join(await after.directory(layer), 'lost')))).toBe('x');
    expect(readdirSync(root)).toHaveLength(1);
  });

  /** Names that are held; `before` is called at each look. */
  const usesOf = (held: Set<string>, before: () => void = () => undefined): LayerUses => ({
    hold: (name) => void held.add(name),
    isHeld: (name) => {
      before();
      return held.has(name);
    },
  });

  it('go when their layer is not stored any more, and stay while somebody works with them', async () => {
    const root = freshRoot();
    const [kept, gone, used] = [await write([file('k', 'x')]), await write([file('g', 'x')]), await write([file('u', 'x')])];
    for (const layer of [kept, gone]) await make(root).directory(layer);
    const held = new Set<string>();
    const tree = await make(root, 'boot 1', usesOf(held)).directory(used);
    const cache = make(root, 'boot 1', usesOf(held));
    const isStored = async (diffId: string) => diffId === kept.diffId;
    expect(await cache.removeUnstored(isStored)).toEqual([gone.diffId]);
    expect(cache.list()).toEqual([kept.diffId, used.diffId].sort());
    expect(existsSync(tree)).toBe(true);
    held.clear();
    expect(await cache.removeUnstored(isStored)).toEqual([used.diffId]);
    expect(readdirSync(root)).toHaveLength(1);
    // After a restart of the machine nobody can be using what is not trusted.
    expect(await make(root, 'boot 2').removeUnstored(async () => true)).toEqual([]);
    expect(readdirSync(root)).toEqual([]);
  });

  it('stay for who came between the look and the removal, with their marker', async () => {
    const root = freshRoot();
    const layer = await write([file('a', 'x')]);
    const tree = await make(root).directory(layer);
    const held = new Set<string>();
    let looks = 0;
    const uses = usesOf(held, () => {
      // The second look is after the marker went: whoever holds it now may have seen the marker just before.
      if (++looks === 2) held.add(readdirSync(root).find((name) => !name.startsWith('removing'))!);
    });
    expect(await make(root, 'boot 1', uses).removeUnstored(async () => false)).toEqual([]);
    expect(looks).toBe(2);
    expect(make(root).path(layer.diffId)).toBe(tree);
    expect(readdirSync(root)).toHaveLength(1);
  });

  it('are taken over, as they are, from a remover that died', async () => {
    const root = freshRoot();
    const layer = await write([file('a', 'x')]);
    const tree = await make(root).directory(layer);
    writeFileSync(join(tree, 'mounted by somebody'), '');
    renameSync(join(tree, '../made'), join(tree, '../going'));
    writeFileSync(join(root, 'removing'), '999999999 1');
    const cache = make(root);
    expect(cache.path(layer.diffId)).toBeUndefined();
    expect(readdirSync(await cache.directory(layer)).sort()).toEqual(['a', 'mounted by somebody']);
    expect(readdirSync(root)).toHaveLength(1);
  });

  it('take over an upper directory', async () => {
    const root = freshRoot();
    const cache = make(root);
    const layer = await write([file('a', 'x')]);
    for (let time = 0; time < 2; time++) {
      const upper = join(folder, `upper${count++}`);
      mkdirSync(upper);
      writeFileSync(join(upper, 'a'), 'x');
      const tree = cache.adopt(layer.diffId, upper);
      expect([existsSync(upper), readdirSync(tree)]).toEqual([false, ['a']]);
      expect(await cache.directory(layer)).toBe(tree);
    }
    expect(readdirSync(root)).toHaveLength(1);
  });

  it('have a form of their own where implied directories were different below', async () => {
    const root = freshRoot();
    const cache = make(root);
    const table = SqliteTable.open(join(folder, `table${count++}.db`));
    const records = new LayerRecords(table, blobs);
    const top = await write([file('srv/app/x', 'x')]);
    const bases = [
      await write([dir('srv', { mode: 0o700, uid: 5 })]),
      await write([dir('srv', { mode: 0o711, uid: 6 })]),
      await write([file('other', '')]),
    ];
    const seen: unknown[] = [];
    for (const base of bases) {
      const tree = await cache.directory(top, () => records.tree([base]));
      const { mode, uid } = lstatSync(join(tree, 'srv'));
      seen.push([mode & 0o7777, uid]);
    }
    expect(seen).toEqual([
      [0o700, 5],
      [0o711, 6],
      [0o755, 0],
    ]);
    expect(cache.remove(top.diffId)).toBe(true);
    expect(readdirSync(root)).toEqual([]);
    table[Symbol.dispose]();
  });

  it('can be stacked by the hundred: overlayfs takes their names', async ({ skip }) => {
    const cache = make(freshRoot());
    const layers = await Promise.all(Array.from({ length: 5 }, (_, index) => write([file(`f${index}`, 'x')])));
    const lowers: string[] = [];
    for (const layer of layers) lowers.unshift(await cache.directory(layer));
    const merged = join(folder, `merged${count++}`);
    mkdirSync(merged);
    try {
      execFileSync('mount', ['-t', 'overlay', 'overlay', '-o', `lowerdir=${lowers.join(':')}`, merged], { stdio: 'pipe' });
    } catch (error) {
      if (process.env.CI) throw error;
      skip('this machine cannot mount overlayfs');
    }
    const names = readdirSync(merged);
    execFileSync('umount', [merged]);
    expect(names).toEqual(['f0', 'f1', 'f2', 'f3', 'f4']);
  });
});
