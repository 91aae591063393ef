// Bytes kept in memory up to a budget, the longest unused dropped first. For what is named by its digest and so is never stale.
export class ByteCache<K extends string> {
  readonly #budget: number;
  readonly #entries = new Map<K, Uint8Array<ArrayBuffer>>();
  #size = 0;

  /** `budget` in bytes. */
  constructor(budget: number) {
    this.#budget = budget;
  }

  get(key: K): Uint8Array<ArrayBuffer> | undefined {
    const entry = this.#entries.get(key);
    if (entry !== undefined && this.#entries.size > 1) {
      // A Map keeps the order of insertion: the first is the longest unused.
      this.#entries.delete(key);
      this.#entries.set(key, entry);
    }
    return entry;
  }

  /** One entry may take up to a quarter of the budget; larger ones are not kept. */
  set(key: K, bytes: Uint8Array<ArrayBuffer>): void {
    this.delete(key);
    if (bytes.byteLength > this.#budget / 4) return;
    this.#entries.set(key, bytes);
    this.#size += bytes.byteLength;
    for (const oldest of this.#entries.keys()) {
      if (this.#size <= this.#budget) break;
      this.delete(oldest);
    }
  }

  delete(key: K): void {
    const entry = this.#entries.get(key);
    if (entry === undefined) return;
    this.#entries.delete(key);
    this.#size -= entry.byteLength;
  }

  /** Bytes held. */
  get size(): number {
    return this.#size;
  }
}
