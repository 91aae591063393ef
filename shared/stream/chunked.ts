// Regrouping: many small chunks cost more in calls than in bytes, so they are gathered before they go to a file or a socket.
import type { Bytes } from '../store/blobs.ts';
import { chunkSize } from './chunk-size.ts';

/**
 * The same bytes in chunks of exactly `size`, the last one shorter. Chunks that are at least that large already are cut without
 * copying; smaller ones are copied together. A yielded chunk is never written to again.
 */
export async function* chunked(source: Bytes, size = chunkSize): AsyncGenerator<Uint8Array, void, undefined> {
  let held: Uint8Array | undefined;
  let filled = 0;
  for await (const chunk of source) {
    let at = 0;
    if (held !== undefined) {
      at = Math.min(size - filled, chunk.length);
      held.set(chunk.subarray(0, at), filled);
      filled += at;
      if (filled === size) {
        yield held;
        held = undefined;
      }
    }
    while (chunk.length - at >= size) {
      yield chunk.subarray(at, at + size);
      at += size;
    }
    if (at < chunk.length) {
      held = new Uint8Array(size);
      held.set(chunk.subarray(at));
      filled = chunk.length - at;
    }
  }
  if (held !== undefined) yield held.subarray(0, filled);
}
