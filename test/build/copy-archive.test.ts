import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { gzipSync, zstdCompressSync } from 'node:zlib';
import { describe, expect, it } from 'vitest';
import { copyEntries } from '../../shared/build/copy-entries.ts';
import { type CopyOperation, matchSources } from '../../shared/build/copy-match.ts';
import { Context } from '../../shared/context/list.ts';
import type { EntryWithBody } from '../../shared/layer/entry.ts';
import { sha256 } from '../../shared/oci/digest.ts';
import { collect } from '../../shared/stream/collect.ts';
import { writeTar } from '../../shared/tar/write.ts';
import { Folder } from '../context/folder.ts';
import { entriesOf, imageOf } from './trees.ts';

const text = 'hello '.repeat(300);

/** A tar of entries in this very order. */
const tarOf = async (entries: readonly EntryWithBody[]): Promise<Buffer> =>
  Buffer.from(await collect(writeTar(entries), 1 << 26));

const members = (files: Parameters<typeof entriesOf>[0], defaults = {}): EntryWithBody[] =>
  entriesOf(files, defaults).map((entry) => {
    const written = files[entry.path];
    const content = typeof written === 'string' ? written : (written?.text ?? '');
    return entry.size === 0 ? { entry } : { entry, body: { kind: 'bytes' as const, bytes: Buffer.from(content) } };
  });

const plain = await tarOf(
  members({ 'top/f': text, 'top/s': '-> f', 'top/h': '=> top/f', 'e/': {} }, { uid: 5, gid: 6, mtime: 321 }),
);

const add = async (
  file: Uint8Array,
  {
    name = 'x.bin',
    parent = imageOf({}),
    unpack = true,
    ...edit
  }: Partial<CopyOperation> & { name?: string; parent?: ReturnType<typeof imageOf> } = {},
): Promise<string[]> => {
  using folder = new Folder();
  folder.write(name, file);
  const tree = new Context([
    { path: name, type: 'file', mode: 0o644, uid: 0, gid: 0, size: file.length, mtime: 9, digest: sha256(file) },
  ]);
  const operation: CopyOperation = {
    kind: 'copy',
    from: { kind: 'context' },
    sources: [name],
    destination: '/d/',
    unpack,
    ...edit,
  };
  const entries = await copyEntries(matchSources(operation, tree), operation, {
    parent,
    bodyOf: (entry) => ({ kind: 'file', path: folder.at(entry.path), offset: 0 }),
    time: 1000,
    scratch: folder.path,
  });
  const layer = await Array.fromAsync(entries);
  return layer.map(({ entry, body }) => {
    let content = '';
    if (body?.kind === 'file') {
      const bytes = readFileSync(body.path).subarray(body.offset, body.offset + entry.size);
      content = ` ${bytes.toString('latin1').slice(0, 20)}`;
    }
    const link = entry.link === undefined ? '' : ` -> ${entry.link}`;
    return `${entry.path} ${entry.type} ${entry.uid}:${entry.gid} ${entry.mtime}${link}${content}`;
  });
};

const unpacked = [
  'd dir 0:0 1000',
  'd/e dir 5:6 321',
  'd/top dir 5:6 321',
  'd/top/f file 5:6 321 hello hello hello he',
  'd/top/h hardlink 5:6 321 -> d/top/f',
  'd/top/s symlink 5:6 321 -> f',
];

describe('ADD of an archive', () => {
  it('knows it by its content', async () => {
    expect(await add(plain, { name: 'any.name' })).toEqual(unpacked);
    expect(await add(gzipSync(plain))).toEqual(unpacked);
    expect(await add(zstdCompressSync(plain))).toEqual(unpacked);
    for (const [program, ...args] of [
      ['bzip2', '-c'],
      ['xz', '-c'],
    ] as const) {
      expect(await add(execFileSync(program, args, { input: plain })), program).toEqual(unpacked);
    }
  });

  it('copies what is none', async () => {
    const copied = (name: string): string[] => [
      'd dir 0:0 1000',
      expect.stringMatching(new RegExp(`^d/${name} file 0:0 9`)) as unknown as string,
    ];
    expect(await add(Buffer.alloc(0), { name: 'x.tar.gz' })).toEqual(['d dir 0:0 1000', 'd/x.tar.gz file 0:0 9']);
    for (const bytes of [
      Buffer.from('PK\x03\x04 zip'),
      gzipSync('just text'),
      gzipSync(plain).subarray(0, 15),
      Buffer.from([0x1f, 0x8b, 1, 2, 3, 4, 5, 6]),
      Buffer.alloc(10240),
      plain.subarray(0, 511),
      Buffer.alloc(600, 'x'),
      Buffer.from('BZh9 is how this text begins'),
    ]) {
      expect(await add(bytes, { name: 'file' })).toEqual(copied('file'));
    }
    expect(await add(plain, { name: 'x.tar', unpack: false })).toEqual(copied('x.tar'));
  });

  it('fails when it breaks off later', async () => {
    await expect(add(plain.subarray(0, 1500))).rejects.toMatchObject({ code: 'INVALID_ARCHIVE' });
    const packed = gzipSync(Buffer.concat([plain.subarray(0, 512), Buffer.alloc(1 << 20, 'x')]));
    await expect(add(packed.subarray(0, packed.length - 20))).rejects.toMatchObject({ code: 'INVALID_ARCHIVE' });
  });

  it('needs no slash; --chown is for the folder that is made, not for the members', async () => {
    expect(await add(plain, { destination: '/d' })).toEqual(unpacked);
    const [folder, ...rest] = await add(plain, { chown: '1:2' });
    expect(folder).toContain('d dir 1:2 ');
    expect(rest).toEqual(unpacked.slice(1));
  });

  it('merges over what exists', async () => {
    const parent = imageOf({ 'd/': { mtime: 1, uid: 9, gid: 9 }, 'd/e/': { mtime: 2 }, 'd/e/kept': 'k', 'd/top': '-> e' });
    // a symlink to a directory in the place of a directory is replaced, as docker does
    expect(await add(plain, { parent })).toEqual(['d dir 9:9 1', ...unpacked.slice(1)]);
    const files = imageOf({ 'd/top/f/deep': '1', 'd/e': 'file' });
    expect(await add(plain, { parent: files })).toEqual(['d dir 0:0 100', ...unpacked.slice(1)]);
  });

  it('can replace a directory by an empty one', async () => {
    const [dir] = members({ 'x/': { mtime: 3 } });
    const [file] = members({ x: { text: 'f', mtime: 3 } });
    const parent = imageOf({ 'd/x/old': '1' });
    expect(await add(await tarOf([file!, dir!]), { parent })).toEqual([
      'd dir 0:0 100',
      'd/x dir 0:0 3',
      'd/x/.wh..wh..opq file 0:0 3',
    ]);
  });

  it('stays inside its destination', async () => {
    const head = { mode: 0o644, uid: 0, gid: 0, size: 0, mtime: 5 } as const;
    const link = (path: string, to: string): EntryWithBody => ({ entry: { ...head, path, type: 'symlink', link: to } });
    const file = (path: string): EntryWithBody => ({ entry: { ...head, path, type: 'file' } });
    const paths = async (...list: EntryWithBody[]): Promise<string[]> =>
      (await add(await tarOf(list), { parent: imageOf({ 'etc/passwd': 'x', 'd/out': '-> /etc', 'd/up': '-> ../../etc' }) })).map(
        (line) => line.split(' ')[0]!,
      );
    // links of the archive, absolute and relative, and links of the image
    for (const list of [
      [link('l', '/etc'), file('l/passwd')],
      [link('l', '../../../etc'), file('l/passwd')],
      [link('a', '..'), link('b', 'a/..'), link('l', 'b/etc'), file('l/passwd')],
      [file('out/passwd')],
      [file('up/passwd')],
    ]) {
      const layer = await paths(...list);
      expect(layer.every((path) => path === 'd' || path.startsWith('d/'))).toBe(true);
      expect(layer).toContain('d/etc/passwd');
    }
    // names and hard links that lead up
    const raw = await tarOf([file('xx/evil')]);
    raw.write('../evil\0', 0, 'latin1');
    let sum = 8 * 32;
    for (let i = 0; i < 512; i++) if (i < 148 || i > 155) sum += raw[i]!;
    raw.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148, 'latin1');
    await expect(add(raw)).rejects.toMatchObject({ code: 'UNSAFE_PATH' });
    const hard = (path: string, to: string): EntryWithBody => ({ entry: { ...head, path, type: 'hardlink', link: to } });
    await expect(paths(hard('h', 'etc/passwd'))).rejects.toMatchObject({ code: 'INVALID_ARCHIVE' });
    await expect(paths(hard('h', 'out/passwd'))).rejects.toMatchObject({ code: 'INVALID_ARCHIVE' });
    await expect(add(await tarOf([hard('h', 'f')]), { parent: imageOf({ 'd/f': 'x' }) })).rejects.toMatchObject({
      code: 'UNSUPPORTED',
    });
    await expect(paths(link('loop', 'loop'), file('loop/x'))).rejects.toMatchObject({ code: 'STEP_FAILED' });
  });

  it('has a limit', async () => {
    using folder = new Folder();
    const { openArchive } = await import('../../shared/build/copy-archive.ts');
    const { Destination } = await import('../../shared/build/copy-destination.ts');
    const bomb = gzipSync(await tarOf(members({ big: 'x'.repeat(4 << 20) })));
    const archive = await openArchive({ kind: 'bytes', bytes: bomb }, bomb.length, {
      limit: 3 << 20,
      what: 'bomb',
      signal: undefined,
    });
    const unpacking = archive!.unpackInto(new Destination(imageOf({})), '', { time: 1, scratch: folder.path });
    await expect(unpacking).rejects.toMatchObject({ code: 'TOO_LARGE' });
  });
});
