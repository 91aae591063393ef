// biome-ignore-all lint/suspicious/noTemplateCurlyInString: these are substitutions of a Dockerfile
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { expand, maxExpanded } from '../../shared/dockerfile/words.ts';
import { isCode } from '../../shared/errors.ts';

const where = { file: 'Dockerfile', start: { line: 7, column: 3 }, end: { line: 7, column: 9 } };
const values: Record<string, string> = { x: 'value', empty: '', sp: 'a  b', path: '/usr/lib/a.b.c' };
const run = (source: string, escapeChar = '\\') => expand(source, { lookup: (name) => values[name], where, escapeChar });

describe('expansion', () => {
  test.each([
    ['plain', 'plain'],
    ['$x', 'value'],
    ['${x}y', 'valuey'],
    ['$xy', ''],
    ['[$none]', '[]'],
    ['${none:-d}', 'd'],
    ['${none-d}', 'd'],
    ['${empty:-d}', 'd'],
    ['${empty-d}', ''],
    ['${x:+w}', 'w'],
    ['${none:+w}', ''],
    ['${empty+w}', 'w'],
    ['${empty:+w}', ''],
    ['${x?no}', 'value'],
    ['${empty?no}', ''],
    ['${none:-${empty:-$x}}', 'value'],
    ['${none:-"q u"}', 'q u'],
    ['\\$x', '$x'],
    ['\\\\$x', '\\value'],
    ["'$x \\n'", '$x \\n'],
    ['"$x \\n \\$x \\""', 'value \\n $x "'],
    ['a\\ b', 'a b'],
    ['tail\\', 'tail'],
    ['a$', 'a$'],
    ['$.', '$.'],
    ['$1x', 'x'],
    ['$$', ''],
    ['${path#*/}', 'usr/lib/a.b.c'],
    ['${path##*/}', 'a.b.c'],
    ['${path%.*}', '/usr/lib/a.b'],
    ['${path%%.*}', '/usr/lib/a'],
    ['${path/./_}', '/usr/lib/a_b.c'],
    ['${path//\\//:}', ':usr:lib:a.b.c'],
    ['${path//?b/!}', '/usr/l!/a!.c'],
    ['é$x', 'évalue'],
  ])('%s', (source, expected) => {
    expect(run(source).text).toBe(expected);
  });

  test('the escape character is the one of the directive', () => {
    expect(run('`$x c:\\dir', '`').text).toBe('$x c:\\dir');
  });

  test.each([
    ['"x', 'double-quote'],
    ["'x", 'single-quote'],
    ['${x', "missing '}'"],
    ['${}', 'bad substitution'],
    ['${:x}', 'bad substitution'],
    ['${x=y}', 'unsupported modifier (=)'],
    ['${x:y}', 'unsupported modifier (:y)'],
    ['${x:#y}', 'unsupported modifier (:#)'],
    ['${none?}', 'none: is not allowed to be unset'],
    ['${empty:?}', 'empty: is not allowed to be empty'],
    ['${none:?say so}', 'none: say so'],
    ['${x/a}', "missing '/'"],
    ['${x#\\a}', 'invalid escape'],
  ])('%s fails where it stands', (source, message) => {
    expect(() => run(source)).toThrow(
      expect.objectContaining({ code: 'DOCKERFILE', where, message: expect.stringContaining(message) }),
    );
  });

  test('unquoted blanks split words, also those out of variables; quoted ones do not', () => {
    expect(run('p $sp "q $sp" r\\ s').words).toEqual(['p', 'a', 'b', 'q a  b', 'r s']);
  });

  test('names used are reported, set and unset apart', () => {
    const result = run('$x ${none:-$other} "$empty" \'$quoted\'');
    expect([...result.matched].sort()).toEqual(['empty', 'x']);
    expect([...result.unmatched].sort()).toEqual(['none', 'other']);
  });

  test('nesting and growth are bounded', () => {
    expect(() => run('${a:-'.repeat(100_000))).toThrow(expect.objectContaining({ code: 'DOCKERFILE' }));
    const big = 'y'.repeat(maxExpanded / 2 + 1);
    const doubled = () => expand('$b$b', { lookup: () => big, where });
    expect(doubled).toThrow(expect.objectContaining({ code: 'DOCKERFILE', message: expect.stringContaining('longer than') }));
    const costly = () => expand('${b//*y*y*y*y*z/-}', { lookup: () => big, where });
    expect(costly).toThrow(expect.objectContaining({ message: expect.stringContaining('too costly') }));
  });

  test('law: whatever the text, a result or a DOCKERFILE error', () => {
    const piece = fc.constantFrom(
      '$x',
      '${',
      '}',
      ':-',
      ':+',
      '?',
      '#',
      '%',
      '/',
      '*',
      '\\',
      '"',
      "'",
      '`',
      ' ',
      'a',
      '<<',
      'é',
      '$sp',
    );
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 14 }), fc.constantFrom('\\', '`'), (pieces, escapeChar) => {
        try {
          expect(typeof run(pieces.join(''), escapeChar).text).toBe('string');
        } catch (error) {
          expect(isCode(error, 'DOCKERFILE')).toBe(true);
        }
      }),
      { numRuns: 2000 },
    );
  });

  test('law: text in single quotes stays as it is', () => {
    fc.assert(
      fc.property(fc.string(), (text) => {
        const inner = text.replaceAll("'", '');
        expect(run(`'${inner}'`).text).toBe(inner);
      }),
    );
  });
});
