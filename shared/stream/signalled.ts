// Cancellation: between chunks, and of waiting for what others wait for too.
import { SlipwayError, throwIfCancelled } from '../errors.ts';
import type { Bytes } from '../store/blobs.ts';

/** Passes `source` on; CANCELLED at the next chunk after the signal has fired, and the source is closed. */
export async function* signalled(source: Bytes, signal: AbortSignal | undefined): AsyncGenerator<Uint8Array, void, undefined> {
  throwIfCancelled(signal);
  for await (const chunk of source) {
    throwIfCancelled(signal);
    yield chunk;
  }
}

/** What `work` comes to, or CANCELLED as soon as the signal fires; the work goes on for those who share it. */
export async function unlessAborted<T>(work: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  throwIfCancelled(signal);
  if (signal === undefined) return await work;
  let onAbort: (() => void) | undefined;
  const aborted = new Promise<never>((_, reject) => {
    onAbort = () => reject(new SlipwayError('CANCELLED', 'cancelled', { cause: signal.reason }));
    signal.addEventListener('abort', onAbort, { once: true });
  });
  try {
    return await Promise.race([work, aborted]);
  } finally {
    if (onAbort !== undefined) signal.removeEventListener('abort', onAbort);
  }
}
