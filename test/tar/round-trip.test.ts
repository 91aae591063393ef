import { execFileSync, spawnSync } from 'node:child_process';
import { linkSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Entry, EntryWithBody } from '../../shared/layer/entry.ts';
import { encodeHeader } from '../../shared/tar/encode.ts';
import { encodeName } from '../../shared/tar/name.ts';
import { readTar } from '../../shared/tar/read.ts';
import { writeTar } from '../../shared/tar/write.ts';
import { entryWithBody } from './arbitrary.ts';

async function* pieces(bytes: Uint8Array, size: number) {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
}
const pack = async (entries: readonly EntryWithBody[]) => Buffer.concat(await Array.fromAsync(writeTar(entries)));
async function unpack(bytes: Uint8Array, size = 1 << 20) {
  const members: { entry: Entry; content: Buffer }[] = [];
  for await (const { entry, body } of readTar(pieces(bytes, size)))
    members.push({ entry, content: Buffer.concat(await Array.fromAsync(body)) });
  return members;
}
const contentOf = ({ body }: EntryWithBody) => (body?.kind === 'bytes' ? Buffer.from(body.bytes) : Buffer.alloc(0));

const folder = mkdtempSync(join(tmpdir(), 'slipway-tar-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

describe('what is written is read back', () => {
  it('for any entries, however the bytes are cut', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(entryWithBody, { maxLength: 12 }), fc.integer({ min: 1, max: 5000 }), async (entries, size) => {
        const bytes = await pack(entries);
        expect(bytes.length % 512).toBe(0);
        expect((await pack(entries)).equals(bytes)).toBe(true);
        const members = await unpack(bytes, size);
        expect(members.map(({ entry }) => entry)).toEqual(entries.map(({ entry }) => entry));
        expect(members.every(({ content }, at) => content.equals(contentOf(entries[at]!)))).toBe(true);
      }),
      { numRuns: 150 },
    );
  });

  it('with bodies skipped or left half read', async () => {
    const entry = { type: 'file', mode: 0o644, uid: 0, gid: 0, mtime: 0 } as const;
    const file = (path: string, size: number) => ({
      entry: { ...entry, path, size },
      body: { kind: 'bytes' as const, bytes: new Uint8Array(size) },
    });
    const bytes = await pack([file('a', 5000), file('b', 1), file('c', 700_000), file('d', 3)]);
    const seen: string[] = [];
    for await (const member of readTar(pieces(bytes, 1000))) {
      seen.push(member.entry.path);
      if (member.entry.path === 'c') for await (const _ of member.body) break;
    }
    expect(seen).toEqual(['a', 'b', 'c', 'd']);
  });
});

describe('the header', () => {
  const plain: Entry = { path: 'usr/bin/tool', type: 'file', mode: 0o4755, uid: 0, gid: 5, size: 3, mtime: 1_700_000_000 };

  it('is one ustar block with fixed fields when everything fits', () => {
    const header = encodeHeader(plain);
    expect(header.length).toBe(512);
    expect(header.toString('latin1', 0, 100).replace(/\u0000+$/, '')).toBe('usr/bin/tool');
    expect(header.toString('latin1', 100, 160)).toBe(
      '0004755\u00000000000\u00000000005\u000000000000003\u000014524770400\u0000011535\u0000 0\u0000\u0000\u0000'.slice(0, 60),
    );
    expect(header.toString('latin1', 257, 345)).toBe(`ustar\u000000${'\u0000'.repeat(64)}0000000\u00000000000\u0000`);
    expect(encodeHeader({ ...plain, path: `${'d'.repeat(99)}/${'f'.repeat(100)}` }).length).toBe(512);
  });

  it('is pax only for what does not fit', () => {
    for (const change of [
      { path: 'é' },
      { path: 'x'.repeat(101) },
      { uid: 2_097_152 },
      { mtime: -1 },
      { size: 8 * 1024 ** 3 },
      { xattrs: { 'user.a': '' } },
    ]) {
      expect(encodeHeader({ ...plain, ...change }).length).toBe(1536);
    }
  });

  it('refuses what no archive can hold', () => {
    for (const change of [{ uid: -1 }, { size: 1.5 }, { mtime: Number.NaN }, { xattrs: { 'a=b': '' } }]) {
      expect(() => encodeHeader({ ...plain, ...change })).toThrowError(expect.objectContaining({ code: 'INVALID_ARCHIVE' }));
    }
    expect(() => encodeHeader({ ...plain, path: 'a\u0000b' })).toThrowError(expect.objectContaining({ code: 'UNSAFE_PATH' }));
  });
});

describe('other tools', () => {
  const tree = join(folder, 'tree');
  const long = `${'deep/'.repeat(30)}${'n'.repeat(120)}`;
  beforeAll(() => {
    mkdirSync(join(tree, long, '..'), { recursive: true });
    writeFileSync(join(tree, long), 'long');
    writeFileSync(join(tree, 'café'), 'utf8');
    writeFileSync(Buffer.concat([Buffer.from(`${tree}/`), Buffer.from('caf\xe9', 'latin1')]), 'latin1');
    writeFileSync(join(tree, 'file'), Buffer.alloc(100_000, 'x'));
    linkSync(join(tree, 'file'), join(tree, 'same'));
    symlinkSync(`/target/${'t'.repeat(150)}`, join(tree, 'symlink'));
    execFileSync('mkfifo', [join(tree, 'fifo')]);
    execFileSync('setfattr', ['-n', 'user.note', '-v', 'hello', join(tree, 'file')]);
    utimesSync(join(tree, 'file'), 1_600_000_000.75, 1_600_000_000.75);
  });

  const expected = ['', 'café', 'caf\udce9', 'fifo', 'file', long, 'same', 'symlink'];

  for (const format of ['gnu', 'pax', 'ustar', 'v7', 'posix']) {
    it(`reads GNU tar's ${format}`, async () => {
      const exclude = format === 'ustar' || format === 'v7' ? ['--exclude=deep', '--exclude=symlink', '--exclude=fifo'] : [];
      const bytes = execFileSync(
        'tar',
        ['-C', tree, `--format=${format}`, '--sort=name', ...(format === 'pax' ? ['--xattrs'] : []), ...exclude, '-cf', '-', '.'],
        {
          maxBuffer: 1 << 26,
        },
      );
      const members = await unpack(bytes, 777);
      const byPath = new Map(members.map((member) => [member.entry.path, member]));
      for (const path of expected)
        if (exclude.length === 0 || !/^(deep|symlink|fifo)/.test(path)) expect([...byPath.keys()]).toContain(path);
      expect(byPath.get('')?.entry.type).toBe('dir');
      const [file, same] = [byPath.get('file'), byPath.get('same')].sort((a) => (a?.entry.type === 'file' ? -1 : 1));
      expect([file?.content.length, file?.entry.mtime]).toEqual([100_000, 1_600_000_000]);
      expect([same?.entry.type, same?.entry.link]).toEqual(['hardlink', file?.entry.path]);
      if (exclude.length === 0) {
        expect(String(byPath.get(long)?.content)).toBe('long');
        expect(byPath.get('symlink')?.entry.link).toBe(`/target/${'t'.repeat(150)}`);
        expect(byPath.get('fifo')?.entry.type).toBe('fifo');
      }
      if (format === 'pax') expect(file?.entry.xattrs).toEqual({ 'user.note': Buffer.from('hello').toString('base64') });
    });
  }

  it('reads what python writes, numbers past octal included', async () => {
    for (const format of ['GNU_FORMAT', 'PAX_FORMAT']) {
      const script = `
import sys, tarfile, io
t = tarfile.open(fileobj=sys.stdout.buffer, mode='w|', format=tarfile.${format})
i = tarfile.TarInfo('big'); i.uid = 3000000000; i.gid = 2097152; i.mtime = -5; i.size = 3; i.mode = 0o1777
t.addfile(i, io.BytesIO(b'abc'))
d = tarfile.TarInfo('dev'); d.type = tarfile.CHRTYPE; d.devmajor = 1; d.devminor = 3
t.addfile(d); t.close()`;
      const [big, dev] = await unpack(execFileSync('python3', ['-c', script]));
      expect(big?.entry).toMatchObject({ path: 'big', uid: 3_000_000_000, gid: 2_097_152, mtime: -5, size: 3, mode: 0o1777 });
      expect(dev?.entry).toMatchObject({ path: 'dev', type: 'char', major: 1, minor: 3 });
    }
  });

  it('GNU tar and python read what we write', async () => {
    const entries: Entry[] = [
      { path: '', type: 'dir', mode: 0o755, uid: 0, gid: 0, size: 0, mtime: 1 },
      { path: 'caf\udce9', type: 'file', mode: 0o644, uid: 3_000_000_000, gid: 7, size: 5, mtime: 1_600_000_000 },
      { path: 'dir', type: 'dir', mode: 0o1777, uid: 1, gid: 2, size: 0, mtime: 2, xattrs: { 'user.a': 'AAEC/w==' } },
      { path: `dir/${'é'.repeat(90)}`, type: 'symlink', mode: 0o777, uid: 1, gid: 2, size: 0, mtime: 2, link: 'ü'.repeat(80) },
      { path: `${'p'.repeat(120)}/${'q'.repeat(90)}`, type: 'file', mode: 0o600, uid: 1, gid: 2, size: 5, mtime: 2 },
      {
        path: `${'p'.repeat(120)}/r`,
        type: 'hardlink',
        mode: 0o600,
        uid: 1,
        gid: 2,
        size: 0,
        mtime: 2,
        link: `${'p'.repeat(120)}/${'q'.repeat(90)}`,
      },
      { path: 'zero', type: 'char', mode: 0o666, uid: 0, gid: 0, size: 0, mtime: 3, major: 1, minor: 5 },
    ];
    const bytes = await pack(
      entries.map((entry) => ({
        entry,
        ...(entry.size > 0 && { body: { kind: 'bytes' as const, bytes: Buffer.from('12345') } }),
      })),
    );
    const script = `
import sys, tarfile, json
t = tarfile.open(fileobj=sys.stdin.buffer, mode='r|', encoding='utf-8', errors='surrogateescape')
out = []
for m in t:
  kind = {b'0':'file', b'1':'hardlink', b'2':'symlink', b'3':'char', b'5':'dir'}[m.type]
  out.append([m.name, kind, m.mode, m.uid, m.gid, m.size if kind == 'file' else 0, int(m.mtime), m.linkname, t.extractfile(m).read().decode() if kind == 'file' else ''])
print(json.dumps(out))`;
    const seen: unknown[][] = JSON.parse(String(execFileSync('python3', ['-c', script], { input: bytes })));
    expect(seen).toEqual(
      entries.map((entry) => [
        entry.path || '.',
        entry.type,
        entry.mode,
        entry.uid,
        entry.gid,
        entry.size,
        entry.mtime,
        entry.link ?? '',
        entry.type === 'file' ? '12345' : '',
      ]),
    );
    const listed = spawnSync('tar', ['--quoting-style=escape', '-tf', '-'], { input: bytes });
    expect(String(listed.stderr)).toBe('');
    expect(listed.stdout.toString('latin1').split('\n')[1]).toBe('caf\\351');
    const target = mkdtempSync(join(folder, 'extract-'));
    const extracted = spawnSync('tar', ['--xattrs', '-C', target, '-xf', '-'], { input: bytes });
    expect([String(extracted.stderr), extracted.status]).toEqual(['', 0]);
    expect(String(readFileSync(Buffer.concat([Buffer.from(`${target}/`), encodeName('caf\udce9')])))).toBe('12345');
    expect(String(execFileSync('getfattr', ['-n', 'user.a', '-e', 'hex', join(target, 'dir')]))).toContain('0x000102ff');
  });
});
