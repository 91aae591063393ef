import fc from 'fast-check';
import { expect, test } from 'vitest';
import { replacePattern, trimPrefix, trimSuffix } from '../../shared/dockerfile/pattern.ts';

const value = fc.string({ unit: fc.constantFrom('a', 'b', '.', '\n', '[', '$'), maxLength: 9 });
const pattern = fc
  .array(fc.constantFrom('a', 'b', '.', '*', '?', '[', '$', '\\*'), { maxLength: 5 })
  .map((parts) => parts.join(''));

/** Does all of `text` match? Straight from the definition; fine for short words. */
function matches(text: string, shape: string): boolean {
  if (shape === '') return text === '';
  if (shape[0] === '*')
    return matches(text, shape.slice(1)) || (text !== '' && text[0] !== '\n' && matches(text.slice(1), shape));
  if (shape[0] === '?') return text !== '' && text[0] !== '\n' && matches(text.slice(1), shape.slice(1));
  if (shape[0] === '\\') return text[0] === shape[1] && matches(text.slice(1), shape.slice(2));
  return text[0] === shape[0] && matches(text.slice(1), shape.slice(1));
}

const lengths = (text: string): number[] => Array.from({ length: text.length + 1 }, (_, i) => i);

test('law: # and ## cut the shortest and the longest prefix that matches', () => {
  fc.assert(
    fc.property(value, pattern, (text, shape) => {
      const cuts = lengths(text).filter((n) => matches(text.slice(0, n), shape));
      expect(trimPrefix(text, shape, false)).toBe(text.slice(cuts[0] ?? 0));
      expect(trimPrefix(text, shape, true)).toBe(text.slice(cuts.at(-1) ?? 0));
    }),
  );
});

test('law: % and %% cut the shortest and the longest suffix that matches', () => {
  fc.assert(
    fc.property(value, pattern, (text, shape) => {
      const cuts = lengths(text).filter((n) => matches(text.slice(text.length - n), shape));
      expect(trimSuffix(text, shape, false)).toBe(text.slice(0, text.length - (cuts[0] ?? 0)));
      expect(trimSuffix(text, shape, true)).toBe(text.slice(0, text.length - (cuts.at(-1) ?? 0)));
    }),
  );
});

test('law: // with a plain word is replaceAll, / is replace', () => {
  const word = fc.string({ unit: fc.constantFrom('a', 'b', '.'), minLength: 1, maxLength: 3 });
  fc.assert(
    fc.property(value, word, fc.string({ maxLength: 3 }), (text, plain, by) => {
      expect(replacePattern(text, plain, by, true)).toBe(text.replaceAll(plain, () => by));
      expect(replacePattern(text, plain, by, false)).toBe(text.replace(plain, () => by));
    }),
  );
});

test('characters beyond the basic plane are one character', () => {
  expect(trimPrefix('😀b', '?', false)).toBe('b');
  expect(replacePattern('a😀', '?', '-', true)).toBe('--');
});
