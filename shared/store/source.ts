// Reading a source of bytes that somebody else made: it may stall, fail, or never have been started.
import { SlipwayError, throwIfCancelled } from '../errors.ts';
import type { Bytes } from './blobs.ts';

/** The bytes of a web stream, a Node stream, an iterator: whatever way of giving up it offers. */
interface Cancellable {
  readonly locked?: boolean;
  cancel?(reason?: unknown): Promise<void>;
  destroy?(error?: Error): unknown;
}

/** Tells a source that nobody will read it. Its own failure to give up is of no interest: there is nothing left that it could break. */
export function cancelSource(source: Bytes): void {
  const whole = source as Cancellable;
  if (typeof whole.cancel === 'function' && whole.locked !== true) {
    whole.cancel().catch(() => undefined);
  } else if (typeof whole.destroy === 'function') {
    whole.destroy();
  } else {
    source[Symbol.asyncIterator]()
      .return?.()
      .catch(() => undefined);
  }
}

/**
 * The chunks of `source`, not empty. CANCELLED as soon as the signal fires, even while the source stalls. A reader that stops early
 * cancels the source.
 */
export async function* pull(source: Bytes, signal: AbortSignal | undefined): AsyncGenerator<Uint8Array, void, undefined> {
  if (signal?.aborted) cancelSource(source);
  throwIfCancelled(signal);
  const iterator = source[Symbol.asyncIterator]();
  let onAbort: (() => void) | undefined;
  const aborted =
    signal &&
    new Promise<never>((_, reject) => {
      onAbort = () => reject(new SlipwayError('CANCELLED', 'cancelled', { cause: signal.reason }));
      signal.addEventListener('abort', onAbort, { once: true });
    });
  // Only the race below listens to it; between two races nobody does.
  aborted?.catch(() => undefined);
  let done = false;
  try {
    for (;;) {
      const next = iterator.next();
      const result = await (aborted === undefined ? next : Promise.race([next, aborted]));
      if (result.done === true) break;
      if (result.value.length > 0) yield result.value;
      throwIfCancelled(signal);
    }
    done = true;
  } finally {
    if (signal !== undefined && onAbort !== undefined) signal.removeEventListener('abort', onAbort);
    if (!done) {
      // Not awaited: a stalled generator answers `return` only after the `next` it stalls in. Its failure is not ours to report.
      iterator.return?.()?.catch(() => undefined);
    }
  }
}
