// Many requests of a store at once, but not all of them: a client has so many connections, and what waits for one costs memory.
const width = 32;

/** `work` on every item, at most 32 at a time; the results in order. The first failure ends it. */
export async function mapBounded<T, R>(items: readonly T[], work: (item: T) => Promise<R>): Promise<R[]> {
  const results: R[] = new Array(items.length);
  let next = 0;
  const worker = async (): Promise<void> => {
    while (next < items.length) {
      const i = next++;
      results[i] = await work(items[i]!);
    }
  };
  await Promise.all(Array.from({ length: Math.min(width, items.length) }, worker));
  return results;
}
