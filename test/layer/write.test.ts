import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { appendFileSync, readdirSync, statSync, utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { CompressPool } from '../../shared/layer/compress-pool.ts';
import type { EntryWithBody } from '../../shared/layer/entry.ts';
import { looksRandom } from '../../shared/layer/member-codec.ts';
import { MemberIndex } from '../../shared/layer/member-index.ts';
import { TableToc } from '../../shared/layer/toc-table.ts';
import { type LayerBlobs, type WriteLayerOptions, type WrittenLayer, writeLayer } from '../../shared/layer/write.ts';
import { sha256 } from '../../shared/oci/digest.ts';
import { DiskBlobs } from '../../shared/store/disk-blobs.ts';
import { decompress } from '../../shared/stream/decompress.ts';
import { entryWithBody } from '../tar/arbitrary.ts';
import { bytesOf, dir, file, inOrder, noise, once, readBack, symlink, temporaryFolder } from './support.ts';

const folder = temporaryFolder();
let blobs: DiskBlobs;
const pool = new CompressPool(2);
beforeAll(async () => {
  blobs = await DiskBlobs.open(join(folder, 'blobs'));
});
afterAll(() => pool[Symbol.asyncDispose]());

const write = (entries: readonly EntryWithBody[], options: Partial<WriteLayerOptions> = {}) =>
  writeLayer(entries, { blobs, compression: 'gzip', pool, ...options });

const text = (size: number, seed = 'x') => Buffer.alloc(size, createHash('sha256').update(seed).digest('hex').repeat(3));

/** About 5 MB: small files, a large one of text, a large one of noise, whole pieces, links. */
const mixed = inOrder([
  dir('app'),
  ...Array.from({ length: 200 }, (_, index) => file(`app/f${index}`, text(1000 + index * 11, String(index)))),
  file('app/large.txt', text(1_100_000)),
  file('app/noise', noise(1_100_000)),
  file('app/two-pieces', text(2 << 20)),
  symlink('app/link', 'f1'),
  file('app/empty', ''),
  file('zz', 'end'),
]);

// Many megabytes, many times: minutes on a machine that does other things as well.
vi.setConfig({ testTimeout: 60_000 });

describe('writeLayer', () => {
  it('writes any entries so that they are read back, with the digests it says', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.uniqueArray(entryWithBody, { maxLength: 10, selector: ({ entry }) => entry.path }),
        fc.constantFrom('gzip' as const, 'zstd' as const, 'none' as const),
        async (unsorted, compression) => {
          const entries = inOrder(unsorted);
          const layer = await write(entries, { compression });
          const blob = await bytesOf(blobs, layer.descriptor.digest);
          expect(blob.length).toBe(layer.descriptor.size);
          const tar = Buffer.concat(await Array.fromAsync(decompress(once(blob))));
          expect([sha256(tar), tar.length]).toEqual([layer.diffId, layer.uncompressedSize]);
          const members = await readBack(blob);
          expect(members.map(({ entry }) => entry)).toEqual(entries.map(({ entry }) => entry));
          expect(members.map(({ content }) => content)).toEqual(
            entries.map(({ body }) => (body?.kind === 'bytes' ? Buffer.from(body.bytes) : Buffer.alloc(0))),
          );
        },
      ),
      { numRuns: 40 },
    );
  });

  for (const compression of ['gzip', 'zstd', 'none'] as const) {
    it(`gives the same ${compression} bytes whatever the number of threads, and tools read them`, async () => {
      const digests = new Set<string>();
      for (const size of [1, 3]) {
        await using threads = new CompressPool(size);
        const layer = await write(mixed, { compression, pool: threads });
        digests.add(layer.descriptor.digest + layer.diffId + sha256(layer.toc) + sha256(layer.members));
        if (size > 1) continue;
        const blob = await bytesOf(blobs, layer.descriptor.digest);
        const listed = execFileSync('tar', [...{ gzip: ['-z'], zstd: ['--zstd'], none: [] }[compression], '-tf', '-'], {
          input: blob,
        });
        expect(String(listed).trim().split('\n')).toEqual(
          mixed.map(({ entry }) => entry.path + (entry.type === 'dir' ? '/' : '')),
        );
        expect((await readBack(blob)).map(({ content }) => content.length)).toEqual(mixed.map(({ entry }) => entry.size));
        if (compression === 'gzip') expect(gunzipSync(blob).length).toBe(layer.uncompressedSize);
      }
      expect(digests.size).toBe(1);
    });
  }

  it('is the same from a file, from memory and from a stream, in a thread and in this one', async () => {
    const content = text(400_000);
    const path = join(folder, 'source');
    writeFileSync(path, Buffer.concat([Buffer.from('before'), content]));
    const [{ entry }] = [file('a', content)];
    const bodies: EntryWithBody['body'][] = [
      { kind: 'bytes', bytes: content },
      { kind: 'file', path, offset: 6 },
      {
        kind: 'open',
        open: async () =>
          (async function* () {
            for (let at = 0; at < content.length; at += 999) yield content.subarray(at, at + 999);
          })(),
      },
    ];
    const digests = new Set<string>();
    for (const body of bodies) {
      await using fresh = new CompressPool(1);
      for (const threads of [fresh, pool])
        digests.add((await write([{ entry, body: body! }], { pool: threads })).descriptor.digest);
      expect(fresh.started).toBe(false);
    }
    expect(digests.size).toBe(1);
  });

  it('stores noise instead of compressing it, and does not mistake text for noise', async () => {
    const layer = await write([file('noise', noise(1 << 20))]);
    expect(new MemberIndex((await write([file('noise', noise(100_000))])).members).members[0]?.sha256).toBeUndefined();
    expect(layer.descriptor.size).toBeLessThan(layer.uncompressedSize + 1000);
    expect(new MemberIndex(layer.members).members.map(({ sha256 }) => sha256)[0]).toBeUndefined();
    expect(looksRandom(noise(1 << 20))).toBe(true);
    expect(looksRandom(Buffer.from(noise(1 << 20).toString('base64')))).toBe(false);
    expect(looksRandom(Buffer.alloc(1 << 20))).toBe(false);
    expect(looksRandom(Buffer.alloc(1 << 20, noise(1024)))).toBe(false);
    expect(
      looksRandom(
        Buffer.alloc(
          1 << 20,
          Uint8Array.from({ length: 256 }, (_, index) => index),
        ),
      ),
    ).toBe(false);
  });

  it('writes an empty layer', async () => {
    const layer = await write([]);
    expect([layer.entryCount, layer.uncompressedSize]).toEqual([0, 1024]);
    expect(await readBack(await bytesOf(blobs, layer.descriptor.digest))).toEqual([]);
  });

  it('clamps times to the epoch', async () => {
    const layer = await write([file('new', 'a', { mtime: 2000 }), file('old', 'b', { mtime: 10 })], { epoch: 1000 });
    const times = (await readBack(await bytesOf(blobs, layer.descriptor.digest))).map(({ entry }) => entry.mtime);
    expect(times).toEqual([1000, 10]);
    expect(new TableToc(layer.toc).get('new')).toMatchObject({ mtime: 1000 });
  });

  it('puts digests of all files, large ones too, and the contents of user files into the table of contents', async () => {
    const layer = await write(
      inOrder([...mixed, file('etc/passwd', 'root:x:0:0::/:\n'), file('etc/group', text(300_000)), file('app/.wh.gone', '')]),
    );
    const toc = new TableToc(layer.toc);
    expect(toc.diffId).toBe(layer.diffId);
    for (const { entry, body } of mixed) {
      const found = toc.get(entry.path);
      expect(found).toMatchObject({
        ...entry,
        ...(entry.type === 'file' && { digest: sha256(body?.kind === 'bytes' ? body.bytes : '') }),
      });
    }
    expect(String(toc.content('etc/passwd'))).toBe('root:x:0:0::/:\n');
    expect(toc.content('etc/group')).toBeUndefined();
    expect(toc.get('app/gone')).toEqual({ path: 'app/gone', type: 'whiteout' });
  });

  it('keeps an index with which the tar can be read from the middle', async () => {
    const layer = await write(mixed);
    const blob = await bytesOf(blobs, layer.descriptor.digest);
    const tar = gunzipSync(blob);
    const index = new MemberIndex(layer.members);
    expect(index.members.length).toBeGreaterThan(5);
    for (const member of index.members) {
      const packed = blob.subarray(member.packedOffset, member.packedOffset + member.packedLength);
      expect(gunzipSync(packed).equals(tar.subarray(member.offset, member.offset + member.length))).toBe(true);
    }
    expect(index.members.at(-1)!.offset + index.members.at(-1)!.length).toBe(tar.length);
    expect(index.covering(0, 1)).toEqual([index.members[0]]);
  });

  it('works on a store that only has put', async () => {
    const plain: LayerBlobs = { put: blobs.put.bind(blobs), open: blobs.open.bind(blobs) };
    const [one, two] = [await write(mixed), await write(mixed, { blobs: plain })];
    expect(two.descriptor).toEqual(one.descriptor);
    const failing: LayerBlobs = { ...plain, put: () => Promise.reject(new RangeError('no space')) };
    await expect(write(mixed, { blobs: failing })).rejects.toThrow('no space');
    const stopping: LayerBlobs = {
      ...plain,
      put: async (source) => {
        for await (const _ of source) break;
        throw new RangeError('broke off');
      },
    };
    await expect(write(mixed, { blobs: stopping })).rejects.toThrow('broke off');
  });
});

describe('reuse', () => {
  const changed = (index: number, entry: EntryWithBody) => mixed.with(index, entry);
  const edits: Readonly<Record<string, readonly EntryWithBody[]>> = {
    nothing: mixed,
    'a file changed': changed(50, file(mixed[50]!.entry.path, 'changed')),
    'a file inserted': inOrder([...mixed, file('app/f100a', text(5000, 'new'))]),
    'a file removed': mixed.toSpliced(120, 1),
    'all in front changed': mixed.map((entry, at) =>
      at < 40 && entry.entry.type === 'file' ? file(entry.entry.path, text(3333, `c${at}`)) : entry,
    ),
    'everything else': [file('other', text(100_000))],
  };
  const kinds = ['gzip', 'zstd', 'none'] as const;
  const written = new Map<(typeof kinds)[number], WrittenLayer>();
  beforeAll(async () => {
    for (const compression of kinds) written.set(compression, await write(mixed, { compression }));
  });
  for (const [name, entries] of Object.entries(edits)) {
    it(`never changes the bytes: ${name}`, async () => {
      for (const compression of kinds) {
        const earlier = written.get(compression)!;
        const fresh = name === 'nothing' ? earlier : await write(entries, { compression });
        const plain: LayerBlobs = { put: blobs.put.bind(blobs), open: blobs.open.bind(blobs) };
        for (const store of [blobs, plain]) {
          const again = await write(entries, {
            blobs: store,
            compression,
            reuse: { blob: earlier.descriptor.digest, members: earlier.members },
          });
          expect({ ...again, reusedMembers: 0 }).toEqual(fresh);
          const { members } = new MemberIndex(again.members);
          const compressed = members.filter(({ sha256 }) => sha256 !== undefined).length;
          if (compression !== 'none' && name === 'nothing') expect(again.reusedMembers).toBe(compressed);
          if (compression !== 'none' && name.startsWith('a file'))
            expect(again.reusedMembers).toBeGreaterThanOrEqual(compressed - 3);
          if (compression === 'none' || name === 'everything else') expect(again.reusedMembers).toBe(0);
        }
      }
    });
  }

  it('does without an index that is damaged, of another codec, or of a blob that is gone', async () => {
    const earlier = await write(mixed);
    const digest = earlier.descriptor.digest;
    const zstd = await write(mixed, { compression: 'zstd' });
    for (const reuse of [
      { blob: digest, members: earlier.members.subarray(0, 100) },
      { blob: digest, members: noise(500) },
      { blob: zstd.descriptor.digest, members: zstd.members },
      { blob: sha256('nothing'), members: earlier.members },
    ]) {
      expect(await write(mixed, { reuse })).toEqual(earlier);
    }
  });
});

describe('files that change', () => {
  const staged = () => readdirSync(join(folder, 'blobs', 'uploads')).filter((name) => name.startsWith('put-'));
  const path = join(folder, 'changing');
  const entry = (size: number) => file('dir/name', text(size)).entry;

  it('are CONTEXT_CHANGED by name and leave nothing behind', async () => {
    const before = await blobs.list({ limit: 10_000 });
    const body = { kind: 'file' as const, path, offset: 0 };
    for (const size of [1000, 3 << 20]) {
      writeFileSync(path, text(size));
      const state = statSync(path);
      const refused = (given: EntryWithBody) =>
        expect(write([given])).rejects.toMatchObject({ code: 'CONTEXT_CHANGED', message: expect.stringContaining('dir/name') });
      await refused({ entry: entry(size + 1), body });
      await refused({ entry: { ...entry(size), digest: sha256('other') }, body });
      await refused({ entry: entry(size), body: { kind: 'bytes', bytes: text(size - 1) } });
      await refused({ entry: entry(size), body: { kind: 'open', open: async () => once(text(size - 1)) } });
      await refused({ entry: entry(size), body: { kind: 'open', open: async () => once(text(size + 1)) } });
      await refused({ entry: entry(size), body: { ...body, path: join(folder, 'absent') } });
      const digest = sha256(text(size));
      expect((await write([{ entry: { ...entry(size), digest }, body: { ...body, state } }])).entryCount).toBe(1);
      utimesSync(path, 1, 1);
      await refused({ entry: { ...entry(size), digest }, body: { ...body, state } });
      appendFileSync(path, 'x');
      await refused({ entry: { ...entry(size), digest }, body: { ...body, state } });
    }
    expect(staged()).toEqual([]);
    expect((await blobs.list({ limit: 10_000 })).length - before.length).toBeLessThanOrEqual(2);
  });

  it('and errors of sources, cancellation and disorder end everything', async () => {
    const failing = async function* () {
      yield* mixed.slice(0, 200);
      throw new RangeError('the walk broke');
    };
    await expect(writeLayer(failing(), { blobs, compression: 'gzip', pool })).rejects.toThrow('the walk broke');
    const controller = new AbortController();
    const cancelling = async function* () {
      yield* mixed.slice(0, 200);
      controller.abort();
      yield* mixed.slice(200);
    };
    await expect(writeLayer(cancelling(), { blobs, compression: 'gzip', pool, signal: controller.signal })).rejects.toMatchObject(
      { code: 'CANCELLED' },
    );
    await expect(write([file('b', ''), file('a', '')])).rejects.toMatchObject({ code: 'INTERNAL' });
    expect(staged()).toEqual([]);
  });
});
