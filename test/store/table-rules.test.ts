import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { compareBytes, upperBound } from '../../shared/store/table-rules.ts';

const text = fc
  .string({
    unit: fc.oneof(
      fc.constantFrom('a', '\u0000', '\ud7ff', '\ue000', '\uffff', '\u{10000}', '\u{10ffff}'),
      fc.string({ unit: 'grapheme' }),
    ),
  })
  .filter((one) => one.isWellFormed());

describe('upperBound', () => {
  test.each([
    ['a', 'b'],
    ['ab', 'ac'],
    ['a\u{10ffff}', 'b'],
    ['\ud7ff', '\ue000'],
    ['\uffff', '\u{10000}'],
    ['', undefined],
    ['\u{10ffff}\u{10ffff}', undefined],
  ])('of %j is %j', (prefix, bound) => expect(upperBound(prefix)).toBe(bound));

  test('lies above all that begins with the prefix, and below all else that lies above the prefix', () => {
    fc.assert(
      fc.property(text, text, text, (prefix, rest, other) => {
        const bound = upperBound(prefix);
        if (bound === undefined) return;
        expect(bound.isWellFormed()).toBe(true);
        expect(compareBytes(prefix + rest, bound)).toBeLessThan(0);
        if (!other.startsWith(prefix) && compareBytes(other, prefix) > 0)
          expect(compareBytes(other, bound)).toBeGreaterThanOrEqual(0);
      }),
    );
  });
});
