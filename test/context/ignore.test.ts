import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { cleanPath, compileGlob } from '../../shared/context/glob.ts';
import { Ignore, Patterns, parseIgnore } from '../../shared/context/ignore.ts';
import { isCode } from '../../shared/errors.ts';
import { decodeName } from '../../shared/tar/name.ts';

const patterns = (...list: string[]): Patterns =>
  new Patterns(list, (_index, why) => {
    throw new Error(why);
  });

const excludes = (list: string[], path: string): boolean => patterns(...list).excludesFromRoot(path);

describe('one pattern', () => {
  it('matches names that are no UTF-8', () => {
    const name = (bytes: number[]) => decodeName(Uint8Array.from(bytes));
    const { patterns } = Ignore.parse('.dockerignore', `${name([0x63, 0xe9])}\n${name([0xff])}*.txt\n`);
    expect(patterns.excludesFromRoot(name([0x63, 0xe9]))).toBe(true);
    expect(patterns.excludesFromRoot(name([0x63, 0xea]))).toBe(false);
    expect(patterns.excludesFromRoot(`${name([0xff])}a.txt`)).toBe(true);
  });

  it.each<[pattern: string, path: string, excluded: boolean]>([
    ['*', 'a.go', true],
    ['*.go', 'a.go', true],
    ['*.go', 'x/a.go', false],
    ['**', 'x', true],
    ['**', 'x/y/z', true],
    ['**/', 'x/y', true],
    ['**/**', 'x/y', true],
    ['x/**', 'x/y', true],
    ['x/**', 'x/y/z', true],
    ['x/**', 'x', false],
    ['**/d', 'd', true],
    ['**/d', 'd/e', true],
    ['**/d', 'a/b/d', true],
    ['**/d', 'a/bd', false],
    ['**d', 'a/bd', true],
    ['**/d/*', 'a/d/e', true],
    ['**/d/**', 'a/d/e/f', true],
    ['**/d/**', 'a/d', false],
    ['**/**/*.txt', 'a/b/c.txt', true],
    ['**/**/*.txt', 'c.txt', true],
    ['**/**/*.txt', 'c.txt2', false],
    ['a**/*.txt', 'a/b/c.txt', true],
    ['a**/*.txt', 'a/c.txt', true],
    ['a/*.txt', 'a/b/c.txt', false],
    ['a/*.txt**', 'a/c.txt', true],
    ['a[b-d]e', 'ace', true],
    ['a[b-d]e', 'aae', false],
    ['a[^b-d]e', 'aze', true],
    ['.*', '.env', true],
    ['.*', 'env', false],
    ['a.b', 'aXb', false],
    ['a?b', 'aXb', true],
    ['a?b', 'ab', false],
    ['a?b', 'a/b', false],
    ['a?b', 'a☺b', true],
    ['a?b', 'a😀b', true],
    ['a???b', 'a☺b', false],
    ['[a-ζ]*', 'α', true],
    ['a\\*b', 'a*b', true],
    ['a\\*b', 'axb', false],
    ['a(b)c/d', 'a(b)c/d', true],
    ['a.|)$(}+{b', 'a.|)$(}+{b', true],
    ['dist/*.whl', 'dist/p-2.4.0rc3.dev36+g08-py3.whl', true],
    ['a', 'a/b/c', true],
    ['a/b', 'a/b/c', true],
    ['a/b', 'a', false],
    ['a/../b', 'b', true],
    ['./a', 'a', true],
    ['a/', 'a/x', true],
    ['  a  ', 'a', true],
    ['/a', 'a', false],
    ['..', 'a', false],
    ['.', 'a', false],
    ['a*b*c*d*e*/f', 'axbxcxdxexxx/f', true],
    ['a*b*c*d*e*/f', 'axbxcxdxe/xxx/f', false],
    ['a*b?c*x', 'abxbbxdbxebxczzx', true],
    ['**/a/**/b/**/c/**', 'x/a/y/b/z/c/d', true],
    ['**/a/**/b/**/c/**', 'a/b/c/d', true],
    ['**/a/**/b/**/c/**', 'a/b/c', false],
  ])('%s on %s: %s', (pattern, path, excluded) => {
    expect(excludes([pattern], path)).toBe(excluded);
  });
});

describe('several patterns', () => {
  it.each<[list: string[], path: string, excluded: boolean]>([
    [['!a.go', '*.go'], 'a.go', true],
    [['*.go', '!a.go'], 'a.go', false],
    [['docs', '!docs/README.md'], 'docs/README.md', false],
    [['docs', '!docs/README.md'], 'docs/other.md', true],
    [['docs/', '!docs/README.md'], 'docs/README.md', false],
    [['docs/*', '!docs/README.md'], 'docs/README.md', false],
    [['**', '!util/web'], 'util/web/foo', false],
    [['**', '!util/web', 'util/web/foo'], 'util/web/foo', true],
    [['*', '!src', 'src/secret', '!src/secret/ok'], 'src/secret/ok', false],
    [['*', '!src', 'src/secret', '!src/secret/ok'], 'src/secret/no', true],
    [['*.md', '!README*.md', 'README-secret.md'], 'README-secret.md', true],
    [['*.md', 'README-secret.md', '!README*.md'], 'README-secret.md', false],
    // moby's own quirk: "!x" is not tried on x, where nothing is excluded yet, so it does not count below x.
    [['x/y', '!x'], 'x/y', true],
  ])('%j on %s: %s', (list, path, excluded) => {
    expect(excludes(list, path)).toBe(excluded);
  });

  it('never prunes a directory below which a path is included again', () => {
    const part = fc.constantFrom('a', 'b', 'c', '*', '**', 'a*', '?', '[ab]', '\\a');
    const pattern = fc
      .tuple(fc.boolean(), fc.array(part, { minLength: 1, maxLength: 4 }))
      .map(([not, parts]) => `${not ? '!' : ''}${parts.join('/')}`);
    const path = fc.array(fc.constantFrom('a', 'b', 'c', 'ab'), { minLength: 2, maxLength: 5 });
    fc.assert(
      fc.property(fc.array(pattern, { minLength: 1, maxLength: 5 }), path, (list, parts) => {
        const all = patterns(...list);
        for (let depth = 1; depth < parts.length; depth++) {
          const directory = parts.slice(0, depth).join('/');
          if (all.excludesFromRoot(directory) && !all.mayReinclude(directory)) {
            expect(all.excludesFromRoot(parts.join('/'))).toBe(true);
          }
        }
      }),
      { numRuns: 2000 },
    );
  });

  it('prunes where only a deeper pattern elsewhere re-includes', () => {
    const all = patterns('*', '!src', '!*.json', '!docs/*/keep');
    expect(all.mayReinclude('node_modules')).toBe(false);
    expect(all.mayReinclude('docs')).toBe(true);
    expect(all.mayReinclude('docs/a')).toBe(true);
    expect(all.mayReinclude('docs/a/b')).toBe(false);
    expect(patterns('*', '!**/keep').mayReinclude('node_modules')).toBe(true);
  });
});

describe('globs', () => {
  it('simulates what a regular expression says', () => {
    const piece = fc.constantFrom('a', 'b', '*', '?', '**/', '/', '[ab]', '[^a]', '**');
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 4 }), fc.array(fc.constantFrom('a', 'b', '/', 'c'), { maxLength: 8 }), (p, t) => {
        const text = t.join('');
        const pattern = p.join('');
        // Four stars more at the end that match nothing push the same pattern onto the other engine.
        const fast = compileGlob(`${pattern}!`, 'ignore');
        const slow = compileGlob(`${pattern}!*?*?*?*?`, 'ignore');
        if (fast === undefined) expect(slow).toBeUndefined();
        else expect(slow!(`${text}!zzzz`)).toBe(fast(`${text}!`));
      }),
      { numRuns: 3000 },
    );
  });

  it('stays linear on patterns made to explode', () => {
    const glob = compileGlob(`${'*a'.repeat(40)}b`, 'ignore')!;
    expect(glob('a'.repeat(250))).toBe(false);
    expect(glob(`${'a'.repeat(250)}b`)).toBe(true);
  });

  it('knows what Go calls malformed', () => {
    for (const bad of ['[', '[]', '[]a]', '[-]', '[x-]', '[-x]', '[a-b-c]', 'a[', 'a\\', '[\\', '[^', '[^bc', '[a', '[a-']) {
      expect(compileGlob(bad, 'match'), bad).toBeUndefined();
    }
    expect(compileGlob('[\\]a]', 'match')!(']')).toBe(true);
    expect(compileGlob('[\\-x]', 'match')!('-')).toBe(true);
    expect(compileGlob('[x\\-]', 'match')!('z')).toBe(false);
    expect(compileGlob('a**', 'match')!('a/b')).toBe(false);
  });

  it('cleans paths as Go does', () => {
    const cases = {
      '': '.',
      'a//b/./c/..': 'a/b',
      '/../a': '/a',
      '../../a': '../../a',
      'a/../../b': '../b',
      '/': '/',
      './': '.',
    };
    for (const [path, clean] of Object.entries(cases)) expect(cleanPath(path)).toBe(clean);
  });
});

describe('the file', () => {
  it('is read as Docker reads it', () => {
    const text =
      '\ufefftest1\n/test2\r\n/a/file/here\n\nlast\n# comment\n  # no comment\n! /inverted/abs\n!\n! \na/../b/\n/\n\u00a0x\u2003';
    expect(parseIgnore(text).map((line) => line.text)).toEqual([
      'test1',
      'test2',
      'a/file/here',
      'last',
      '# no comment',
      '!inverted/abs',
      '!',
      '!',
      'b',
      '/',
      'x',
    ]);
  });

  it('names the line of a malformed pattern', () => {
    for (const [text, line] of [
      ['ok\n\n[', 3],
      ['!', 1],
    ] as const) {
      let error: unknown;
      try {
        Ignore.parse('/c/.dockerignore', text);
      } catch (caught) {
        error = caught;
      }
      expect(isCode(error, 'CONTEXT') && error.where?.start.line).toBe(line);
    }
  });
});
