// Exact reads from a pulled stream, for formats that are parsed field by field.
import type { Bytes } from '../store/blobs.ts';

/** Reads from `source` in the pieces a parser wants. One reader at a time; close it when you stop before the end. */
export class ByteReader {
  #iterator: AsyncIterator<Uint8Array>;
  #chunk: Uint8Array = new Uint8Array(0);
  #at = 0;
  #ended = false;

  constructor(source: Bytes) {
    this.#iterator = source[Symbol.asyncIterator]();
  }

  /** True when no byte is left. */
  async ended(): Promise<boolean> {
    while (this.#at === this.#chunk.length && !this.#ended) {
      const { done, value } = await this.#iterator.next();
      if (done) this.#ended = true;
      else {
        this.#chunk = value;
        this.#at = 0;
      }
    }
    return this.#at === this.#chunk.length;
  }

  /** Between 1 and `most` bytes, whatever is at hand, without copying; undefined at the end. */
  async some(most: number): Promise<Uint8Array | undefined> {
    if (await this.ended()) return undefined;
    const taken = this.#chunk.subarray(this.#at, this.#at + most);
    this.#at += taken.length;
    return taken;
  }

  /** Exactly `length` bytes, or fewer when the stream ends before. Meant for small lengths. */
  async upTo(length: number): Promise<Uint8Array> {
    const first = await this.some(length);
    if (first === undefined || first.length === length) return first ?? new Uint8Array(0);
    const whole = new Uint8Array(length);
    whole.set(first);
    let filled = first.length;
    while (filled < length) {
      const next = await this.some(length - filled);
      if (next === undefined) return whole.subarray(0, filled);
      whole.set(next, filled);
      filled += next.length;
    }
    return whole;
  }

  /** Gives back bytes that were read last, to be read again. */
  unread(bytes: Uint8Array): void {
    if (bytes.length === 0) return;
    this.#chunk = this.#at === this.#chunk.length ? bytes : Buffer.concat([bytes, this.#chunk.subarray(this.#at)]);
    this.#at = 0;
  }

  async close(): Promise<void> {
    await this.#iterator.return?.();
  }
}
