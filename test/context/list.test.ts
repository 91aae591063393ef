import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Context } from '../../shared/context/list.ts';
import { isCode } from '../../shared/errors.ts';
import type { Entry } from '../../shared/layer/entry.ts';
import { sha256 } from '../../shared/oci/digest.ts';
import { comparePaths } from '../../shared/tar/name.ts';

const base = { mode: 0o644, uid: 0, gid: 0, size: 0, mtime: 7 };
const file = (path: string, text = path): Entry => ({ ...base, path, type: 'file', size: text.length, digest: sha256(text) });
const dir = (path: string): Entry => ({ ...base, path, type: 'dir', mode: 0o755 });
const hard = (path: string, link: string): Entry => ({ ...base, path, type: 'hardlink', link });
const entries: Entry[] = [
  file('README'),
  dir('a'),
  file('a.txt'),
  dir('a/b'),
  file('a/b/c'),
  file('a/b.c'),
  { ...base, path: 'a/link', type: 'symlink', mode: 0o777, link: '../x' },
  { ...base, path: 'dev', type: 'char', major: 1, minor: 3 },
  { ...base, path: 'pipe', type: 'fifo' },
  hard('same', 'README'),
];
const sample = new Context(entries.sort((x, y) => comparePaths(x.path, y.path)));

const codeOf = (work: () => unknown): unknown => {
  try {
    return work();
  } catch (error) {
    return isCode(error, 'CONTEXT', 'UNSAFE_PATH') ? error.code : error;
  }
};

const paths = (entries: Iterable<Entry>): string[] => [...entries].map((entry) => entry.path);

describe('path order', () => {
  it('is the order of UTF-8 bytes', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'grapheme' }), fc.string({ unit: 'grapheme' }), (a, b) => {
        expect(Math.sign(comparePaths(a, b))).toBe(Buffer.compare(Buffer.from(a), Buffer.from(b)));
      }),
    );
    expect(comparePaths('\u{1f600}', '\uffee')).toBeGreaterThan(0);
  });
});

describe('a context', () => {
  it('is found by path, by subtree and by directory', () => {
    expect(sample.get('a/b/c')?.size).toBe(5);
    expect(sample.get('nope')).toBeUndefined();
    expect(paths(sample.under('a'))).toEqual(['a/b', 'a/b.c', 'a/b/c', 'a/link']);
    expect(paths(sample.list('a'))).toEqual(['a/b', 'a/b.c', 'a/link']);
    expect(paths(sample.list(''))).toEqual(['README', 'a', 'a.txt', 'dev', 'pipe', 'same']);
    expect(paths(sample.under(''))).toHaveLength(10);
    expect(paths(sample.under('a.txt'))).toEqual([]);
  });

  it('survives encoding', () => {
    const rules = { file: '.dockerignore', lines: [{ text: 'x', line: 3 }] };
    const back = Context.decode(new Context(sample.entries, rules).encode());
    expect(back.entries).toEqual(sample.entries);
    expect(back.digest).toBe(sample.digest);
    expect(back.ignoredBy('x/y')).toEqual({ file: '.dockerignore', line: { text: 'x', line: 3 } });
    expect(back.ignoredBy('y')).toBeUndefined();
    expect(Context.decode(Context.empty.encode()).entries).toEqual([]);
  });

  it('has a digest that sees everything but times', () => {
    const change = (path: string, edit: Partial<Entry>): Context =>
      new Context(sample.entries.map((entry) => (entry.path === path ? { ...entry, ...edit } : entry)));
    expect(change('README', { mtime: 8 }).digest).toBe(sample.digest);
    for (const [path, edit] of [
      ['README', { digest: sha256('other') }],
      ['README', { mode: 0o755 }],
      ['README', { path: 'READMF' }],
      ['a/link', { link: '../y' }],
      ['dev', { minor: 4 }],
      ['pipe', { type: 'dir' }],
      ['same', { link: 'a.txt' }],
      ['same', { type: 'file', size: 6, digest: sha256('README') }],
    ] as const) {
      expect(change(path, edit).digest, JSON.stringify(edit)).not.toBe(sample.digest);
    }
  });

  it.each<[what: string, entries: Entry[], code: string]>([
    ['a way up', [dir('..'), file('../x')], 'UNSAFE_PATH'],
    ['a way up inside', [dir('a'), file('a/../../x')], 'UNSAFE_PATH'],
    ['an absolute path', [file('/etc/passwd')], 'UNSAFE_PATH'],
    ['an empty path', [dir('')], 'UNSAFE_PATH'],
    ['a zero byte', [file('a\0b')], 'UNSAFE_PATH'],
    ['a lone surrogate', [file('a\ud800')], 'UNSAFE_PATH'],
    ['a file below a symlink', [{ ...base, path: 'l', type: 'symlink', link: '/etc' }, file('l/passwd')], 'UNSAFE_PATH'],
    ['a file below a file', [file('f'), file('f/g')], 'UNSAFE_PATH'],
    ['a missing parent', [file('a/b')], 'UNSAFE_PATH'],
    ['a path twice', [file('a'), file('a')], 'CONTEXT'],
    ['wrong order', [file('b'), file('a')], 'CONTEXT'],
    ['a file without digest', [{ ...base, path: 'a', type: 'file' }], 'CONTEXT'],
    ['a file with a huge size', [{ ...file('a'), size: 2 ** 60 }], 'CONTEXT'],
    ['a hard link to nothing', [hard('a', 'b')], 'CONTEXT'],
    ['a hard link to itself', [hard('a', 'a')], 'CONTEXT'],
    ['a hard link to what comes after it', [hard('a', 'b'), file('b')], 'CONTEXT'],
    ['a hard link to a hard link', [file('a'), hard('b', 'a'), hard('c', 'b')], 'CONTEXT'],
    ['a hard link to a directory', [dir('a'), hard('b', 'a')], 'CONTEXT'],
    ['a hard link to a symlink', [{ ...base, path: 'a', type: 'symlink', link: '/etc' }, hard('b', 'a')], 'CONTEXT'],
    ['a hard link out of the context', [file('a'), hard('b', '../a')], 'UNSAFE_PATH'],
    ['a hard link to an absolute path', [file('a'), hard('b', '/a')], 'UNSAFE_PATH'],
    ['a hard link with a mode of its own', [file('a'), { ...hard('b', 'a'), mode: 0o4755 }], 'CONTEXT'],
    ['a hard link with an owner of its own', [file('a'), { ...hard('b', 'a'), uid: 5 }], 'CONTEXT'],
    ['an owner out of range', [{ ...file('a'), uid: -1 }], 'CONTEXT'],
    ['a mode out of range', [{ ...file('a'), mode: 0o10000 }], 'CONTEXT'],
    ['a symlink without text', [{ ...base, path: 'a', type: 'symlink', link: '' }], 'CONTEXT'],
  ])('is refused with %s', (_what, entries, code) => {
    expect(codeOf(() => Context.decode(new Context(entries).encode()))).toBe(code);
  });

  it('is refused when cut off or not a list', () => {
    const bytes = sample.encode();
    for (const cut of [0, 1, 30, bytes.length - 1, bytes.length - 40]) {
      expect(codeOf(() => Context.decode(bytes.subarray(0, cut)))).toBe('CONTEXT');
    }
    expect(codeOf(() => Context.decode(Buffer.from('null\n')))).toBe('CONTEXT');
    expect(codeOf(() => Context.decode(Buffer.from([0xff, 0xfe])))).toBe('CONTEXT');
    expect(codeOf(() => Context.decode(Buffer.concat([bytes, Buffer.from('[]\n')])))).toBe('CONTEXT');
  });
});
