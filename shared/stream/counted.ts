// Progress and accounting: who reads is told how much has passed.
import type { Bytes } from '../store/blobs.ts';

/** Passes `source` on; `onBytes` hears the total after each chunk. */
export async function* counted(source: Bytes, onBytes: (total: number) => void): AsyncGenerator<Uint8Array, void, undefined> {
  let total = 0;
  for await (const chunk of source) {
    total += chunk.length;
    onBytes(total);
    yield chunk;
  }
}
