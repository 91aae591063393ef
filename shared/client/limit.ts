// Several jobs at once, a few at a time.
import { throwIfCancelled } from '../errors.ts';

/**
 * Runs `job` for every item, at most `width` at a time. The first failure cancels the others (through the signal they get) and is
 * thrown once all have ended, so that nothing goes on behind the caller's back.
 */
export async function eachOf<T>(
  items: readonly T[],
  width: number,
  signal: AbortSignal | undefined,
  job: (item: T, signal: AbortSignal) => Promise<void>,
): Promise<void> {
  const failed = new AbortController();
  const both = signal === undefined ? failed.signal : AbortSignal.any([signal, failed.signal]);
  const failures: unknown[] = [];
  const queue = items.values();
  const worker = async (): Promise<void> => {
    for (const item of queue) {
      if (both.aborted) return;
      try {
        await job(item, both);
      } catch (error) {
        failures.push(error);
        failed.abort(error);
        return;
      }
    }
  };
  await Promise.all(Array.from({ length: Math.min(width, items.length) }, worker));
  if (failures.length > 0) throw failures[0];
  throwIfCancelled(signal);
}
