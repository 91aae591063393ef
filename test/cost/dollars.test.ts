import { expect, test } from 'vitest';
import { dollars, nanoDollars } from '../../shared/cost/dollars.ts';

test.each([
  [0, '$0.00'],
  [1, '$0.000000001'],
  [12, '$0.000000012'],
  [621_402, '$0.00062'],
  [999_999, '$0.0010'],
  [9_960_000, '$0.010'],
  [998_219_000, '$1.00'],
  [4_000_000, '$0.0040'],
  [45_600_000, '$0.046'],
  [123_456_789, '$0.12'],
  [999_500_000, '$1.00'],
  [1_000_000_000, '$1.00'],
  [1_999_999_999, '$2.00'],
  [123_456_789_012, '$123.46'],
])('%i billionths are %s', (nano, text) => {
  expect(dollars(nano)).toBe(text);
});

test.each([
  ['0.50', 500_000_000],
  ['$0.50', 500_000_000],
  ['12', 12_000_000_000],
  ['0.000000001', 1],
  ['0.0000000019', 1],
])('%s is read as %i billionths', (text, nano) => {
  expect(nanoDollars(text)).toBe(nano);
});

test.each(['', '0', '$', '-1', '1e3', '0.0000000001', '.5', '50 cents', '999999999999'])('%j is no amount', (text) => {
  expect(nanoDollars(text)).toBeUndefined();
});
