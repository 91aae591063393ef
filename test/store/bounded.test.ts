import { expect, it } from 'vitest';
import { mapBounded } from '../../shared/store/bounded.ts';

it('works on at most 32 at once, and answers in order', async () => {
  let running = 0;
  let most = 0;
  const doubled = await mapBounded(
    Array.from({ length: 100 }, (_, i) => i),
    async (n) => {
      most = Math.max(most, ++running);
      await new Promise((resolve) => setImmediate(resolve));
      running--;
      return n * 2;
    },
  );
  expect(doubled).toEqual(Array.from({ length: 100 }, (_, i) => i * 2));
  expect(most).toBe(32);
  expect(await mapBounded([], async () => 1)).toEqual([]);
  await expect(mapBounded([1], () => Promise.reject(new Error('no')))).rejects.toThrow('no');
});
