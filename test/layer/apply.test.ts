import { execFileSync } from 'node:child_process';
import {
  existsSync,
  linkSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { type ApplyOptions, applyLayer, unpackStream } from '../../shared/layer/apply.ts';
import { changesOf, clampTree } from '../../shared/layer/changes.ts';
import { CompressPool } from '../../shared/layer/compress-pool.ts';
import type { Entry, EntryWithBody } from '../../shared/layer/entry.ts';
import { writeLayer } from '../../shared/layer/write.ts';
import { sha256 } from '../../shared/oci/digest.ts';
import { DiskBlobs } from '../../shared/store/disk-blobs.ts';
import { encodeName } from '../../shared/tar/name.ts';
import { writeTar } from '../../shared/tar/write.ts';
import { bytesOf, dir, file, hardlink, inOrder, noise, once, readBack, symlink, temporaryFolder } from './support.ts';

vi.setConfig({ testTimeout: 60_000 });
const folder = temporaryFolder();
const asRoot = process.geteuid?.() === 0;
const pool = new CompressPool(2);
let blobs: DiskBlobs;
beforeAll(async () => {
  blobs = await DiskBlobs.open(join(folder, 'blobs'));
});
afterAll(() => pool[Symbol.asyncDispose]());

const fresh = () => mkdtempSync(join(folder, 'tree-'));
const tarOf = async (entries: readonly EntryWithBody[]) => Buffer.concat(await Array.fromAsync(writeTar(entries)));
async function unpack(entries: readonly EntryWithBody[], options: Partial<ApplyOptions> = {}, root = fresh()) {
  const tar = await tarOf(entries);
  const applied = await unpackStream(once(tar), sha256(tar), root, { mode: 'overlay', ...options });
  return { root, ...applied };
}
const named = (entries: readonly EntryWithBody[]) => entries.map(({ entry }) => entry.path);

const everything = inOrder([
  dir('bin', { mode: 0o555, mtime: 100 }),
  file('bin/su', 'setuid', { mode: 0o4755, uid: 0, gid: 8 }),
  file('bin/tool', noise(200_000), { mode: 0o111, uid: 1234, gid: 99_999, mtime: 1 }),
  hardlink('bin/tool2', 'bin/tool'),
  symlink('bin/link', '/etc/shadow'),
  file('caf\udce9', 'latin1'),
  file('new\nline\\=', 'odd'),
  dir('dev', {}),
  { entry: { path: 'dev/null', type: 'char', mode: 0o666, uid: 0, gid: 0, size: 0, mtime: 7, major: 1, minor: 3 } },
  { entry: { path: 'dev/pipe', type: 'fifo', mode: 0o600, uid: 5, gid: 6, size: 0, mtime: 8 } },
  { entry: { path: 'dev/sda', type: 'block', mode: 0o660, uid: 0, gid: 6, size: 0, mtime: 8, major: 8, minor: 300 } },
  dir('var', { xattrs: { 'user.dir': Buffer.from('d').toString('base64') } }),
  file('var/cap', 'binary', {
    xattrs: { 'security.capability': 'AQAAAgAgAAAAAAAAAAAAAAAAAAA=', 'user.zero': '', 'user.nul': 'AAA=' },
  }),
  file('var/empty', '', { mode: 0o600 }),
  // Before 1970.
  dir('var/old', { mtime: -86_400 }),
  file('var/old/file', 'x', { mtime: -315_619_200 }),
  { entry: { ...symlink('var/old/link', 'x').entry, mtime: -1 } },
  { entry: { path: 'var/old/pipe', type: 'fifo', mode: 0o600, uid: 0, gid: 0, size: 0, mtime: -2 } },
  dir('var/sticky', { mode: 0o1777, mtime: 12_345 }),
  ...Array.from({ length: 100 }, (_, index) => file(`var/sticky/f${index}`, `${index}`)),
]);

describe.runIf(asRoot)('unpack and pack', () => {
  it('are the inverse of each other', async () => {
    const { root } = await unpack(everything);
    expect(lstatSync(join(root, 'bin/su')).mode & 0o7777).toBe(0o4755);
    const back = await changesOf(root);
    const first = everything.map(({ entry }) => entry);
    expect(back.map(({ entry }) => entry)).toEqual(
      // A further name of a file has the file's attributes.
      first.map((entry) => (entry.type === 'hardlink' ? { ...entry, mode: 0o111, uid: 1234, gid: 99_999, mtime: 1 } : entry)),
    );
    const [one, two] = [
      await writeLayer(back, { blobs, compression: 'gzip', pool }),
      await writeLayer(back, { blobs, compression: 'gzip', pool }),
    ];
    expect(one.diffId).toBe(two.diffId);
    const contents = await readBack(await bytesOf(blobs, one.descriptor.digest));
    expect(contents.map(({ content }) => content)).toEqual(
      everything.map(({ body }) => (body?.kind === 'bytes' ? Buffer.from(body.bytes) : Buffer.alloc(0))),
    );
    // The same from a blob, in a thread and in any compression.
    for (const compression of ['gzip', 'zstd', 'none'] as const) {
      const padded = inOrder([...back, file('zz-large', noise(2_000_000))]);
      const layer = await writeLayer(padded, { blobs, compression, pool });
      const tree = fresh();
      await applyLayer(blobs, layer, tree, { mode: 'overlay' });
      expect((await writeLayer(await changesOf(tree), { blobs, compression, pool })).diffId).toBe(layer.diffId);
    }
  });

  it('agrees with GNU tar', async () => {
    const layer = await writeLayer(everything, { blobs, compression: 'gzip', pool });
    const tree = fresh();
    execFileSync('tar', ['-C', tree, '--xattrs', '--xattrs-include=*', '--numeric-owner', '-xpzf', '-'], {
      input: await bytesOf(blobs, layer.descriptor.digest),
    });
    const { root } = await unpack(everything);
    expect((await changesOf(root)).map(({ entry }) => entry)).toEqual((await changesOf(tree)).map(({ entry }) => entry));
  });

  it('lets a later entry replace an earlier one of the same name', async () => {
    const entries = [
      file('a', 'one'),
      file('a', 'two'),
      dir('b'),
      file('b/c', '1'),
      symlink('b', 'a'),
      dir('b'),
      symlink('l', 'a'),
      file('l', 'file'),
    ];
    const { root } = await unpack(entries);
    expect(named(await changesOf(root))).toEqual(['a', 'b', 'l']);
    expect([String(readFileSync(join(root, 'a'))), String(readFileSync(join(root, 'l')))]).toEqual(['two', 'file']);
    expect(lstatSync(join(root, 'b')).isDirectory()).toBe(true);
  });
});

describe.runIf(asRoot)('whiteouts', () => {
  const layer = inOrder([
    dir('etc'),
    file('etc/.wh.passwd', ''),
    file('etc/.wh.renewed', ''),
    file('etc/renewed', 'new'),
    dir('hidden'),
    file('hidden/.wh..wh..opq', ''),
    file('hidden/only', 'x'),
    file('.wh.replaced', ''),
    dir('replaced'),
    file('implied/.wh.gone', ''),
    file('.wh..wh.plnk', ''),
  ]);

  it('become what overlayfs understands, and come back from it', async () => {
    const { root, impliedDirs } = await unpack(layer);
    const whiteout = lstatSync(join(root, 'etc/passwd'));
    expect([whiteout.isCharacterDevice(), whiteout.rdev]).toEqual([true, 0]);
    expect(
      String(
        execFileSync('getfattr', ['--only-values', '-n', 'trusted.overlay.opaque', join(root, 'hidden')], {
          stdio: ['ignore', 'pipe', 'ignore'],
        }),
      ),
    ).toBe('y');
    expect(impliedDirs).toEqual(['implied']);
    expect(named(await changesOf(root))).toEqual(
      [
        'etc',
        'etc/.wh.passwd',
        'etc/renewed',
        'hidden',
        'hidden/.wh..wh..opq',
        'hidden/only',
        'implied',
        'implied/.wh.gone',
        'replaced',
        'replaced/.wh..wh..opq',
      ].sort(),
    );
  });

  it('in a mounted overlay hide what is below', async ({ skip }) => {
    const lower = fresh();
    for (const name of ['etc', 'hidden', 'replaced', 'implied']) mkdirSync(join(lower, name));
    for (const name of [
      'etc/passwd',
      'etc/kept',
      'etc/renewed',
      'hidden/below',
      'replaced/below',
      'implied/gone',
      'implied/kept',
    ])
      writeFileSync(join(lower, name), 'lower');
    const { root } = await unpack(layer);
    const [merged, upper, work] = [fresh(), fresh(), fresh()];
    try {
      execFileSync(
        'mount',
        ['-t', 'overlay', 'overlay', '-o', `lowerdir=${root}:${lower},upperdir=${upper},workdir=${work}`, merged],
        { stdio: 'pipe' },
      );
    } catch (error) {
      if (process.env.CI) throw error;
      skip('this machine cannot mount overlayfs');
    }
    try {
      const seen = String(execFileSync('find', ['.', '-mindepth', '1', '-printf', '%P\n'], { cwd: merged }))
        .trim()
        .split('\n')
        .sort();
      expect(seen).toEqual(['etc', 'etc/kept', 'etc/renewed', 'hidden', 'hidden/only', 'implied', 'implied/kept', 'replaced']);
      expect(String(readFileSync(join(merged, 'etc/renewed')))).toBe('new');
      // What a command does in it is the next change set.
      execFileSync(
        'sh',
        [
          '-c',
          'rm etc/kept && rm -r hidden && mkdir hidden && echo x > hidden/again && ln etc/renewed etc/second && mv implied moved && touch top && python3 -c "import socket; socket.socket(socket.AF_UNIX).bind(\'sock\')"',
        ],
        { cwd: merged },
      );
    } finally {
      execFileSync('umount', [merged]);
    }
    const changes = await changesOf(upper);
    expect(named(changes)).toEqual(
      [
        '.wh.implied',
        'etc',
        'etc/.wh.kept',
        'etc/renewed',
        'etc/second',
        'hidden',
        'hidden/.wh..wh..opq',
        'hidden/again',
        'moved',
        'moved/.wh..wh..opq',
        'moved/kept',
        'top',
      ]
        .sort()
        .filter((name) => name !== 'moved/.wh..wh..opq' || named(changes).includes(name)),
    );
    const second = changes.find(({ entry }) => entry.path === 'etc/second')?.entry;
    expect([second?.type, second?.link]).toEqual(['hardlink', 'etc/renewed']);
    expect(changes.every(({ entry }) => entry.xattrs === undefined)).toBe(true);
  });

  it('are applied to a plain tree without touching what the same layer brought', async () => {
    const root = fresh();
    for (const name of ['etc', 'hidden', 'hidden/deep', 'replaced', 'implied']) mkdirSync(join(root, name));
    for (const name of [
      'etc/passwd',
      'etc/kept',
      'etc/renewed',
      'hidden/below',
      'hidden/deep/er',
      'replaced/below',
      'implied/gone',
      'implied/kept',
    ])
      writeFileSync(join(root, name), 'lower');
    await unpack(layer, { mode: 'plain' }, root);
    expect(named(await changesOf(root))).toEqual([
      'etc',
      'etc/kept',
      'etc/renewed',
      'hidden',
      'hidden/only',
      'implied',
      'implied/kept',
      'replaced',
    ]);
    expect(String(readFileSync(join(root, 'etc/renewed')))).toBe('new');
  });

  it('give implied directories the attributes they had below', async () => {
    const { root } = await unpack([file('srv/app/file', 'x')], {
      implied: (path) => ({ mode: 0o2750, uid: 7, gid: path.length, mtime: 99 }),
    });
    const { mode, uid, gid, mtimeMs } = lstatSync(join(root, 'srv/app'));
    expect([mode & 0o7777, uid, gid, mtimeMs]).toEqual([0o2750, 7, 7, 99_000]);
  });
});

describe('the change set of a step', () => {
  it('that changed nothing is empty, and no process is asked', async () => {
    const upper = fresh();
    vi.stubEnv('PATH', '');
    try {
      expect(await changesOf(upper)).toEqual([]);
      // Anything else takes the tool, and says so where it is missing.
      writeFileSync(join(upper, 'a'), '');
      await expect(changesOf(upper)).rejects.toMatchObject({ message: expect.stringContaining('getfattr') });
    } finally {
      vi.unstubAllEnvs();
    }
    expect(named(await changesOf(upper))).toEqual(['a']);
  });
});

describe('hostile layers', () => {
  const outside = join(folder, 'outside');
  beforeAll(() => {
    mkdirSync(outside, { recursive: true });
    writeFileSync(join(outside, 'victim'), 'untouched');
  });
  const check = () => {
    expect(readdirSync(outside)).toEqual(['victim']);
    expect(String(readFileSync(join(outside, 'victim')))).toBe('untouched');
    expect(lstatSync(join(outside, 'victim')).nlink).toBe(1);
  };

  const attacks: Readonly<Record<string, readonly EntryWithBody[]>> = {
    'a file through a link': [symlink('out', outside), file('out/victim', 'owned')],
    'a file through a relative link': [dir('a'), symlink('a/out', '../../outside'), file('a/out/victim', 'owned')],
    'a directory through a link': [symlink('out', outside), dir('out/sub')],
    'deep below a link': [symlink('out', outside), file('out/x/y/z', 'owned')],
    'a link through a link': [symlink('out', outside), symlink('out/again', '/etc')],
    'a hard link whose target is reached through a link': [
      symlink('out', outside),
      hardlink('mine', 'out/victim'),
      file('mine', 'owned'),
    ],
    'a whiteout through a link': [symlink('out', outside), file('out/.wh.victim', '')],
    'an opaque mark through a link': [symlink('out', outside), file('out/.wh..wh..opq', '')],
    'a device through a link': [
      symlink('out', outside),
      { entry: { path: 'out/pipe', type: 'fifo', mode: 0o644, uid: 0, gid: 0, size: 0, mtime: 0 } },
    ],
    'below a file': [file('f', 'x'), file('f/g', 'owned')],
    'below a fifo': [
      { entry: { path: 'f', type: 'fifo', mode: 0o644, uid: 0, gid: 0, size: 0, mtime: 0 } },
      file('f/g', 'owned'),
    ],
    'a hard link to nothing': [hardlink('a', 'absent')],
    'a hard link to itself': [file('a', 'x'), hardlink('a', 'a')],
    'a hard link into a missing directory': [hardlink('a', 'no/file')],
  };
  for (const [name, entries] of Object.entries(attacks)) {
    for (const mode of ['overlay', 'plain'] as const) {
      it(`are refused: ${name} (${mode})`, async () => {
        await expect(unpack(entries, { mode })).rejects.toMatchObject({
          code: expect.stringMatching(/^(UNSAFE_PATH|INVALID_ARCHIVE)$/),
        });
        check();
      });
    }
  }

  it('cannot use links that were in a plain tree before', async () => {
    const root = fresh();
    symlinkSync(outside, join(root, 'out'));
    linkSync(join(outside, 'victim'), join(root, 'shared'));
    for (const entries of [
      [file('out/victim', 'owned')],
      [file('out/.wh.victim', '')],
      [file('out/.wh..wh..opq', '')],
      [hardlink('x', 'out/victim')],
    ]) {
      await expect(unpack(entries, { mode: 'plain' }, root)).rejects.toMatchObject({ code: 'UNSAFE_PATH' });
    }
    await unpack([file('shared', 'mine'), dir('out'), file('out/mine', 'x')], { mode: 'plain' }, root);
    expect(lstatSync(join(root, 'out')).isDirectory()).toBe(true);
    check();
  });

  it('replace a link of the same name instead of writing through it', async () => {
    const { root } = await unpack([
      symlink('l', join(outside, 'victim')),
      file('l', 'mine'),
      symlink('d', outside),
      dir('d'),
      file('d/x', '1'),
    ]);
    expect(String(readFileSync(join(root, 'l')))).toBe('mine');
    check();
  });

  it('do not remove anything by odd whiteout names', async () => {
    const root = fresh();
    writeFileSync(join(root, 'kept'), '');
    await unpack([file('.wh.', ''), file('.wh..', ''), file('.wh...', '')], { mode: 'plain' }, root);
    expect(readdirSync(root)).toEqual(['kept']);
  });

  it('fail on a wrong diffID, on too much data, and when cut off', async () => {
    const tar = await tarOf([file('a', noise(100_000))]);
    const options: ApplyOptions = { mode: 'overlay' };
    await expect(unpackStream(once(tar), sha256('other'), fresh(), options)).rejects.toMatchObject({ code: 'DIGEST_MISMATCH' });
    await expect(unpackStream(once(tar), sha256(tar), fresh(), { ...options, limit: 1000 })).rejects.toMatchObject({
      code: 'TOO_LARGE',
    });
    const cut = tar.subarray(0, 50_000);
    await expect(unpackStream(once(cut), sha256(cut), fresh(), options)).rejects.toMatchObject({ code: 'INVALID_ARCHIVE' });
  });
});

describe.runIf(asRoot)('clampTree', () => {
  it('gives the tree the times that the layer has', async () => {
    const { root } = await unpack([
      dir('a', { mtime: 5000 }),
      file('a/new', 'x', { mtime: 3000 }),
      file('a/old', 'x', { mtime: 10 }),
      symlink('a/z', 'new'),
    ]);
    clampTree(root, 1000);
    const epoch = await writeLayer(await changesOf(root), { blobs, compression: 'none', pool, epoch: 1000 });
    const tree = fresh();
    await applyLayer(blobs, epoch, tree, { mode: 'overlay' });
    const times = (at: string) => ['a', 'a/new', 'a/old', 'a/z'].map((path) => lstatSync(join(at, path)).mtimeMs);
    expect(times(root)).toEqual([1_000_000, 1_000_000, 10_000, 1_000_000]);
    expect(times(tree)).toEqual(times(root));
  });
});

describe('without root', () => {
  it('owners are left alone when told to, and devices refused', async () => {
    const { root } = await unpack([file('a', 'x', { uid: 4321, mode: 0o4755 }), symlink('s', 'a')], { owners: false });
    expect(lstatSync(join(root, 'a')).uid).toBe(process.geteuid?.());
    expect(readlinkSync(join(root, 's'))).toBe('a');
    const device: Entry = { path: 'd', type: 'char', mode: 0o644, uid: 0, gid: 0, size: 0, mtime: 0, major: 1, minor: 3 };
    await expect(unpack([{ entry: device }], { owners: false })).rejects.toMatchObject({ code: 'UNSUPPORTED' });
  });

  it('names that are no UTF-8 arrive as bytes', async () => {
    const { root } = await unpack([file('caf\udce9', 'x')], { owners: false });
    expect(existsSync(Buffer.concat([Buffer.from(`${root}/`), encodeName('caf\udce9')]))).toBe(true);
  });
});
