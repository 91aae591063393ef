import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { gzipSync } from 'node:zlib';
import { describe, expect, it } from 'vitest';
import { receiveContext } from '../../shared/context/from-archive.ts';
import { Context } from '../../shared/context/list.ts';
import { walkDirectory } from '../../shared/context/walk.ts';
import type { Entry } from '../../shared/layer/entry.ts';
import { sha256 } from '../../shared/oci/digest.ts';
import type { Bytes } from '../../shared/store/blobs.ts';
import { collect } from '../../shared/stream/collect.ts';
import { writeTar } from '../../shared/tar/write.ts';
import { Folder } from './folder.ts';

async function* pieces(bytes: Uint8Array, size = 700): Bytes {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
}

const receive = async (bytes: Uint8Array, scratch: Folder, dockerfile?: string) =>
  receiveContext(pieces(bytes), { scratch: scratch.path, ...(dockerfile === undefined ? {} : { dockerfile }) });

const archive = async (bytes: Uint8Array, scratch: Folder, dockerfile?: string) => {
  const got = await receive(bytes, scratch, dockerfile);
  if (got.kind !== 'archive') throw new Error('not an archive');
  return got;
};

const head = { mode: 0o644, uid: 7, gid: 8, size: 0, mtime: 5 } as const;
const tarOf = async (...entries: readonly (Entry & { text?: string })[]): Promise<Uint8Array> =>
  collect(
    writeTar(
      entries.map(({ text, ...entry }) =>
        text === undefined
          ? { entry }
          : { entry: { ...entry, size: text.length }, body: { kind: 'bytes' as const, bytes: Buffer.from(text) } },
      ),
    ),
    1 << 26,
  );
const file = (path: string, text?: string): Entry & { text?: string } => ({
  ...head,
  path,
  type: 'file',
  ...(text !== undefined && { text }),
});

describe('an archive as context', () => {
  it('is the same context as the directory it was made of, in any compression', async () => {
    using folder = new Folder({
      Dockerfile: 'FROM scratch\n',
      'src/a': 'A',
      'src/b': '',
      'x.log': 'log',
      '.dockerignore': '*.log\nDockerfile\n',
      'empty/': '',
    });
    folder.write('run', '#!/bin/sh\n', 0o755);
    folder.write('link', '-> src/a');
    const { Ignore } = await import('../../shared/context/ignore.ts');
    const ignore = Ignore.parse('.dockerignore', '*.log\nDockerfile\n');
    const { context } = await walkDirectory(folder.path, { now: Date.now, ignore });
    for (const compression of ['', '-z', '-j', '-J', '--zstd']) {
      using scratch = new Folder();
      const bytes = execFileSync('tar', [...(compression === '' ? [] : [compression]), '-cf', '-', '-C', folder.path, '.']);
      const got = await archive(bytes, scratch);
      expect(got.context.digest, compression).toBe(context.digest);
      const entry = got.context.get('src/a')!;
      const body = await got.bodies.body(entry);
      if (body.kind !== 'file') throw new Error('not a file');
      expect(
        readFileSync(body.path)
          .subarray(body.offset, body.offset + entry.size)
          .toString(),
      ).toBe('A');
      // ignored, and read all the same
      expect(Buffer.from((await got.read('Dockerfile'))!).toString()).toBe('FROM scratch\n');
      expect(await got.read('nope')).toBeUndefined();
      expect(got.context.ignoredBy('x.log')?.line.line).toBe(1);
    }
  });

  it('takes the ignore file beside its Dockerfile', async () => {
    using scratch = new Folder();
    const bytes = await tarOf(
      file('.dockerignore', 'a'),
      file('a', '1'),
      file('b', '2'),
      file('Other.dockerignore', 'b\n*ignore'),
    );
    expect((await archive(bytes, scratch, 'Other')).context.entries.map((entry) => entry.path)).toEqual(['a']);
  });

  it('fills in parents, and takes the last of two', async () => {
    using scratch = new Folder();
    const bytes = await tarOf(file('d/e/f', 'old'), file('d/e/f', 'new'));
    const { context } = await archive(bytes, scratch);
    expect(context.get('d')).toMatchObject({ type: 'dir', mode: 0o755, uid: 0, gid: 0 });
    expect(context.get('d/e/f')).toMatchObject({ digest: sha256('new'), uid: 0, gid: 0, mtime: 5 });
  });

  it('keeps the names of one file together, whichever the archive has first and whichever is ignored', async () => {
    using scratch = new Folder();
    const hard = (path: string, link: string): Entry => ({ ...head, path, type: 'hardlink', link });
    const bytes = await tarOf(
      ...[file('.dockerignore', 'ignored'), file('m', 'one'), hard('a', 'm'), hard('z', 'a'), hard('ignored', 'z')],
      // The name is another file's later: what was linked to it before keeps the content it had.
      ...[file('p', 'old'), hard('q', 'p'), hard('r', 'p'), file('p', 'new')],
      ...[file('ignored', 'two'), hard('s', 'ignored')],
      ...[{ ...head, path: 'l', type: 'symlink', link: 'm' } as Entry, hard('l2', 'l')],
    );
    const { context, bodies } = await archive(bytes, scratch);
    expect(context.entries.map(({ path, type, link }) => [path, type, ...(link === undefined ? [] : [link])].join(' '))).toEqual([
      '.dockerignore file',
      'a file',
      'l symlink m',
      'l2 symlink m',
      'm hardlink a',
      'p file',
      'q file',
      'r hardlink q',
      's file',
      'z hardlink a',
    ]);
    expect(['a', 'p', 'q', 's'].map((path) => context.get(path)?.digest)).toEqual(
      ['one', 'new', 'old', 'two'].map((t) => sha256(t)),
    );
    expect(bodies.body(context.get('q')!)).toMatchObject({ kind: 'file' });
    expect(Context.decode(context.encode()).entries).toEqual(context.entries);
  });

  it('is refused when it leads outside', async () => {
    const link: Entry = { ...head, path: 'l', type: 'symlink', link: '/etc' };
    for (const entries of [
      [link, file('l/passwd', 'x')],
      [file('f', 'x'), file('f/g', 'y')],
    ]) {
      using scratch = new Folder();
      await expect(receive(await tarOf(...entries), scratch)).rejects.toMatchObject({ code: 'UNSAFE_PATH' });
    }
    using scratch = new Folder();
    const up = Buffer.from(execFileSync('tar', ['-P', '--transform', 's,^,../,', '-cf', '-', '-C', '/etc', 'hostname']));
    await expect(receive(up, scratch)).rejects.toMatchObject({ code: 'UNSAFE_PATH' });
    for (const to of ['none', '../etc/passwd']) {
      using other = new Folder();
      const hard = tarOf({ ...head, path: 'h', type: 'hardlink', link: to });
      await expect(hard.then((bytes) => receive(bytes, other))).rejects.toMatchObject({
        code: expect.stringMatching(/^(INVALID_ARCHIVE|UNSAFE_PATH)$/),
      });
    }
  });

  it('has a limit', async () => {
    using scratch = new Folder();
    const bomb = gzipSync(await tarOf(file('big', 'x'.repeat(4 << 20))));
    await expect(receiveContext(pieces(bomb), { scratch: scratch.path, limit: 2 << 20 })).rejects.toMatchObject({
      code: 'TOO_LARGE',
    });
  });
});

describe('a lone Dockerfile', () => {
  it('is text', async () => {
    using scratch = new Folder();
    for (const text of ['FROM scratch\n', `FROM scratch\n${'# long\n'.repeat(1000)}`]) {
      expect(await receive(Buffer.from(text), scratch)).toEqual({ kind: 'dockerfile', text });
      expect(await receive(gzipSync(text), scratch)).toEqual({ kind: 'dockerfile', text });
    }
  });

  it('is nothing else', async () => {
    using scratch = new Folder();
    for (const bytes of [
      Buffer.alloc(0),
      Buffer.from('PK\x03\x04\0\0zip'),
      Buffer.from([0xff, 0xfe, 0x41]),
      Buffer.alloc(10240),
    ]) {
      await expect(receive(bytes, scratch)).rejects.toMatchObject({ code: 'CONTEXT' });
    }
  });
});
