import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  linkSync,
  mkdirSync,
  readFileSync,
  renameSync,
  statSync,
  unlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { Ignore } from '../../shared/context/ignore.ts';
import { Context } from '../../shared/context/list.ts';
import { StatCache, stateOf } from '../../shared/context/stat-cache.ts';
import { deviceOf, statCacheFile, type Walked, type WalkOptions, walkDirectory } from '../../shared/context/walk.ts';
import { sha256 } from '../../shared/oci/digest.ts';
import { comparePaths } from '../../shared/tar/name.ts';
import { Folder, longAgo } from './folder.ts';

// The stat cache does not record files that were changed just now, so these tests hash "an hour later".
const later = (): number => Date.now() + 3_600_000;

/** A clock that stands where the file was changed last: however slow this machine is, its hash is made at that very moment. */
const momentOf = (file: string): (() => number) => {
  const { ctimeMs } = statSync(file);
  return () => ctimeMs;
};

const walk = async (folder: Folder, options: Partial<WalkOptions> & { rules?: string } = {}) => {
  const { rules, ...rest } = options;
  const ignore = rules === undefined ? {} : { ignore: Ignore.parse('.dockerignore', rules) };
  return walkDirectory(folder.path, { now: later, ...ignore, ...rest });
};

const paths = async (folder: Folder, options: Parameters<typeof walk>[1] = {}): Promise<string[]> =>
  (await walk(folder, options)).context.entries.map((entry) => entry.path);

describe('walking', () => {
  it('lists what docker would transfer, sorted by bytes', async () => {
    using folder = new Folder({
      'a/b/c': 'c',
      'a.txt': 'text',
      'a/x': '',
      'a b': '1',
      '\u{1f600}': '2',
      '\uffee': '3',
      'empty/': '',
      'new\nline': '',
    });
    chmodSync(folder.at('a.txt'), 0o644);
    folder.write('run', 'x', 0o4755);
    folder.write('loop', '-> loop');
    folder.write('up', '-> ../../etc');
    linkSync(folder.at('a.txt'), folder.at('hard'));
    execFileSync('mkfifo', [folder.at('pipe')]);
    const { context, files, bytes } = await walk(folder);
    const got = context.entries.map((entry) => entry.path);
    expect(got).toEqual([...got].sort(comparePaths));
    expect(got.sort()).toEqual(
      [
        'a',
        'a b',
        'a.txt',
        'a/b',
        'a/b/c',
        'a/x',
        'empty',
        'hard',
        'loop',
        'new\nline',
        'pipe',
        'run',
        'up',
        '\u{1f600}',
        '\uffee',
      ].sort(),
    );
    expect(context.get('a.txt')).toEqual({
      path: 'a.txt',
      type: 'file',
      mode: 0o644,
      uid: 0,
      gid: 0,
      size: 4,
      mtime: longAgo,
      digest: sha256('text'),
    });
    const { digest: _digest, ...attributes } = context.get('a.txt')!;
    expect(context.get('hard')).toEqual({ ...attributes, path: 'hard', type: 'hardlink', link: 'a.txt', size: 0 });
    expect(context.get('run')?.mode).toBe(0o4755);
    expect(context.get('loop')).toMatchObject({ type: 'symlink', link: 'loop', mode: 0o777 });
    expect(context.get('up')).toMatchObject({ type: 'symlink', link: '../../etc' });
    expect(context.get('pipe')?.type).toBe('fifo');
    expect(context.get('a/x')?.digest).toBe(sha256(''));
    expect([files, bytes]).toEqual([9, 9]);
  });

  it('keeps the names of one file together, of those that are in the list', async () => {
    using folder = new Folder({ 'z/in': 'one', 'b/only': 'two', 'ignored/x': 'three', '.dockerignore': '' });
    linkSync(folder.at('z/in'), folder.at('a-later'));
    linkSync(folder.at('z/in'), folder.at('z.first'));
    linkSync(folder.at('b/only'), folder.at('ignored/only'));
    linkSync(folder.at('ignored/x'), folder.at('q'));
    writeFileSync(folder.at('empty'), '');
    linkSync(folder.at('empty'), folder.at('empty2'));
    using home = new Folder();
    const options = { rules: 'ignored', cache: home.at('cache') };
    const shown = ({ context }: Walked) =>
      context.entries
        .filter(({ type }) => type !== 'dir')
        .map(({ path, type, size, link }) => `${path} ${type} ${size}${link === undefined ? '' : ` -> ${link}`}`);
    const expected = [
      '.dockerignore file 0',
      'a-later file 3',
      'b/only file 3',
      'empty file 0',
      'empty2 hardlink 0 -> empty',
      'q file 5',
      'z.first hardlink 0 -> a-later',
      'z/in hardlink 0 -> a-later',
    ];
    const first = await walk(folder, options);
    expect(shown(first)).toEqual(expected);
    expect(first.hashed).toBe(3);
    // The same from the stat cache, and only by the names that are looked at.
    const again = await walk(folder, options);
    expect(shown(again)).toEqual(expected);
    expect(again.context.digest).toBe(first.context.digest);
    expect(again.hashed).toBe(0);
    expect(shown(await walk(folder, { ...options, needed: ['z', 'z.first'] }))).toEqual([
      'z.first file 3',
      'z/in hardlink 0 -> z.first',
    ]);
    // A body asked for by a later name is that of the file.
    const name = again.context.get('z/in')!;
    expect(again.bodies.body(name)).toMatchObject({ kind: 'file', path: folder.at('a-later'), state: { size: 3 } });
    // Names that are two files of equal content are another context.
    unlinkSync(folder.at('z/in'));
    folder.write('z/in', 'one');
    expect((await walk(folder, options)).context.digest).not.toBe(first.context.digest);
  });

  it('leaves sockets out', async () => {
    using folder = new Folder({ a: 'a' });
    const server = createServer().listen(folder.at('s'));
    await new Promise((resolve) => server.once('listening', resolve));
    expect(await paths(folder)).toEqual(['a']);
    await new Promise((resolve) => server.close(resolve));
  });

  it('decodes device numbers', () => {
    expect(deviceOf(0x103)).toEqual({ major: 1, minor: 3 });
    expect(deviceOf(0xf0e010)).toEqual({ major: 0xe0, minor: 0xf10 });
    expect(deviceOf(2 ** 20 * 5 + 0x7ff)).toEqual({ major: 7, minor: 0x5ff });
  });

  it('applies ignore rules, keeping the parents of what comes back', async () => {
    using folder = new Folder({
      'src/a': '',
      'src/b': '',
      'docs/x/keep': '',
      'docs/x/no': '',
      'docs/y/no': '',
      'n/m/o': '',
      '.dockerignore': '',
    });
    expect(await paths(folder, { rules: '*\n!src\nsrc/b\n!docs/x/keep' })).toEqual([
      'docs',
      'docs/x',
      'docs/x/keep',
      'src',
      'src/a',
    ]);
    expect(await paths(folder, { rules: '**' })).toEqual([]);
    expect(await paths(folder, { rules: '**/no\n.dockerignore\nn/m/*' })).toEqual([
      'docs',
      'docs/x',
      'docs/x/keep',
      'docs/y',
      'n',
      'n/m',
      'src',
      'src/a',
      'src/b',
    ]);
  });

  it('keeps names that are no UTF-8', async () => {
    using folder = new Folder({ 'ok/a': '', '\ufffd': '' });
    const raw = (name: string): Buffer => Buffer.concat([Buffer.from(`${folder.path}/`), Buffer.from(name, 'latin1')]);
    mkdirSync(raw('b\xff'));
    writeFileSync(raw('b\xff/x\xfe'), 'text');
    const { context } = await walk(folder);
    expect(context.entries.map((entry) => entry.path)).toEqual(['b\udcff', 'b\udcff/x\udcfe', 'ok', 'ok/a', '\ufffd']);
    expect(context.get('b\udcff/x\udcfe')?.digest).toBe(sha256('text'));
    expect(Context.decode(context.encode()).entries).toEqual(context.entries);
    expect(await paths(folder, { rules: 'b?\nok' })).toEqual(['\ufffd']);
    expect(await paths(folder, { needed: ['b*'] })).toEqual(['b\udcff', 'b\udcff/x\udcfe']);
  });

  it('walks only what is needed', async () => {
    using folder = new Folder({
      'package.json': '1',
      'package-lock.json': '2',
      'src/a': '',
      'src/deep/b': '',
      'big/one': '',
      'big/two': '',
      'rel/v1/app': '',
      'x*y': '',
      'lib/a.js': '',
      'lib/sub/b.js': '',
    });
    folder.write('current', '-> rel/v1');
    folder.write('abs', '-> /big/one');
    folder.write('outside', '-> ../../../../big/two');
    folder.write('loop', '-> loop');
    const needed = async (...list: string[]): Promise<string[]> => paths(folder, { needed: list });
    expect(await needed('package*.json')).toEqual(['package-lock.json', 'package.json']);
    expect(await needed('/src/')).toEqual(['src', 'src/a', 'src/deep', 'src/deep/b']);
    expect(await needed('../src/deep/../a')).toEqual(['src', 'src/a']);
    expect(await needed('current/app')).toEqual(['current', 'rel', 'rel/v1', 'rel/v1/app']);
    expect(await needed('curr*')).toEqual(['current', 'rel', 'rel/v1', 'rel/v1/app']);
    expect(await needed('abs')).toEqual(['abs', 'big', 'big/one']);
    expect(await needed('outside')).toEqual(['big', 'big/two', 'outside']);
    expect(await needed('loop')).toEqual(['loop']);
    expect(await needed('l*/*.js')).toEqual(['lib', 'lib/a.js']);
    expect(await needed('missing', 'missing/too')).toEqual([]);
    expect(await needed()).toEqual([]);
    expect(await needed('[')).toHaveLength((await needed('.')).length);
    expect(await needed('src/a', '.')).toEqual(await paths(folder));
    expect(await paths(folder, { needed: ['lib'], rules: 'lib\n!lib/sub' })).toEqual(['lib', 'lib/sub', 'lib/sub/b.js']);
  });

  it('says what is wrong with the directory', async () => {
    using folder = new Folder({ file: '' });
    await expect(walkDirectory(folder.at('none'), { now: later })).rejects.toMatchObject({
      code: 'CONTEXT',
      message: expect.stringContaining('does not exist'),
    });
    await expect(walkDirectory(folder.at('file'), { now: later })).rejects.toMatchObject({
      code: 'CONTEXT',
      message: expect.stringContaining('not a directory'),
    });
  });

  it.skipIf(process.getuid?.() !== 0)('names a file that cannot be read', async () => {
    using folder = new Folder({ 'sub/secret': 'x' });
    for (const path of [folder.path, folder.at('sub')]) chmodSync(path, 0o755);
    chmodSync(folder.at('sub/secret'), 0);
    const euid = process.geteuid!();
    process.seteuid!(65534);
    try {
      await expect(paths(folder)).rejects.toMatchObject({
        code: 'CONTEXT',
        message: expect.stringContaining('"sub/secret"'),
        hint: expect.any(String),
      });
      expect(await paths(folder, { rules: 'sub/secret' })).toEqual(['sub']);
    } finally {
      process.seteuid!(euid);
    }
  });

  it('is cancelled', async () => {
    using folder = new Folder({ a: '' });
    await expect(paths(folder, { signal: AbortSignal.abort() })).rejects.toMatchObject({ code: 'CANCELLED' });
  });
});

describe('the stat cache', () => {
  it('saves hashing until something changes', async () => {
    using folder = new Folder({ a: 'one', 'b/c': 'two', d: 'three' });
    using home = new Folder();
    const cache = statCacheFile(home.path, folder.path);
    const first = await walk(folder, { cache });
    expect(first.hashed).toBe(3);
    const second = await walk(folder, { cache });
    expect(second.hashed).toBe(0);
    expect(second.context.entries).toEqual(first.context.entries);
    folder.write('b/c', 'TWO');
    const third = await walk(folder, { cache });
    expect(third.hashed).toBe(1);
    expect(third.context.get('b/c')?.digest).toBe(sha256('TWO'));
    // The same size and mtime in another inode is another file.
    writeFileSync(folder.at('n'), 'ONE');
    utimesSync(folder.at('n'), longAgo, longAgo);
    renameSync(folder.at('n'), folder.at('a'));
    expect((await walk(folder, { cache })).context.get('a')?.digest).toBe(sha256('ONE'));
  });

  it('does not trust files changed at the moment of hashing', async () => {
    using folder = new Folder();
    using home = new Folder();
    const cache = statCacheFile(home.path, folder.path);
    writeFileSync(folder.at('a'), 'one');
    const now = momentOf(folder.at('a'));
    await walk(folder, { cache, now });
    expect((await walk(folder, { cache, now })).hashed).toBe(1);
  });

  it('keeps records of places that were not walked, and drops those of files that are gone', async () => {
    using folder = new Folder({ 'a/x': '1', 'b/y': '2' });
    using home = new Folder();
    const cache = statCacheFile(home.path, folder.path);
    await walk(folder, { cache });
    folder.remove('a/x');
    await walk(folder, { cache, needed: ['a'] });
    expect((await walk(folder, { cache })).hashed).toBe(0);
    expect(readFileSync(cache).includes('a/x')).toBe(false);
    expect(readFileSync(cache).includes('b/y')).toBe(true);
  });

  it('is ignored when damaged', async () => {
    using folder = new Folder({ a: 'one', b: 'two' });
    using home = new Folder();
    const cache = statCacheFile(home.path, folder.path);
    await walk(folder, { cache });
    const good = readFileSync(cache);
    for (const bad of [
      good.subarray(0, 20),
      good.subarray(0, good.length - 1),
      Buffer.alloc(good.length),
      Buffer.from(good).fill(1, 30, 31),
      Buffer.alloc(0),
    ]) {
      writeFileSync(cache, bad);
      expect((await walk(folder, { cache })).hashed).toBe(2);
    }
    expect((await walk(folder, { cache })).hashed).toBe(0);
  });

  it('reports a home that cannot be written', async () => {
    using folder = new Folder({ a: 'one', home: '' });
    await expect(walk(folder, { cache: folder.at('home/x.stat') })).rejects.toMatchObject({ code: 'STORE' });
  });

  it('holds what it was given', () => {
    using home = new Folder();
    const file = join(home.path, 'c');
    const state = stateOf({ dev: 2 ** 40, ino: 2 ** 52 + 1, size: 5, mtimeMs: 1.5, ctimeMs: -2.25 });
    const cache = StatCache.load(file);
    cache.record('p\n', state, sha256('x'), 1e12);
    cache.save(() => true);
    const back = StatCache.load(file);
    expect(back.lookup('p\n', state)).toBe(sha256('x'));
    for (const key of ['dev', 'ino', 'size', 'mtimeMs', 'ctimeMs'] as const)
      expect(back.lookup('p\n', { ...state, [key]: 3 })).toBeUndefined();
  });
});

describe('hashing in threads', () => {
  it('gives the same digests as without', async () => {
    using folder = new Folder();
    for (let i = 0; i < 700; i++) folder.write(`d${i % 5}/f${i}`, `text ${i}`);
    const { context, hashed } = await walk(folder);
    expect(hashed).toBe(700);
    for (let i = 0; i < 700; i++) expect(context.get(`d${i % 5}/f${i}`)?.digest).toBe(sha256(`text ${i}`));
  });

  it('reports errors and cancellation', async () => {
    using folder = new Folder();
    folder.write('big', new Uint8Array(40 << 20));
    const stop = new AbortController();
    const walking = walk(folder, { signal: stop.signal });
    stop.abort();
    await expect(walking).rejects.toMatchObject({ code: 'CANCELLED' });
    expect((await walk(folder)).context.get('big')?.size).toBe(40 << 20);
  });
});

describe('bodies of a directory', () => {
  it('vouch for files in the state that was hashed, and for no others', async () => {
    using folder = new Folder({ old: 'one', empty: '' });
    using home = new Folder();
    const cache = statCacheFile(home.path, folder.path);
    const stateAt = async (now: () => number, name: string) => {
      const { bodies, context } = await walk(folder, { cache, now });
      const body = await bodies.body(context.get(name)!);
      if (body.kind !== 'file') throw new Error('not a file');
      expect(body).toMatchObject({ path: folder.at(name), offset: 0 });
      return body.state;
    };
    // hashed at the moment it was written: nobody can tell whether it changes once more
    const now = momentOf(folder.at('old'));
    expect(await stateAt(now, 'old')).toBeUndefined();
    const state = stateOf(statSync(folder.at('old')));
    expect(await stateAt(later, 'old')).toEqual(state);
    // and from the cache
    expect(await stateAt(now, 'old')).toEqual(state);
  });
});
