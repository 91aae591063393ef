// A set of digests in eight bytes each. Two digests that agree in these are taken for one: a collection that asks "is it needed" then
// keeps one blob too many, once in 2^64.
import { type Digest, encodedOf } from '../oci/digest.ts';

const smallest = 1024;

export class DigestSet {
  /** Open addressing; 0 is free. */
  #slots = new BigUint64Array(smallest);
  #size = 0;

  get size(): number {
    return this.#size;
  }

  add(digest: Digest): void {
    if ((this.#size + 1) * 2 > this.#slots.length) this.#grow();
    if (this.#insert(keyOf(digest))) this.#size++;
  }

  has(digest: Digest): boolean {
    const key = keyOf(digest);
    return this.#slots[this.#find(key)] === key;
  }

  #insert(key: bigint): boolean {
    const at = this.#find(key);
    if (this.#slots[at] === key) return false;
    this.#slots[at] = key;
    return true;
  }

  /** Where the key is, or where it would go. */
  #find(key: bigint): number {
    const mask = this.#slots.length - 1;
    let at = Number(key & 0xffff_ffffn) & mask;
    while (this.#slots[at] !== 0n && this.#slots[at] !== key) at = (at + 1) & mask;
    return at;
  }

  #grow(): void {
    const before = this.#slots;
    this.#slots = new BigUint64Array(before.length * 2);
    for (const key of before) if (key !== 0n) this.#insert(key);
  }
}

const keyOf = (digest: Digest): bigint => BigInt(`0x${encodedOf(digest).slice(0, 16)}`) || 1n;
