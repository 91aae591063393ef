// Cancellation between chunks.
import { throwIfCancelled } from '../errors.ts';
import type { Bytes } from '../store/blobs.ts';

/** Passes `source` on; CANCELLED at the next chunk after the signal has fired, and the source is closed. */
export async function* signalled(source: Bytes, signal: AbortSignal | undefined): AsyncGenerator<Uint8Array, void, undefined> {
  throwIfCancelled(signal);
  for await (const chunk of source) {
    throwIfCancelled(signal);
    yield chunk;
  }
}
