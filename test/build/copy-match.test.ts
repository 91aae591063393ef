import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { copyEntries } from '../../shared/build/copy-entries.ts';
import { type CopyOperation, contentDigest, contentParts, matchSources } from '../../shared/build/copy-match.ts';
import { Ignore } from '../../shared/context/ignore.ts';
import { Context, type SourceTree } from '../../shared/context/list.ts';
import type { Entry } from '../../shared/layer/entry.ts';
import type { Digest } from '../../shared/oci/digest.ts';
import { comparePaths } from '../../shared/tar/name.ts';
import { bodyOf, imageOf, treeOf } from './trees.ts';

const operation = (edit: Partial<CopyOperation>): CopyOperation => ({
  kind: 'copy',
  from: { kind: 'context' },
  sources: [],
  destination: '/d/',
  unpack: false,
  ...edit,
});

const taken = (tree: SourceTree, edit: Partial<CopyOperation> | string[]): string[] =>
  matchSources(operation(Array.isArray(edit) ? { sources: edit } : edit), tree).flatMap((match) =>
    match.isDirectory ? [`${match.path}/`, ...match.entries.map((entry) => entry.path)] : [`${match.name}=${match.path}`],
  );

const key = (tree: SourceTree, edit: Partial<CopyOperation>): Digest => {
  const full = operation(edit);
  return contentDigest(contentParts(matchSources(full, tree), full));
};

const tree = treeOf({
  'a.txt': 'a',
  'b.txt': 'b',
  'x/c.txt': 'c',
  'x/y/d.txt': 'd',
  'x/y/e.md': 'e',
  'x/*': 'star',
  'x/[': 'bracket',
  'back\\slash': 'b',
  'link-dir': '-> x',
  'link-file': '-> x/y/../c.txt',
  'link-abs': '-> /x/y',
  'link-up': '-> ../../../a.txt',
  dangling: '-> nowhere',
  loop: '-> loop',
});

describe('sources', () => {
  it.each<[sources: string[], taken: string[]]>([
    [['a.txt'], ['a.txt=a.txt']],
    [['/a.txt'], ['a.txt=a.txt']],
    [['./a.txt'], ['a.txt=a.txt']],
    [['../../a.txt'], ['a.txt=a.txt']],
    [['x/../a.txt'], ['a.txt=a.txt']],
    [['x/y'], ['x/y/', 'x/y/d.txt', 'x/y/e.md']],
    [['x/y/'], ['x/y/', 'x/y/d.txt', 'x/y/e.md']],
    [['*.txt'], ['a.txt=a.txt', 'b.txt=b.txt']],
    [['*/*.txt'], ['c.txt=x/c.txt']],
    [['x/*/*'], ['d.txt=x/y/d.txt', 'e.md=x/y/e.md']],
    [
      ['[ab].txt', 'a.txt'],
      ['a.txt=a.txt', 'b.txt=b.txt', 'a.txt=a.txt'],
    ],
    [['a.txt', 'none*'], ['a.txt=a.txt']],
    [['x/[[]'], ['[=x/[']],
    [['x/\\[*'], ['[=x/[']],
    [['back\\slash'], ['back\\slash=back\\slash']],
    // named symlinks are followed inside the root
    [['link-file'], ['link-file=x/c.txt']],
    [['link-dir/c.txt'], ['c.txt=x/c.txt']],
    [['link-dir/y'], ['x/y/', 'x/y/d.txt', 'x/y/e.md']],
    [['link-abs'], ['x/y/', 'x/y/d.txt', 'x/y/e.md']],
    [['link-up'], ['link-up=a.txt']],
    [['link-f*'], ['link-file=x/c.txt']],
    [['link-dir/*.txt'], ['c.txt=x/c.txt']],
  ])('%j', (sources, expected) => {
    expect(taken(tree, sources)).toEqual(expected);
  });

  it('that are not there are not found, in the words of docker', () => {
    for (const source of ['none', '/none', 'a.txt/b', 'x/y/none', 'dangling', 'none*', 'link-dir/../none']) {
      expect(() => taken(tree, [source]), source).toThrow(expect.objectContaining({ code: 'NOT_FOUND' }));
    }
    expect(() => taken(tree, ['a.txt', '/none'])).toThrow(/failed to compute cache key: .*"\/none": not found/);
    expect(() => taken(tree, ['/loop'])).toThrow(/^\/loop: too many levels/);
  });

  it('that are ignored are not found, and the message says why', () => {
    const { lines } = Ignore.parse('.dockerignore', '# no secrets\n*.env\n!ok.env\n');
    const context = new Context([], { file: '.dockerignore', lines });
    expect(() =>
      matchSources(operation({ sources: ['my.env'] }), context, { ignoredBy: (path) => context.ignoredBy(path) }),
    ).toThrow(expect.objectContaining({ code: 'NOT_FOUND', hint: 'It is excluded by .dockerignore:2 (*.env).' }));
    expect(() =>
      matchSources(operation({ sources: ['ok.env'] }), context, { ignoredBy: (path) => context.ignoredBy(path) }),
    ).toThrow(expect.objectContaining({ hint: expect.stringContaining('relative to the root') }));
    const linked = treeOf({ link: '-> my.env', lost: '-> /nowhere/at/all' });
    const ignoredBy = (path: string) => context.ignoredBy(path);
    for (const [source, hint] of [
      ['link', 'Symbolic links lead from there to /my.env. It is excluded by .dockerignore:2 (*.env).'],
      ['lost', expect.stringMatching(/^Symbolic links lead from there to \/nowhere\/at\/all\. Paths are relative/)],
    ] as const)
      expect(() => matchSources(operation({ sources: [source] }), linked, { ignoredBy }), source).toThrow(
        expect.objectContaining({ code: 'NOT_FOUND', hint }),
      );
  });

  it('that are there by exactly the name that is a pattern are not found, and the message says how to write it', () => {
    const odd = treeOf({ 'pages/[id].tsx': 'x' });
    expect(() => taken(odd, ['pages/[id].tsx'])).toThrow(
      expect.objectContaining({
        code: 'NOT_FOUND',
        hint: 'There is a file of exactly this name, but [, * and ? are wildcards: write pages/[[]id].tsx for it.',
      }),
    );
    expect(taken(odd, ['pages/[[]id].tsx'])).toEqual(['[id].tsx=pages/[id].tsx']);
  });

  it('with malformed patterns are errors of the Dockerfile', () => {
    for (const source of ['[', 'x/[a', 'x*/[]', '*[-']) {
      expect(() => taken(tree, [source]), source).toThrow(expect.objectContaining({ code: 'DOCKERFILE' }));
    }
    expect(() => taken(tree, { sources: ['x'], exclude: ['ok', '['] })).toThrow(expect.objectContaining({ code: 'DOCKERFILE' }));
  });

  it.each<[exclude: string[], sources: string[], taken: string[]]>([
    [['*.txt'], ['x'], ['x/', 'x/*', 'x/[', 'x/y', 'x/y/d.txt', 'x/y/e.md']],
    [['**/*.txt'], ['x'], ['x/', 'x/*', 'x/[', 'x/y', 'x/y/e.md']],
    [['y'], ['x'], ['x/', 'x/*', 'x/[', 'x/c.txt']],
    [['y', '!y/e.md'], ['x'], ['x/', 'x/*', 'x/[', 'x/c.txt', 'x/y', 'x/y/e.md']],
    [['y', '!y/none'], ['x'], ['x/', 'x/*', 'x/[', 'x/c.txt']],
    // a file that is named is taken; one that a wildcard found is not, as docker's reference has it
    [['*.txt'], ['a.txt'], ['a.txt=a.txt']],
    [['b*'], ['*.txt'], ['a.txt=a.txt']],
  ])('--exclude %j from %j', (exclude, sources, expected) => {
    expect(taken(tree, { sources, exclude })).toEqual(expected);
  });
});

describe('keys', () => {
  const whole = key(tree, { sources: ['.'] });
  const edited = (edit: (entries: Entry[]) => Entry[]): Context =>
    new Context(edit([...tree.entries]).sort((a, b) => comparePaths(a.path, b.path)));
  const change = (path: string, to: Partial<Entry>): Context =>
    edited((entries) => entries.map((entry) => (entry.path === path ? { ...entry, ...to } : entry)));

  it('do not see times', () => {
    expect(
      key(
        edited((entries) => entries.map((entry) => ({ ...entry, mtime: 1 }))),
        { sources: ['.'] },
      ),
    ).toBe(whole);
  });

  it('see everything else', () => {
    const changes: Context[] = [
      change('a.txt', { mode: 0o755 }),
      change('a.txt', { uid: 1 }),
      change('a.txt', { path: 'a.txu' }),
      change('a.txt', { digest: tree.get('b.txt')!.digest! }),
      change('a.txt', { xattrs: { 'user.a': 'YQ==' } }),
      change('x', { mode: 0o700 }),
      change('loop', { link: 'pool' }),
      edited((entries) => entries.filter((entry) => entry.path !== 'a.txt')),
      edited((entries) => [...entries, { ...tree.get('a.txt')!, path: 'x/new' }]),
    ];
    const keys = changes.map((changed) => key(changed, { sources: ['.'] }));
    expect(new Set([...keys, whole]).size).toBe(changes.length + 1);
  });

  it('do not see what is not copied', () => {
    const changed = change('a.txt', { mode: 0o755 });
    expect(key(changed, { sources: ['x', 'b.txt'] })).toBe(key(tree, { sources: ['x', 'b.txt'] }));
    expect(key(tree, { sources: ['x'], exclude: ['c.txt'] })).toBe(
      key(change('x/c.txt', { mode: 0o700 }), { sources: ['x'], exclude: ['c.txt'] }),
    );
  });

  it('do not see where it came from, but what it is called', () => {
    const other = treeOf({
      'deep/er/c.txt': 'c',
      'deep/er/y/d.txt': 'd',
      'deep/er/y/e.md': 'e',
      'deep/er/*': 'star',
      'deep/er/[': 'bracket',
    });
    expect(key(other, { sources: ['deep/er'] })).toBe(key(tree, { sources: ['x'] }));
    expect(key(treeOf({ n: 'a' }), { sources: ['n'] })).not.toBe(key(treeOf({ m: 'a' }), { sources: ['m'] }));
    expect(key(treeOf({ 'd/n': 'a' }), { sources: ['d'] })).not.toBe(key(treeOf({ n: 'a' }), { sources: ['n'] }));
  });

  it('see owners and modes as they will be', () => {
    const mine = change('a.txt', { uid: 1, mode: 0o755 });
    const flags = { sources: ['a.txt'], chown: '5:5', chmod: '600' };
    expect(key(mine, flags)).toBe(key(tree, flags));
    expect(key(tree, { ...flags, chmod: 'u+x' })).not.toBe(key(mine, { ...flags, chmod: 'u+x' }));
    expect(key(tree, { ...flags, chown: '5:6' })).not.toBe(key(tree, flags));
  });

  it('see which names are one file, and no names that are not copied', () => {
    const files = { 'd/a': 'one', 'd/b': 'one', 'd/c': 'one', 'e/x': 'one' };
    const linked = (links: Record<string, string>, sources = ['d']): Digest => key(treeOf({ ...files, ...links }), { sources });
    const apart = linked({});
    const keys = [linked({ 'd/b': '=> d/a' }), linked({ 'd/c': '=> d/a' }), linked({ 'd/c': '=> d/b' })];
    const all = linked({ 'd/b': '=> d/a', 'd/c': '=> d/a' });
    expect(new Set([apart, ...keys, all]).size).toBe(5);
    // Through whichever name they are known, and however the archive chained them.
    expect(linked({ 'd/b': '=> d/a', 'd/c': '=> d/b' })).toBe(all);
    expect(linked({ 'd/a': '=> e/x', 'd/b': '=> e/x', 'd/c': '=> e/x' })).toBe(all);
    expect(linked({ 'd/a': '=> e/x' })).toBe(apart);
    expect(linked({ 'd/a': '=> e/x' }, ['d/a'])).toBe(linked({}, ['d/a']));
  });

  it('tell sources apart', () => {
    expect(key(tree, { sources: ['a.txt', 'b.txt'] })).not.toBe(key(tree, { sources: ['b.txt', 'a.txt'] }));
    expect(key(tree, { sources: ['x/y', 'a.txt'] })).not.toBe(key(tree, { sources: ['a.txt', 'x/y'] }));
    const inline = (name: string, content: string): Digest => key(tree, { inline: [{ name, content }] });
    expect(new Set([inline('a', 'b'), inline('a', 'c'), inline('b', 'b')]).size).toBe(3);
  });

  it('are never the same for different names', () => {
    const name = fc.oneof(
      fc.string({ minLength: 1, maxLength: 6 }),
      fc.constantFrom('a\udc80', 'a\udc81', '"a\\udc80"', ':a', 'a\n'),
    );
    const clean = name.filter((text) => !/[/\0]|^\.{1,2}$/.test(text));
    const one = (path: string): SourceTree =>
      new Context([
        { ...tree.get('a.txt')!, path: 'd', type: 'dir' },
        { ...tree.get('a.txt')!, path: `d/${path}` },
      ]);
    fc.assert(
      fc.property(clean, clean, (a, b) => {
        expect(key(one(a), { sources: ['d'] }) === key(one(b), { sources: ['d'] })).toBe(a === b);
      }),
    );
  });
});

describe('laws', () => {
  const part = fc.constantFrom('a', 'b', 'c', 'd.txt');
  const path = fc.array(part, { minLength: 1, maxLength: 4 }).map((parts) => parts.join('/'));
  const link = fc
    .array(fc.constantFrom('a', 'b', '..', '', 'c'), { minLength: 1, maxLength: 5 })
    .map((parts) => `-> ${parts.join('/') || '.'}`);
  const files = fc.dictionary(path, fc.oneof(fc.constantFrom('1', '2'), link), { maxKeys: 8 }).map((all) => {
    // no path below one that is not a directory
    const names = Object.keys(all);
    return Object.fromEntries(Object.entries(all).filter(([name]) => !names.some((other) => name.startsWith(`${other}/`))));
  });
  const source = fc
    .array(fc.constantFrom('a', 'b', '..', '*', '.', 'c*'), { minLength: 1, maxLength: 3 })
    .map((parts) => parts.join('/'));
  const destination = fc
    .tuple(fc.array(fc.constantFrom('a', 'b', '..', 'c', '.'), { maxLength: 4 }), fc.boolean())
    .map(([parts, slash]) => `/${parts.join('/')}${slash ? '/' : ''}`);

  it('hold for any tree: entries are sorted, whole, in real directories, and the same every time', async () => {
    let layers = 0;
    await fc.assert(
      fc.asyncProperty(
        files,
        files,
        fc.array(source, { minLength: 1, maxLength: 2 }),
        destination,
        async (from, into, sources, to) => {
          const full = operation({ sources, destination: sources.length > 1 ? `${to}/` : to });
          const parent = imageOf(into);
          const make = async () => {
            const matches = matchSources(full, treeOf(from));
            return Array.fromAsync(await copyEntries(matches, full, { parent, bodyOf, time: 1, scratch: '/nonexistent' }));
          };
          let layer: Awaited<ReturnType<typeof make>>;
          try {
            layer = await make();
          } catch (error) {
            expect(error).toMatchObject({ code: expect.stringMatching(/^(NOT_FOUND|STEP_FAILED|DOCKERFILE)$/) });
            return;
          }
          layers++;
          expect(await make()).toEqual(layer);
          const kinds = new Map<string, string>();
          let last = '';
          for (const { entry, body } of layer) {
            expect(entry.path.split('/').every((name) => name !== '' && name !== '.' && name !== '..')).toBe(true);
            expect(comparePaths(last, entry.path)).toBeLessThan(0);
            last = entry.path;
            kinds.set(entry.path, entry.type);
            const above = entry.path.slice(0, Math.max(0, entry.path.lastIndexOf('/')));
            // its directory is in the layer itself, so no symlink of any layer can lead elsewhere
            if (above !== '') expect(kinds.get(above)).toBe('dir');
            expect(body !== undefined).toBe(entry.type === 'file' && entry.size > 0);
            // a directory of the parent is never replaced by something else
            if (parent.get(entry.path)?.type === 'dir') expect(entry.type).toBe('dir');
          }
        },
      ),
      { numRuns: 1500 },
    );
    expect(layers).toBeGreaterThan(100);
  });
});
