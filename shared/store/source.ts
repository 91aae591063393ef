// Reading a source of bytes that somebody else made: it may stall, fail, or never have been started.
import { SlipwayError, throwIfCancelled } from '../errors.ts';
import type { Bytes } from './blobs.ts';

/** The bytes of a web stream, a Node stream, an iterator: whatever way of giving up it offers. */
interface Cancellable {
  readonly locked?: boolean;
  cancel?(reason?: unknown): Promise<void>;
  destroy?(error?: Error): unknown;
  getReader?(): ReadableStreamDefaultReader<Uint8Array>;
}

/** Its steps, one at a time, and how to end them. */
interface Steps {
  next(): Promise<IteratorResult<Uint8Array, unknown>>;
  giveUp(): void;
}

function stepsOf(source: Bytes): Steps {
  const whole = source as Cancellable;
  if (typeof whole.getReader === 'function') {
    // A web stream's own iterator puts `return` behind the step under way: one that stalls would never hear of it.
    const reader = whole.getReader();
    return {
      next: () => reader.read(),
      giveUp: () => void reader.cancel().catch(() => undefined),
    };
  }
  const iterator = source[Symbol.asyncIterator]();
  return {
    next: () => iterator.next(),
    // Not awaited: a stalled generator answers `return` only after the `next` it stalls in. Its failure is not ours to report.
    giveUp: () => void iterator.return?.()?.catch(() => undefined),
  };
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
  const steps = stepsOf(source);
  // One listener that ends whatever step is under way. Racing every step against one promise of the abort would keep each chunk alive
  // until the end: a promise holds on to all who ever waited for it, and they to what they got.
  let giveUp: ((reason: unknown) => void) | undefined;
  const onAbort = () => giveUp?.(new SlipwayError('CANCELLED', 'cancelled', { cause: signal?.reason }));
  signal?.addEventListener('abort', onAbort, { once: true });
  let done = false;
  try {
    for (;;) {
      const result = await new Promise<IteratorResult<Uint8Array, unknown>>((resolve, reject) => {
        giveUp = reject;
        steps.next().then(resolve, reject);
      });
      if (result.done === true) break;
      if (result.value.length > 0) yield result.value;
      throwIfCancelled(signal);
    }
    done = true;
  } finally {
    signal?.removeEventListener('abort', onAbort);
    if (!done) steps.giveUp();
  }
}
