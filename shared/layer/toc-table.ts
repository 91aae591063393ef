// A table of contents, read where it lies: nothing is parsed that is not asked for.
import { type Digest, parseDigest } from '../oci/digest.ts';
import { decodeName, encodeName } from '../tar/name.ts';
import type { Toc, TocEntry } from './toc.ts';
import { damaged, decodeRow, tocHeadBytes, tocMagic } from './toc-format.ts';

const slash = 0x2f;

export class TableToc implements Toc {
  readonly diffId: Digest;
  /** Entries in the table. */
  readonly count: number;
  readonly #bytes: Buffer;
  readonly #offsetsAt: number;
  readonly #contentsAt: number;
  readonly #contentCount: number;

  /** INVALID_DOCUMENT when the bytes are no table. */
  constructor(bytes: Uint8Array) {
    const table = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
    if (table.length < tocHeadBytes || !table.subarray(0, tocMagic.length).equals(tocMagic)) throw damaged('its beginning');
    this.#bytes = table;
    this.count = table.readUInt32LE(16);
    this.#contentsAt = table.readUInt32LE(24);
    this.#contentCount = table.readUInt32LE(28);
    this.#offsetsAt = table.readUInt32LE(32);
    if (this.#offsetsAt + 4 * (this.count + 1) !== table.length || this.#contentsAt > table.readUInt32LE(20))
      throw damaged('its length');
    this.diffId = parseDigest(table.toString('latin1', 36, tocHeadBytes), 'diffID of a table of contents');
  }

  get(path: string): TocEntry | undefined {
    const key = encodeName(path);
    const index = this.#lowerBound(key);
    return index < this.count && this.#compare(index, key) === 0 ? this.#entry(index) : undefined;
  }

  *under(path: string): Iterable<TocEntry> {
    const [first, end] = this.#range(path);
    for (let index = first; index < end; index++) yield this.#entry(index);
  }

  /**
   * What stands directly in `path`, in path order: the name, and its entry unless only something below it is in the table. Whole
   * subtrees are stepped over, not read.
   */
  *children(path: string): Iterable<{ readonly name: string; readonly entry: TocEntry | undefined }> {
    const [first, end] = this.#range(path);
    const skip = path === '' ? 0 : encodeName(path).length + 1;
    // `a.txt` lies between `a` and `a/b`: a child may come up again below itself.
    const seen = new Set<string>();
    for (let index = first; index < end; ) {
      const { start, nul } = this.#bounds(index);
      const at = this.#bytes.indexOf(slash, start + skip);
      const direct = at < 0 || at >= nul;
      const name = decodeName(this.#bytes.subarray(start + skip, direct ? nul : at));
      if (direct) {
        if (start === nul && path === '') {
          index++;
          continue;
        }
        seen.add(name);
        yield { name, entry: this.#entry(index) };
        index++;
      } else {
        if (!seen.has(name)) {
          seen.add(name);
          yield { name, entry: undefined };
        }
        index = this.#lowerBound(Buffer.concat([this.#bytes.subarray(start, at), afterSlash]));
      }
    }
  }

  content(path: string): Uint8Array | undefined {
    const key = encodeName(path);
    let at = this.#contentsAt;
    for (let left = this.#contentCount; left > 0; left--) {
      const nameLength = this.#bytes.readUInt32LE(at);
      const length = this.#bytes.readUInt32LE(at + 4);
      const bodyAt = at + 8 + nameLength;
      if (bodyAt + length > this.#bytes.length) throw damaged('its contents');
      if (key.equals(this.#bytes.subarray(at + 8, bodyAt))) return this.#bytes.subarray(bodyAt, bodyAt + length);
      at = bodyAt + length;
    }
    return undefined;
  }

  /** True when something stands strictly below `path`. */
  hasUnder(path: string): boolean {
    if (path === '') return this.#range('')[0] < this.count;
    const start = encodeName(`${path}/`);
    const index = this.#lowerBound(start);
    if (index >= this.count) return false;
    const at = this.#start(index);
    return start.compare(this.#bytes, at, Math.min(at + start.length, this.#offsetsAt)) === 0;
  }

  /** Indices of all entries strictly below `path`. */
  #range(path: string): readonly [number, number] {
    if (path === '') {
      const root = this.count > 0 && this.#compare(0, Buffer.alloc(0)) === 0;
      return [root ? 1 : 0, this.count];
    }
    const name = encodeName(path);
    return [this.#lowerBound(Buffer.concat([name, Buffer.from('/')])), this.#lowerBound(Buffer.concat([name, afterSlash]))];
  }

  #start(index: number): number {
    const start = this.#bytes.readUInt32LE(this.#offsetsAt + 4 * index);
    if (start > this.#offsetsAt) throw damaged('its offsets');
    return start;
  }

  #bounds(index: number): { readonly start: number; readonly nul: number; readonly end: number } {
    const start = this.#start(index);
    const end = this.#start(index + 1);
    const nul = this.#bytes.indexOf(0, start);
    if (nul < 0 || nul >= end) throw damaged('a record');
    return { start, nul, end };
  }

  #entry(index: number): TocEntry {
    const { start, nul, end } = this.#bounds(index);
    return decodeRow(decodeName(this.#bytes.subarray(start, nul)), this.#bytes.toString('utf8', nul + 1, end));
  }

  #compare(index: number, key: Buffer): number {
    const start = this.#start(index);
    // A record's NUL is smaller than every byte of a path, so a longer slice than the key decides prefixes rightly.
    const stop = Math.min(start + key.length + 1, this.#offsetsAt);
    const order = key.compare(this.#bytes, start, Math.min(start + key.length, stop));
    if (order !== 0) return -order;
    return this.#bytes[start + key.length] === 0 ? 0 : 1;
  }

  /** Index of the first record whose path is not before `key`. */
  #lowerBound(key: Buffer): number {
    let low = 0;
    let high = this.count;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.#compare(middle, key) < 0) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}

/** The byte after `/`: with it appended, a directory's name is the first path after everything below the directory. */
const afterSlash = Buffer.from([slash + 1]);
