import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { comparePaths, decodeName, encodeName, fsPath } from '../../shared/tar/name.ts';
import { safePath } from '../../shared/tar/path.ts';

const bytes = fc.uint8Array({ maxLength: 40 });
const mostlyText = fc.array(
  fc.oneof(
    fc.string({ unit: 'grapheme', maxLength: 5 }).map((text) => Buffer.from(text)),
    bytes,
  ),
  { maxLength: 5 },
);

describe('names', () => {
  it('come back byte for byte, whatever they are', () => {
    fc.assert(fc.property(bytes, (name) => void expect(encodeName(decodeName(name)).equals(name)).toBe(true)));
    fc.assert(
      fc.property(
        mostlyText,
        (parts) => void expect(encodeName(decodeName(Buffer.concat(parts))).equals(Buffer.concat(parts))).toBe(true),
      ),
    );
  });

  it('are what they look like when they are UTF-8', () => {
    fc.assert(fc.property(fc.string({ unit: 'grapheme' }), (text) => void expect(decodeName(Buffer.from(text))).toBe(text)));
    expect(decodeName(Buffer.from('caf\xe9', 'latin1'))).toBe('caf\udce9');
    expect(fsPath('caf\udce9')).toEqual(Buffer.from('caf\xe9', 'latin1'));
    expect(JSON.parse(JSON.stringify('caf\udce9'))).toBe('caf\udce9');
  });

  it('refuse half characters that stand for no byte', () => {
    for (const name of ['\ud800', 'a\udc00', '\udfff'])
      expect(() => encodeName(name)).toThrowError(expect.objectContaining({ code: 'UNSAFE_PATH' }));
  });

  it('are ordered by their bytes', () => {
    fc.assert(
      fc.property(mostlyText, mostlyText, (a, b) => {
        const [left, right] = [Buffer.concat(a), Buffer.concat(b)];
        expect(Math.sign(comparePaths(decodeName(left), decodeName(right)))).toBe(Math.sign(Buffer.compare(left, right)));
      }),
    );
  });
});

describe('paths of members', () => {
  it('are cleaned', () => {
    const cases = {
      a: 'a',
      './a//b/': 'a/b',
      '.': '',
      './': '',
      '': '',
      'a/./b': 'a/b',
      '..a/b..': '..a/b..',
      '...': '...',
      '.wh..wh..opq': '.wh..wh..opq',
    };
    for (const [name, path] of Object.entries(cases)) expect(safePath(name)).toBe(path);
    expect(safePath('/etc/passwd', 'strip')).toBe('etc/passwd');
    expect(safePath('//', 'strip')).toBe('');
  });

  it('never lead outside', () => {
    for (const name of ['..', '../a', 'a/..', 'a/../b', 'a/../../b', './..', '/a', '/', 'a\u0000b', '/..'])
      expect(() => safePath(name)).toThrowError(expect.objectContaining({ code: 'UNSAFE_PATH' }));
    for (const name of ['/..', '/../a', 'a\u0000'])
      expect(() => safePath(name, 'strip')).toThrowError(expect.objectContaining({ code: 'UNSAFE_PATH' }));
  });
});
