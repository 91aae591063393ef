import { describe, expect, it } from 'vitest';
import { copyEntries, directoryEntries, nameFromUrl } from '../../shared/build/copy-entries.ts';
import { type CopyOperation, looseFile, matchSources } from '../../shared/build/copy-match.ts';
import type { SourceTree } from '../../shared/context/list.ts';
import { sha256 } from '../../shared/oci/digest.ts';
import { bodyOf, imageOf, shown, treeOf } from './trees.ts';

const time = 5000;
const scratch = '/nonexistent';
const source = treeOf({
  a: 'A',
  b: { text: 'B', mode: 0o600 },
  'dir/x': 'X',
  'dir/sub/y': { text: 'Y', mode: 0o755 },
  'dir/link': '-> ../a',
  'tree/dir/z': 'Z',
  named: '-> dir',
  'to-a': '-> /dir/../a',
});
const base = imageOf({
  'etc/passwd': 'root:x:0:0::/:\nweb:x:33:34:Web:/:\nbad:x::\n',
  'etc/group': 'root:x:0:\nstaff:x:50:a,b\n',
  'usr/bin/tool': { text: 't', mode: 0o755 },
  'usr/lib/': { mode: 0o700, uid: 7, gid: 8, mtime: 42 },
  'usr/lib/a': 'old',
  'usr/lib/dir/sub/': { mode: 0o711 },
  lib: '-> usr/lib',
  'var/run': '-> /run',
  'opt/out': '-> ../../../../escape',
  'opt/self': '-> self',
  'opt/file': 'f',
  'opt/link-to-file': '-> file',
  'opt/dangling': '-> new/place',
  'srv/a/': {},
});

const copy = async (
  operation: Partial<CopyOperation> & { destination: string },
  { parent = base, from = source }: { parent?: typeof base; from?: SourceTree } = {},
): Promise<string[]> => {
  const full: CopyOperation = { kind: 'copy', from: { kind: 'context' }, sources: [], unpack: false, ...operation };
  return shown(await Array.fromAsync(await copyEntries(matchSources(full, from), full, { parent, bodyOf, time, scratch })));
};

describe('a file', () => {
  it.each<[destination: string, layer: string[]]>([
    ['/d', ['d f644 "body of a"']],
    ['/d/', ['d d755', 'd/a f644 "body of a"']],
    ['/d/.', ['d d755', 'd/a f644 "body of a"']],
    ['/n/e/w', ['n d755', 'n/e d755', 'n/e/w f644 "body of a"']],
    ['/', ['a f644 "body of a"']],
    // an existing directory takes it in, and keeps its attributes
    ['/usr/lib', ['usr d755', 'usr/lib d700 7:8', 'usr/lib/a f644 "body of a"']],
    // symlinks of the image are followed
    ['/lib', ['usr d755', 'usr/lib d700 7:8', 'usr/lib/a f644 "body of a"']],
    ['/lib/x', ['usr d755', 'usr/lib d700 7:8', 'usr/lib/x f644 "body of a"']],
    ['/var/run/x', ['run d755', 'run/x f644 "body of a"']],
    ['/opt/link-to-file', ['opt d755', 'opt/file f644 "body of a"']],
    ['/opt/dangling', ['opt d755', 'opt/new d755', 'opt/new/place f644 "body of a"']],
    // never out of the root
    ['/opt/out/x', ['escape d755', 'escape/x f644 "body of a"']],
    ['/opt/out', ['escape f644 "body of a"']],
  ])('to %s', async (destination, layer) => {
    expect(await copy({ sources: ['a'], destination })).toEqual(layer);
  });

  it('replaces a symlink inside a directory, not what it points at', async () => {
    const parent = imageOf({ 'd/a': '-> /etc/passwd', 'etc/passwd': 'x' });
    expect(await copy({ sources: ['a'], destination: '/d/' }, { parent })).toEqual(['d d755', 'd/a f644 "body of a"']);
  });

  it('does not replace a directory', async () => {
    await expect(copy({ sources: ['a'], destination: '/srv/' })).rejects.toMatchObject({
      code: 'STEP_FAILED',
      message: 'cannot replace to directory /srv/a with file',
      hint: '/srv/a is a directory by then: use another path, or remove it in a RUN before.',
    });
  });

  it('needs directories on its way', async () => {
    for (const destination of ['/opt/file/', '/opt/file/x', '/opt/link-to-file/x/y']) {
      await expect(copy({ sources: ['a'], destination }), destination).rejects.toMatchObject({ code: 'STEP_FAILED' });
    }
    await expect(copy({ sources: ['a'], destination: '/opt/self/x' })).rejects.toMatchObject({
      message: expect.stringContaining('too many levels'),
    });
  });

  it('is followed when it is named by a symlink, and has the name of the link', async () => {
    expect(await copy({ sources: ['to-a'], destination: '/d/' })).toEqual(['d d755', 'd/to-a f644 "body of a"']);
  });
});

describe('a directory', () => {
  it('gives its contents, and its new destination the attributes of new directories', async () => {
    const odd = treeOf({ 'dir/': { mode: 0o700, mtime: 9 }, 'dir/x': 'X' });
    expect(await copy({ sources: ['dir'], destination: '/d' }, { from: odd })).toEqual(['d d755', 'd/x f644 "body of dir/x"']);
    expect(await copy({ sources: ['dir/'], destination: '/d/e/' })).toEqual([
      'd d755',
      'd/e d755',
      'd/e/link l777 -> ../a',
      'd/e/sub d755',
      'd/e/sub/y f755 "body of dir/sub/y"',
      'd/e/x f644 "body of dir/x"',
    ]);
  });

  it('merges into what is there, changing the attributes of directories below', async () => {
    expect(await copy({ sources: ['tree', 'named'], destination: '/lib/' })).toEqual([
      'usr d755',
      'usr/lib d700 7:8',
      'usr/lib/dir d755',
      'usr/lib/dir/z f644 "body of tree/dir/z"',
      'usr/lib/link l777 -> ../a',
      'usr/lib/sub d755',
      'usr/lib/sub/y f755 "body of dir/sub/y"',
      'usr/lib/x f644 "body of dir/x"',
    ]);
  });

  it('does not take the place of a file', async () => {
    await expect(copy({ sources: ['dir'], destination: '/opt/file' })).rejects.toMatchObject({ code: 'STEP_FAILED' });
    const parent = imageOf({ 'd/sub': 'file', 'e/sub': '-> /etc' });
    await expect(copy({ sources: ['dir'], destination: '/d' }, { parent })).rejects.toMatchObject({
      message: 'cannot copy to non-directory: /d/sub',
      hint: '/d/sub is a file by then: use another path, or remove it in a RUN before.',
    });
    // as in docker, not even through a symlink to a directory
    await expect(copy({ sources: ['dir'], destination: '/e' }, { parent })).rejects.toMatchObject({
      message: 'cannot copy to non-directory: /e/sub',
      hint: '/e/sub is a symbolic link to /etc by then: use another path, or remove it in a RUN before, or copy to /etc by itself.',
    });
  });

  it('makes its destination even when it is empty', async () => {
    expect(await copy({ sources: ['e'], destination: '/d' }, { from: treeOf({ 'e/': {} }) })).toEqual(['d d755']);
  });

  it('can be the whole context', async () => {
    const layer = await copy({ sources: ['.'], destination: '/' });
    expect(layer).toHaveLength(source.entries.length);
    expect(layer[0]).toBe('a f644 "body of a"');
  });
});

describe('several sources', () => {
  it('go into a directory, the last one winning', async () => {
    expect(await copy({ sources: ['a', 'b', 'a'], destination: '/d/' })).toEqual([
      'd d755',
      'd/a f644 "body of a"',
      'd/b f600 "body of b"',
    ]);
  });

  it('of a wildcard must not overwrite each other', async () => {
    await expect(copy({ sources: ['[ab]'], destination: '/d' })).rejects.toMatchObject({
      code: 'DOCKERFILE',
      message: expect.stringContaining('more than one source file'),
    });
    expect(await copy({ sources: ['[ab]'], destination: '/usr/lib' })).toHaveLength(4);
    expect(await copy({ sources: ['tree*', 'di?'], destination: '/d' })).toContain('d/dir/z f644 "body of tree/dir/z"');
  });
});

describe('owners and modes', () => {
  it.each<[chown: string, owner: string]>([
    ['12', '12:12'],
    ['12:34', '12:34'],
    ['root:34', '0:34'],
    ['web', '33:34'],
    ['web:staff', '33:50'],
    ['web:0', '33:0'],
    [':staff', '0:50'],
    ['web:', '33:34'],
  ])('--chown=%s', async (chown, owner) => {
    const shownOwner = owner === '0:0' ? '' : ` ${owner}`;
    expect(await copy({ sources: ['a'], destination: '/n/', chown })).toEqual([
      `n d755${shownOwner}`,
      `n/a f644${shownOwner} "body of a"`,
    ]);
  });

  it('refuse names that the image does not know', async () => {
    for (const chown of ['nobody', 'web:nogroup', 'bad']) {
      await expect(copy({ sources: ['a'], destination: '/x', chown }), chown).rejects.toMatchObject({
        code: 'STEP_FAILED',
        message: expect.stringContaining(`--chown=${chown}`),
      });
    }
    await expect(copy({ sources: ['a'], destination: '/x', chown: 'web' }, { parent: imageOf({}) })).rejects.toMatchObject({
      hint: expect.stringContaining('no /etc/passwd'),
    });
  });

  it('of the source are kept, and changed for all of it', async () => {
    const from = treeOf({ 'd/f': { text: '1', uid: 5, gid: 6, mode: 0o4750 }, 'd/s': { text: '-> f', uid: 5, gid: 6 } });
    expect(await copy({ sources: ['d'], destination: '/o' }, { from })).toEqual([
      'o d755',
      'o/f f4750 5:6 "body of d/f"',
      'o/s l777 5:6 -> f',
    ]);
    expect(await copy({ sources: ['d'], destination: '/o/p', chown: '1:2', chmod: '640' }, { from })).toEqual([
      'o d755 1:2',
      'o/p d755 1:2',
      'o/p/f f640 1:2 "body of d/f"',
      'o/p/s l777 1:2 -> f',
    ]);
    expect(await copy({ sources: ['dir'], destination: '/o', chmod: 'u=rwX,go=rX' })).toEqual([
      'o d755',
      'o/link l777 -> ../a',
      'o/sub d755',
      'o/sub/y f755 "body of dir/sub/y"',
      'o/x f644 "body of dir/x"',
    ]);
  });
});

describe('hard links', () => {
  const from = treeOf({ 'd/a': 'one', 'd/b': '=> d/a', 'e/c': '=> d/a' }, { uid: 3 });

  it('stay links when they are copied together', async () => {
    expect(await copy({ sources: ['d'], destination: '/x' }, { from })).toEqual([
      'x d755',
      'x/a f644 3:0 "body of d/a"',
      'x/b h644 3:0 -> x/a',
    ]);
  });

  it('become files when they are copied alone', async () => {
    expect(await copy({ sources: ['d/b', 'e'], destination: '/x/' }, { from })).toEqual([
      'x d755',
      'x/b f644 3:0 "body of d/b"',
      'x/c f644 3:0 "body of e/c"',
    ]);
  });

  it('do not point at a file that another source replaced', async () => {
    const more = treeOf({ 'd/a': 'one', 'd/b': '=> d/a', 'e/a': 'other' });
    expect(await copy({ sources: ['d', 'e'], destination: '/x/' }, { from: more })).toEqual([
      'x d755',
      'x/a f644 "body of e/a"',
      'x/b f644 "body of d/b"',
    ]);
  });
});

describe('hard links of odd archives', () => {
  it('may be to other links', async () => {
    const from = treeOf({
      a: 'one',
      b: '=> a',
      c: '=> b',
      s: '-> a',
      t: '=> s',
      n: { type: 'char', major: 1, minor: 3 },
      m: '=> n',
    });
    expect(await copy({ sources: ['.'], destination: '/x' }, { from })).toEqual([
      'x d755',
      'x/a f644 "body of a"',
      'x/b h644 -> x/a',
      'x/c h644 -> x/a',
      'x/m c644',
      'x/n c644',
      'x/s l777 -> a',
      'x/t l777 -> a',
    ]);
  });

  it('are refused when they lead nowhere', async () => {
    for (const link of ['none', 'd', 'loop']) {
      const from = treeOf({ 'd/': {}, loop: '=> loop', l: `=> ${link}` });
      await expect(copy({ sources: ['l'], destination: '/x' }, { from }), link).rejects.toMatchObject({
        code: 'INVALID_ARCHIVE',
      });
    }
  });
});

describe('other things', () => {
  it('copies here-documents', async () => {
    const inline = [{ name: 'run.sh', content: 'echo\n' }];
    expect(await copy({ inline, destination: '/d' })).toEqual(['d f644 "echo\n"']);
    expect(await copy({ inline, destination: '/d/', chmod: '755' })).toEqual(['d d755', 'd/run.sh f755 "echo\n"']);
  });

  it('copies devices and FIFOs of stages', async () => {
    const from = treeOf({ 'dev/null': { type: 'char', major: 1, minor: 3, mode: 0o666 }, 'dev/p': { type: 'fifo' } });
    expect(await copy({ sources: ['dev'], destination: '/d' }, { from })).toEqual(['d d755', 'd/null c666', 'd/p f644']);
  });

  it('places downloads', async () => {
    const match = looseFile('tool.tgz', { digest: sha256('x'), size: 1, mode: 0o600, mtime: 77 });
    const target = { destination: '/d/', unpack: false };
    const layer = await Array.fromAsync(await copyEntries([match], target, { parent: base, bodyOf, time, scratch }));
    expect(shown(layer)).toEqual(['d d755', 'd/tool.tgz f600 "body of tool.tgz"']);
    expect(layer.map(({ entry }) => entry.mtime)).toEqual([time, 77]);
  });

  it('names downloads after their URL', () => {
    expect(nameFromUrl('https://h/p/file%20name.txt?q=1/2#f')).toBe('file name.txt');
    expect(nameFromUrl('https://h/100%/')).toBe('100%');
    for (const url of ['https://h', 'https://h/', 'https://h/a/%2e%2e', 'https://h/..%2fx', 'https://h/%00']) {
      expect(() => nameFromUrl(url), url).toThrow(expect.objectContaining({ code: 'DOCKERFILE' }));
    }
  });

  it('ignores the parent with --link', async () => {
    expect(await copy({ sources: ['a'], destination: '/lib/', link: true })).toEqual(['lib d755', 'lib/a f644 "body of a"']);
  });

  it('refuses names that would remove files of other layers', async () => {
    for (const name of ['.wh.etc', 'd/.wh..wh..opq']) {
      await expect(copy({ sources: ['.'], destination: '/' }, { from: treeOf({ [name]: '' }) })).rejects.toMatchObject({
        code: 'UNSUPPORTED',
      });
    }
  });

  it('makes working directories', async () => {
    const owner = { uid: 33, gid: 34 };
    expect(shown(await Array.fromAsync(await directoryEntries('/var/run/app/x', { parent: base, owner, time })))).toEqual([
      'run d755 33:34',
      'run/app d755 33:34',
      'run/app/x d755 33:34',
    ]);
    expect(await Array.fromAsync(await directoryEntries('/usr/lib', { parent: base, owner, time }))).toEqual([]);
    await expect(directoryEntries('/opt/file', { parent: base, owner, time })).rejects.toMatchObject({ code: 'STEP_FAILED' });
  });
});
