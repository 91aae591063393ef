import { expect, it } from 'vitest';
import { ago, goTime, humanDuration, humanSize, shortId } from '../../cli/human.ts';

it.each([
  [0, '0B'],
  [1, '1B'],
  [999, '999B'],
  [999.6, '1kB'],
  [1000, '1kB'],
  [1024, '1.02kB'],
  [5_591_300, '5.59MB'],
  [72_800_000, '72.8MB'],
  [999_500, '1MB'],
  [123_456_789, '123MB'],
  [1_234_567_890, '1.23GB'],
  [2e15, '2PB'],
])('a size of %d', (bytes, text) => {
  expect(humanSize(bytes)).toBe(text);
});

const second = 1000;
const minute = 60 * second;
const hour = 60 * minute;
const day = 24 * hour;
it.each([
  [0, 'Less than a second'],
  [second, '1 second'],
  [59 * second, '59 seconds'],
  [minute, 'About a minute'],
  [2 * minute, '2 minutes'],
  [59 * minute, '59 minutes'],
  [hour, 'About an hour'],
  [100 * minute, '2 hours'],
  [47 * hour, '47 hours'],
  [48 * hour, '2 days'],
  [13 * day, '13 days'],
  [14 * day, '2 weeks'],
  [59 * day, '8 weeks'],
  [60 * day, '2 months'],
  [729 * day, '24 months'],
  [730 * day, '2 years'],
])('an age of %d ms', (ms, text) => {
  expect(humanDuration(ms)).toBe(text);
});

it('times that are not known, in the future, or Go’s zero', () => {
  expect(ago(undefined, 0)).toBe('N/A');
  expect(ago('0001-01-01T00:00:00Z', 0)).toBe('N/A');
  expect(ago('2030-01-01T00:00:00Z', Date.parse('2026-01-01T00:00:00Z'))).toBe('Less than a second ago');
  expect(ago('2026-01-01T00:00:00Z', Date.parse('2026-01-03T00:00:00Z'))).toBe('2 days ago');
  expect(goTime('2026-01-02T03:04:05.678Z')).toBe('2026-01-02 03:04:05 +0000 UTC');
  expect(goTime('whenever')).toBe('N/A');
  expect(shortId(`sha256:${'ab'.repeat(32)}`)).toBe('abababababab');
  expect(shortId('<missing>')).toBe('<missing>');
});
