// Bytes made on the fly: any stretch of an endless sequence told by its seed, so that large blobs need no files and no memory.
import { createHash } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Digest } from '../../shared/oci/digest.ts';

const blockSize = 1 << 20;

/** Bytes `from` to `from + size` of the sequence, in chunks of at most 1 MiB. */
export async function* pattern(seed: number, from: number, size: number): AsyncGenerator<Uint8Array> {
  const block = noise(seed);
  const end = from + size;
  for (let at = from; at < end; ) {
    const start = at % blockSize;
    const count = Math.min(blockSize - start, end - at);
    // The block's number goes in front, so that no two blocks are the same.
    block.writeUInt32LE(Math.floor(at / blockSize), 0);
    // A copy: a sender may still be holding the last chunk when the next one is asked for.
    yield new Uint8Array(block.subarray(start, start + count));
    at += count;
  }
}

export async function patternDigest(seed: number, size: number): Promise<Digest> {
  const hash = createHash('sha256');
  for await (const chunk of pattern(seed, 0, size)) hash.update(chunk);
  return `sha256:${hash.digest('hex')}`;
}

/** All of `source`, then nothing more and no end. */
export async function* slowly(source: AsyncIterable<Uint8Array>, stalled: () => void): AsyncGenerator<Uint8Array> {
  yield* source;
  // The consumer has asked for more, so it is done with the last chunk; give its writes a moment to leave the process.
  await sleep(50);
  stalled();
  await sleep(600_000);
}

function noise(seed: number): Buffer<ArrayBuffer> {
  const words = new Uint32Array(blockSize / 4);
  let state = seed * 2_654_435_761 + 1;
  for (let n = 0; n < words.length; n++) {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    words[n] = state ^ (state >>> 15);
  }
  return Buffer.from(words.buffer);
}
