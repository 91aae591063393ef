import { mkdtempSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { unpackStream } from '../../shared/layer/apply.ts';
import { changesOf } from '../../shared/layer/changes.ts';
import { CompressPool } from '../../shared/layer/compress-pool.ts';
import type { EntryWithBody } from '../../shared/layer/entry.ts';
import { MergedTree } from '../../shared/layer/merged.ts';
import { TocBuilder } from '../../shared/layer/toc-builder.ts';
import { tocOfLayer } from '../../shared/layer/toc-of-layer.ts';
import { TableToc } from '../../shared/layer/toc-table.ts';
import { writeLayer } from '../../shared/layer/write.ts';
import { sha256 } from '../../shared/oci/digest.ts';
import { DiskBlobs } from '../../shared/store/disk-blobs.ts';
import { writeTar } from '../../shared/tar/write.ts';
import { entryWithBody } from '../tar/arbitrary.ts';
import { bytesOf, dir, file, hardlink, inOrder, once, symlink, temporaryFolder } from './support.ts';

vi.setConfig({ testTimeout: 60_000 });
const folder = temporaryFolder();
const pool = new CompressPool(1);
afterAll(() => pool[Symbol.asyncDispose]());
const diffId = sha256('any');

const tocOf = (entries: readonly EntryWithBody[]): TableToc => {
  const builder = new TocBuilder();
  for (const { entry, body } of entries) {
    const bytes = body?.kind === 'bytes' ? body.bytes : new Uint8Array(0);
    builder.add(entry.type === 'file' ? { ...entry, digest: sha256(bytes) } : entry, bytes);
  }
  return new TableToc(builder.finish(diffId));
};
const treeOf = (...layers: (readonly EntryWithBody[])[]) => new MergedTree(layers.map(tocOf));
const paths = (entries: Iterable<{ readonly path: string }>) => [...entries].map(({ path }) => path);
const tarOf = async (entries: readonly EntryWithBody[]) => Buffer.concat(await Array.fromAsync(writeTar(entries)));

describe('the table of one layer', () => {
  it('gives back every entry, by path and in order', () => {
    fc.assert(
      fc.property(fc.uniqueArray(entryWithBody, { maxLength: 15, selector: ({ entry }) => entry.path }), (entries) => {
        const usual = entries.filter(({ entry }) => !/(^|\/)\.wh\./.test(entry.path));
        const toc = tocOf(usual);
        const sorted = inOrder(usual);
        expect(paths(toc.under(''))).toEqual(sorted.map(({ entry }) => entry.path));
        expect(toc.count).toBe(sorted.length);
        for (const { entry } of sorted) {
          expect(toc.get(entry.path)).toMatchObject(entry);
          expect(toc.get(`${entry.path}/nothing`)).toBeUndefined();
          expect(paths(toc.under(entry.path))).toEqual(
            paths(sorted.map((other) => other.entry)).filter((path) => path.startsWith(`${entry.path}/`)),
          );
        }
      }),
    );
  });

  it('lists children by stepping over what is below them', () => {
    const toc = tocOf([
      dir(''),
      dir('a'),
      file('a.txt', ''),
      dir('a/b'),
      file('a/b/c', ''),
      file('a/b-c', ''),
      file('implied/x/y', ''),
      file('z', ''),
    ]);
    expect([...toc.children('')].map(({ name, entry }) => [name, entry?.type])).toEqual([
      ['a', 'dir'],
      ['a.txt', 'file'],
      ['implied', undefined],
      ['z', 'file'],
    ]);
    expect([...toc.children('a')].map(({ name }) => name)).toEqual(['b', 'b-c']);
    expect([...toc.children('implied/x')].map(({ name }) => name)).toEqual(['y']);
    expect([...toc.children('z')]).toEqual([]);
    expect(paths(toc.under(''))).toEqual(['a', 'a.txt', 'a/b', 'a/b-c', 'a/b/c', 'implied/x/y', 'z']);
    expect(toc.get('')?.type).toBe('dir');
  });

  it('keeps the contents of user files, the last of two, and nothing large', () => {
    const toc = tocOf([file('etc/passwd', 'old'), file('etc/passwd', 'new'), file('etc/group', Buffer.alloc(256 * 1024 + 1))]);
    expect(String(toc.content('etc/passwd'))).toBe('new');
    expect(toc.content('etc/group')).toBeUndefined();
    expect(tocOf([file('etc/group', '')]).content('etc/group')).toHaveLength(0);
    expect(tocOf([file('etc/group', 'a'), symlink('etc/group', 'x')]).content('etc/group')).toBeUndefined();
  });

  it('refuses bytes that are no table', () => {
    const bytes = Buffer.from(new TocBuilder().finish(diffId));
    expect(new TableToc(bytes).count).toBe(0);
    for (const broken of [Buffer.alloc(0), Buffer.alloc(200), bytes.subarray(0, -1), Buffer.concat([bytes, Buffer.alloc(4)])]) {
      expect(() => new TableToc(broken)).toThrowError(expect.objectContaining({ code: 'INVALID_DOCUMENT' }));
    }
    const full = Buffer.from(new TocBuilder().finish(diffId));
    fc.assert(
      fc.property(fc.nat(full.length - 1), fc.nat(255), (at, value) => {
        const damaged = Buffer.from(full);
        damaged[at] = value;
        try {
          const toc = new TableToc(damaged);
          void [...toc.under('')];
          toc.get('a');
        } catch (error) {
          expect(error).toMatchObject({ code: expect.stringMatching(/INVALID_D/) });
        }
      }),
    );
  });
});

describe('tocOfLayer', () => {
  let blobs: DiskBlobs;
  beforeAll(async () => {
    blobs = await DiskBlobs.open(join(folder, 'blobs'));
  });

  it('is what the writer of the layer made, for every compression', async () => {
    const entries = inOrder([
      dir('etc'),
      file('etc/passwd', 'root'),
      file('etc/.wh.gone', ''),
      dir('o'),
      file('o/.wh..wh..opq', ''),
      hardlink('h', 'etc/passwd'),
      symlink('s', 'h'),
    ]);
    for (const compression of ['gzip', 'zstd', 'none'] as const) {
      const layer = await writeLayer(entries, { blobs, compression, pool });
      const toc = await tocOfLayer(once(await bytesOf(blobs, layer.descriptor.digest)), layer.diffId);
      expect(toc.equals(layer.toc)).toBe(true);
    }
  });

  it('reads layers in any order, with duplicates and absolute names, and refuses a wrong diffID', async () => {
    const tar = await tarOf([file('b', '1'), dir('a'), file('b', '22'), file('a/x', '')]);
    const toc = new TableToc(await tocOfLayer(once(tar), sha256(tar)));
    expect(paths(toc.under(''))).toEqual(['a', 'a/x', 'b']);
    expect(toc.get('b')).toMatchObject({ size: 2, digest: sha256('22') });
    await expect(tocOfLayer(once(tar), diffId)).rejects.toMatchObject({ code: 'DIGEST_MISMATCH' });
    await expect(tocOfLayer(once(tar.subarray(0, 700)), diffId)).rejects.toMatchObject({ code: 'INVALID_ARCHIVE' });
  });
});

describe('the merged tree', () => {
  const base = [
    dir('etc'),
    file('etc/passwd', 'root:0'),
    file('etc/motd', 'hi'),
    dir('usr'),
    dir('usr/lib'),
    file('usr/lib/x', 'x'),
    symlink('lib', 'usr/lib'),
  ];

  it('takes the topmost, honours whiteouts and opaque directories', () => {
    const tree = treeOf(
      base,
      [
        dir('etc', { mode: 0o700 }),
        file('etc/.wh.motd', ''),
        file('etc/new', ''),
        dir('usr'),
        file('usr/.wh..wh..opq', ''),
        file('usr/only', ''),
      ],
      [file('.wh.etc', ''), file('etc/again', '')],
    );
    expect(paths(tree.under(''))).toEqual(['etc', 'etc/again', 'lib', 'usr', 'usr/only']);
    expect(tree.get('etc')).toMatchObject({ type: 'dir', mode: 0o755 });
    for (const gone of ['etc/passwd', 'etc/new', 'usr/lib', 'usr/lib/x', 'nothing', 'lib/x'])
      expect(tree.get(gone)).toBeUndefined();
    expect(paths(tree.list(''))).toEqual(['etc', 'lib', 'usr']);
    expect(paths(tree.list('usr/only'))).toEqual([]);
    expect(tree.content('etc/passwd')).toBeUndefined();
  });

  it('gives implied directories what they were below', () => {
    const tree = treeOf([dir('srv', { mode: 0o700, uid: 5 })], [file('srv/a/b', '')]);
    expect(tree.get('srv')).toMatchObject({ mode: 0o700, uid: 5 });
    expect(tree.get('srv/a')).toMatchObject({ type: 'dir', mode: 0o755, uid: 0 });
    expect(paths(tree.under(''))).toEqual(['srv', 'srv/a', 'srv/a/b']);
    expect(treeOf([symlink('srv', 'x')], [file('srv/a', '')]).list('')).toMatchObject([{ path: 'srv', type: 'dir' }]);
  });

  it('lets a file hide a directory and a directory a file', () => {
    expect(paths(treeOf(base, [file('usr', 'f')]).under(''))).toEqual(['etc', 'etc/motd', 'etc/passwd', 'lib', 'usr']);
    expect(paths(treeOf(base, [file('usr', 'f')], [dir('usr'), file('usr/z', '')]).under('usr'))).toEqual(['usr/z']);
  });

  it('follows one more name of a symbolic link, and takes one of a device for a device', () => {
    const layer = [
      dir('a'),
      symlink('a/link', 'x'),
      hardlink('again', 'a/link'),
      dir('x'),
      file('x/f', 'f'),
      hardlink('then', 'again'),
    ];
    const tree = treeOf(layer, [dir('y')]);
    expect(tree.get('again')).toMatchObject({ type: 'symlink', link: 'x', path: 'again' });
    expect(tree.resolve('again/f')).toBe('x/f');
    expect(tree.resolve('then/f')).toBe('x/f');
    expect(tree.list('').map(({ path, type }) => `${path} ${type}`)).toEqual([
      'a dir',
      'again symlink',
      'then symlink',
      'x dir',
      'y dir',
    ]);
  });

  it('keeps a hard link to what was replaced above', () => {
    const tree = treeOf([file('a', 'old'), hardlink('b', 'a'), file('c', 'same'), hardlink('d', 'c')], [file('a', 'newer')]);
    expect(tree.get('b')).toEqual({ ...file('b', 'old').entry, digest: sha256('old') });
    expect(tree.locate('b')).toMatchObject({ layer: 0, path: 'a' });
    expect(tree.get('d')).toMatchObject({ type: 'hardlink', link: 'c' });
    expect(tree.locate('d')).toMatchObject({ layer: 0, path: 'c' });
    expect(tree.under('').find(({ path }) => path === 'b')).toMatchObject({ type: 'file', size: 3 });
    expect(() => treeOf([hardlink('b', 'absent')]).get('b')).toThrowError(expect.objectContaining({ code: 'INVALID_ARCHIVE' }));
  });

  it('resolves links inside the root', () => {
    const tree = treeOf([
      ...base,
      symlink('abs', '/usr/lib'),
      symlink('up', '../../../../etc'),
      symlink('usr/lib/y', '../../etc/motd'),
      symlink('l1', 'l2'),
      symlink('l2', 'l1'),
      symlink('self', 'self/x'),
    ]);
    const cases = {
      'lib/x': 'usr/lib/x',
      'abs/x': 'usr/lib/x',
      'up/passwd': 'etc/passwd',
      'lib/y': 'etc/motd',
      'lib/no/such': 'usr/lib/no/such',
      '../..': '',
      '/etc/': 'etc',
      '': '',
    };
    for (const [path, resolved] of Object.entries(cases)) expect(tree.resolve(path)).toBe(resolved);
    expect(tree.resolve('lib', { followLast: false })).toBe('lib');
    expect(tree.resolve('abs/y', { followLast: false })).toBe('usr/lib/y');
    for (const loop of ['l1', 'l2/x', 'self'])
      expect(() => tree.resolve(loop)).toThrowError(expect.objectContaining({ code: 'STEP_FAILED' }));
    expect(String(treeOf([...base, dir('x'), symlink('x/etc', '/etc')]).content('x/etc/passwd'))).toBe('root:0');
  });

  // The law: what is seen through tables is what unpacking the same layers one over the other gives.
  type Node =
    | { readonly kind: 'file' | 'link' | 'gone' }
    | { readonly kind: 'dir'; readonly opaque: boolean; readonly below: Readonly<Record<string, Node>> };
  const names = fc.constantFrom('a', 'b', 'c', 'a.', 'a-b');
  const { node } = fc.letrec<{ node: Node; folder: Node }>((tie) => ({
    node: fc.oneof(
      { depthSize: 'small', withCrossShrink: true },
      fc.record({ kind: fc.constantFrom('file' as const, 'file' as const, 'link' as const, 'gone' as const) }),
      tie('folder'),
    ),
    folder: fc.record({
      kind: fc.constant('dir' as const),
      opaque: fc.boolean(),
      below: fc.dictionary(names, tie('node'), { maxKeys: 4, noNullPrototype: true }),
    }),
  }));
  const flatten = (at: string, below: Readonly<Record<string, Node>>): EntryWithBody[] =>
    Object.entries(below).flatMap(([name, node]) => {
      const path = at === '' ? name : `${at}/${name}`;
      switch (node.kind) {
        case 'file':
          return [file(path, path)];
        case 'link':
          return [symlink(path, 'a')];
        case 'gone':
          return [file(at === '' ? `.wh.${name}` : `${at}/.wh.${name}`, '')];
        default:
          return [dir(path), ...(node.opaque ? [file(`${path}/.wh..wh..opq`, '')] : []), ...flatten(path, node.below)];
      }
    });

  it.runIf(process.geteuid?.() === 0)('is what unpacking gives', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.dictionary(names, node, { maxKeys: 4, noNullPrototype: true }), { minLength: 1, maxLength: 4 }),
        async (chain) => {
          const layers = chain.map((layer) => inOrder(flatten('', layer)));
          const root = mkdtempSync(join(folder, 'tree-'));
          for (const layer of layers) {
            const tar = await tarOf(layer);
            await unpackStream(once(tar), sha256(tar), root, { mode: 'plain' });
          }
          const tree = treeOf(...layers);
          const disk = (await changesOf(root)).map(({ entry }) => [entry.path, entry.type]);
          expect(tree.under('').map(({ path, type }) => [path, type])).toEqual(disk);
          for (const { path } of tree.under('')) expect(tree.get(path)).toMatchObject({ path });
        },
      ),
      { numRuns: 60 },
    );
  });
});
