// The compare tool itself: that it sees what it is there to see, and that layers are applied by the spec's rules.
import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { chmod, lchown, link, mkdir, readFile, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { must } from './command.ts';
import { scratch } from './scratch.ts';
import { compareImages, type ImageSnapshot, inconsistencies, snapshotOf } from './tree.ts';

const missing = !existsSync('/usr/bin/python3') && process.env.PYTHON === undefined && !process.env.CI;
const owner = process.getuid?.() === 0;

type Fill = (at: (name: string) => string) => Promise<void>;

/** An image in skopeo's dir: format whose layers are tars of folders. */
async function image(fills: readonly Fill[], config: Record<string, unknown> = {}): Promise<ImageSnapshot> {
  await using folder = await scratch('slw-tree-', 0);
  const put = async (bytes: Uint8Array) => {
    const digest = createHash('sha256').update(bytes).digest('hex');
    await writeFile(join(folder.path, digest), bytes);
    return { digest: `sha256:${digest}`, size: bytes.length };
  };
  const layers: { digest: string; size: number }[] = [];
  for (const [index, fill] of fills.entries()) {
    const root = join(folder.path, `layer-${index}`);
    await mkdir(root);
    await fill((name) => join(root, name));
    const tar = join(folder.path, `layer-${index}.tar`);
    await must([
      'tar',
      '--sort=name',
      '--numeric-owner',
      '--format=pax',
      '--xattrs',
      '--xattrs-include=*',
      '-C',
      root,
      '-cf',
      tar,
      '.',
    ]);
    layers.push(await put(await readFile(tar)));
  }
  const stored = await put(
    Buffer.from(
      JSON.stringify({
        architecture: 'amd64',
        os: 'linux',
        config,
        rootfs: { type: 'layers', diff_ids: layers.map((layer) => layer.digest) },
        history: layers.map(() => ({})),
      }),
    ),
  );
  await writeFile(join(folder.path, 'manifest.json'), JSON.stringify({ config: stored, layers }));
  return await snapshotOf(folder.path);
}

const plain: Fill = async (at) => {
  await mkdir(at('folder'));
  await chmod(at('folder'), 0o755);
  await writeFile(at('folder/file'), 'content');
  await chmod(at('folder/file'), 0o644);
  await writeFile(at('folder/other'), 'other');
};
const paths = (snapshot: ImageSnapshot) => snapshot.tree.map((entry) => entry.path);
const subjects = (a: ImageSnapshot, b: ImageSnapshot) =>
  compareImages(a, b).map((d) => `${d.subject} ${d.property ?? ''}`.trim());

describe.skipIf(missing)('compare tool', () => {
  it('finds equal images equal, whatever their times', async () => {
    const a = await image([plain]);
    const b = await image([plain]);
    expect(a.notes).toEqual([]);
    expect(inconsistencies(a)).toEqual([]);
    expect(compareImages(a, b)).toEqual([]);
    expect(paths(a)).toEqual(['/', '/folder', '/folder/file', '/folder/other']);
  });

  const changes: [string, Fill, string[]][] = [
    ['content of the same length', (at) => writeFile(at('folder/file'), 'CONTENT'), ['/folder/file sha256']],
    ['mode', (at) => chmod(at('folder/file'), 0o600), ['/folder/file mode']],
    ['setuid', (at) => chmod(at('folder/file'), 0o4644), ['/folder/file mode']],
    ['mode of a folder', (at) => chmod(at('folder'), 0o700), ['/folder mode']],
    ['another file', (at) => writeFile(at('folder/more'), ''), ['/folder/more exists']],
    ['a link', (at) => symlink('file', at('folder/link')), ['/folder/link exists']],
    ['a hard link', (at) => link(at('folder/file'), at('folder/hard')), ['/folder/file hardLinks', '/folder/hard exists']],
  ];
  it.each(changes)('sees a difference in %s', async (_, change, expected) => {
    const a = await image([plain]);
    const changed: Fill = async (at) => {
      await plain(at);
      await change(at);
    };
    const b = await image([changed]);
    expect(subjects(a, b)).toEqual(expected);
    expect(subjects(b, a).sort()).toEqual([...expected].sort());
  });

  it.skipIf(!owner)('sees a difference in owner, device and attributes', async () => {
    const special =
      (uid: number, minor: string, value: string): Fill =>
      async (at) => {
        await plain(at);
        await lchown(at('folder/file'), uid, 7);
        await must(['mknod', at('device'), 'c', '1', minor]);
        await must(['setfattr', '-n', 'user.test', '-v', value, at('folder/other')]);
      };
    const a = await image([special(1, '3', 'x')]);
    expect(subjects(a, await image([special(1, '3', 'x')]))).toEqual([]);
    expect(subjects(a, await image([special(2, '5', 'y')]))).toEqual([
      '/device device',
      '/folder/file uid',
      '/folder/other xattrs',
    ]);
    expect(a.tree.find((entry) => entry.path === '/folder/other')?.xattrs).toEqual({ 'user.test': '78' });
  });

  it('says what it cannot read, and reads the next', async () => {
    await expect(snapshotOf('/nowhere')).rejects.toThrow(/\/nowhere: FileNotFoundError/);
    expect(paths(await image([plain]))).toContain('/folder');
  });

  it('applies whiteouts to lower layers alone', async () => {
    const upper: Fill = async (at) => {
      await mkdir(at('folder'));
      await writeFile(at('folder/.wh.file'), '');
      await writeFile(at('folder/file'), 'again');
      await writeFile(at('folder/.wh.other'), '');
    };
    const result = await image([plain, upper]);
    expect(paths(result)).toEqual(['/', '/folder', '/folder/file']);
    expect(result.tree.at(-1)?.size).toBe(5);
    expect(result.notes).toEqual([]);
  });

  it('applies opaque folders, and says when a whiteout hides nothing', async () => {
    const upper: Fill = async (at) => {
      await mkdir(at('folder'));
      await writeFile(at('folder/.wh..wh..opq'), '');
      await writeFile(at('folder/new'), 'new');
      await writeFile(at('.wh.never'), '');
    };
    const result = await image([plain, upper]);
    expect(paths(result)).toEqual(['/', '/folder', '/folder/new']);
    expect(result.notes).toEqual(['layer 1: never: whiteout of nothing']);
  });

  it('leaves alone what a link led to, in whose place an opaque folder comes', async () => {
    const below = async (at: (name: string) => string) => {
      await mkdir(at('real'));
      await writeFile(at('real/kept'), 'kept');
      await symlink('real', at('link'));
    };
    const above = async (at: (name: string) => string) => {
      await mkdir(at('link'));
      await writeFile(at('link/.wh..wh..opq'), '');
      await writeFile(at('link/new'), 'new');
    };
    const { tree, notes } = await image([below, above]);
    expect(tree.map(({ path }) => path)).toEqual(['/', '/link', '/link/new', '/real', '/real/kept']);
    expect(notes).toEqual([]);
  });

  it('lets a file take the place of a folder with all in it', async () => {
    const result = await image([plain, (at) => writeFile(at('folder'), 'now a file')]);
    expect(paths(result)).toEqual(['/', '/folder']);
  });

  it('compares configs by meaning: order of names is nothing, order of lists is', async () => {
    const a = await image([plain], { Labels: { a: '1', b: '2' }, Env: ['A=1', 'B=2'], Cmd: null, WorkingDir: '' });
    const b = await image([plain], { Labels: { b: '2', a: '1' }, Env: ['B=2', 'A=1'], Cmd: [], WorkingDir: '/' });
    expect(subjects(a, b)).toEqual(['config.Env']);
    expect(subjects(a, await image([plain], { Labels: { a: '1' }, Env: ['A=1', 'B=2'], User: 'x' }))).toEqual([
      'config.User',
      'config.Labels',
    ]);
  });

  it('checks history and diffIDs against the layers', async () => {
    const good = await image([plain, plain]);
    const config = { ...good.config, history: [{}, {}, {}], rootfs: { diff_ids: ['sha256:0'] } };
    expect(inconsistencies({ ...good, config })).toHaveLength(2);
    expect(inconsistencies({ ...good, config: { ...good.config, history: [{}, { empty_layer: true }, {}] } })).toEqual([]);
  });
});
