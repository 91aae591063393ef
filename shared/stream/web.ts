// Between the two shapes of a pulled stream: async iterables (inside) and web ReadableStreams (the ports and HTTP).
import type { Bytes } from '../store/blobs.ts';

/**
 * A ReadableStream that pulls from `source`: one chunk is asked for when the reader wants one, none is read ahead. Cancelling it ends
 * the iterator, so the source's `finally` blocks run; an error of the source errors the stream with the same error.
 */
export function toReadableStream(source: Bytes): ReadableStream<Uint8Array> {
  const iterator = source[Symbol.asyncIterator]();
  return new ReadableStream<Uint8Array>(
    {
      async pull(controller) {
        try {
          for (;;) {
            const { done, value } = await iterator.next();
            if (done) return controller.close();
            // An empty chunk would leave the reader waiting: pull is only called again after something was enqueued.
            if (value.length > 0) return controller.enqueue(value);
          }
        } catch (error) {
          controller.error(error);
        }
      },
      async cancel() {
        await iterator.return?.();
      },
    },
    { highWaterMark: 0 },
  );
}

/** Iterates a ReadableStream and cancels it when the loop is left early (Node's own iterator does; a plain reader loop would not). */
export async function* fromReadableStream(stream: ReadableStream<Uint8Array>): AsyncGenerator<Uint8Array, void, undefined> {
  const reader = stream.getReader();
  let whole = false;
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) {
        whole = true;
        return;
      }
      yield value;
    }
  } finally {
    // A stream that failed rejects cancel with the error already on its way to the caller.
    if (!whole) await reader.cancel().catch(() => undefined);
    reader.releaseLock();
  }
}
