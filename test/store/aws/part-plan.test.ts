import { describe, expect, test } from 'vitest';
import {
  concurrencyOf,
  growing,
  maxBlob,
  maxBuffered,
  maxParts,
  minPart,
  planFor,
  worthAPart,
} from '../../../shared/store/aws/part-plan.ts';

const MiB = 1 << 20;
const GiB = 1024 * MiB;
const TiB = 1024 * GiB;

describe('parts of a known size', () => {
  test.each([1, 16 * MiB, 80 * GiB - 1, 78.125 * GiB, 78.125 * GiB + 1, 1 * TiB, 5 * TiB - 1, 5 * TiB])(
    'suffice for %d bytes',
    (size) => {
      const part = planFor(size).sizeOf(1);
      expect(Math.ceil(size / part)).toBeLessThanOrEqual(maxParts);
      expect(part).toBeGreaterThanOrEqual(minPart);
      expect(part).toBeLessThanOrEqual(5 * GiB);
      expect(Number.isInteger(part)).toBe(true);
      expect(planFor(size).sizeOf(maxParts)).toBe(part);
    },
  );

  test('are 8 MiB while that is enough, and larger beyond', () => {
    expect(planFor(maxParts * 8 * MiB).sizeOf(1)).toBe(8 * MiB);
    expect(planFor(maxParts * 8 * MiB + 1).sizeOf(1)).toBe(9 * MiB);
    expect(planFor(maxBlob).sizeOf(1)).toBe(525 * MiB);
  });

  test('end at 5 TiB', () => {
    expect(() => planFor(5 * TiB + 1)).toThrow(expect.objectContaining({ code: 'TOO_LARGE' }));
  });
});

describe('parts of an unknown size', () => {
  const all = Array.from({ length: maxParts }, (_, n) => growing.sizeOf(n + 1));

  test('grow, fit into memory, and hold half a terabyte', () => {
    expect(all).toEqual([...all].sort((a, b) => a - b));
    expect(Math.min(...all)).toBeGreaterThanOrEqual(minPart);
    expect(Math.max(...all)).toBeLessThanOrEqual(maxBuffered);
    expect(all.reduce((sum, size) => sum + size, 0)).toBeGreaterThan(500 * GiB);
  });

  test('end after ten thousand, saying how much that is', () => {
    const total = all.reduce((sum, size) => sum + size, 0);
    expect(() => growing.sizeOf(maxParts + 1)).toThrow(expect.objectContaining({ code: 'TOO_LARGE', details: { limit: total } }));
  });

  test('are never made of less than S3 takes', () => {
    for (const number of [1, 1000, 1001, 3000, 3001, maxParts]) {
      expect(worthAPart(number)).toBeGreaterThanOrEqual(minPart);
      expect(worthAPart(number)).toBeLessThanOrEqual(growing.sizeOf(number));
    }
  });
});

test('parts on their way at once stay within the memory for them', () => {
  for (const part of [5 * MiB, 8 * MiB, 9 * MiB, 32 * MiB, maxBuffered]) {
    expect(concurrencyOf(part)).toBeGreaterThanOrEqual(1);
    expect((concurrencyOf(part) + 1) * part).toBeLessThanOrEqual(128 * MiB);
  }
});
