// bzip2, reading only. The format has no standard document; this follows the description in the reference implementation's manual.
// Written here because the packages for it are years without a release, do not check CRCs, or push without backpressure.
import type { Bytes } from '../store/blobs.ts';
import { ByteReader } from './byte-reader.ts';
import { chunkSize } from './chunk-size.ts';

const blockMagic = 0x314159265359;
const endMagic = 0x177245385090;
const runA = 0;
const runB = 1;

const crcTable = Uint32Array.from({ length: 256 }, (_, index) => {
  let value = index << 24;
  for (let bit = 0; bit < 8; bit++) value = value < 0 ? (value << 1) ^ 0x04c11db7 : value << 1;
  return value >>> 0;
});

/** The decompressed bytes of all streams. Plain errors: decompress.ts names them. */
export async function* bunzip2(source: Bytes): AsyncGenerator<Uint8Array, void, undefined> {
  const reader = new ByteReader(source);
  try {
    while (!(await reader.ended())) yield* oneStream(reader);
  } finally {
    await reader.close();
  }
}

async function* oneStream(reader: ByteReader): AsyncGenerator<Uint8Array, void, undefined> {
  const bits = new BitReader(reader);
  await bits.need(32);
  if (bits.take(24) !== 0x425a68) throw new Error('no bzip2 stream where one should start');
  const level = bits.take(8) - 0x30;
  if (level < 1 || level > 9) throw new Error('impossible block size');
  const block = new Uint32Array(level * 100_000);
  let combined = 0;
  for (;;) {
    await bits.need(80);
    const magic = bits.take(24) * 0x1000000 + bits.take(24);
    const crc = bits.take32();
    if (magic === endMagic) {
      if (crc !== combined) throw new Error('the checksum of the stream does not fit');
      bits.align();
      return;
    }
    if (magic !== blockMagic) throw new Error('no block where one should start');
    // One block is at most about 900 KB compressed (incompressible data); what is missing at the end of the stream shows as an error.
    await bits.need(level * 100_000 * 8 * 1.3 + 200_000);
    const { origin, length } = readBlock(bits, block);
    let actual = 0xffffffff;
    for (const piece of expand(block, origin, length)) {
      for (const byte of piece) actual = ((actual << 8) ^ crcTable[((actual >>> 24) ^ byte) & 0xff]!) >>> 0;
      yield piece;
    }
    if (~actual >>> 0 !== crc) throw new Error('the checksum of a block does not fit');
    combined = (((combined << 1) | (combined >>> 31)) ^ crc) >>> 0;
  }
}

/** Fills `block` with the Burrows-Wheeler transformed bytes, one a cell. */
function readBlock(bits: BitReader, block: Uint32Array): { origin: number; length: number } {
  if (bits.take(1) === 1) throw new Error('randomised blocks (bzip2 before 0.9.5) are not supported');
  const origin = bits.take(24);
  const symbols = usedSymbols(bits);
  const tableCount = bits.take(3);
  const selectorCount = bits.take(15);
  if (symbols.length === 0 || tableCount < 2 || tableCount > 6 || selectorCount === 0) throw new Error('impossible block header');
  const selectors = readSelectors(bits, selectorCount, tableCount);
  const tables = Array.from({ length: tableCount }, () => readTable(bits, symbols.length + 2));
  const endOfBlock = symbols.length + 1;
  const front = Uint8Array.from(symbols);
  let length = 0;
  let run = 0;
  let runUnit = 1;
  for (let group = 0; ; group++) {
    const table = tables[selectors[group] ?? -1];
    if (table === undefined) throw new Error('a block goes on after its last selector');
    for (let inGroup = 0; inGroup < 50; inGroup++) {
      const symbol = decodeSymbol(bits, table);
      if (symbol === runA || symbol === runB) {
        if (runUnit > 0x200000) throw new Error('impossible run');
        run += runUnit << symbol;
        runUnit <<= 1;
        continue;
      }
      if (run > 0) {
        if (length + run > block.length) throw new Error('a block is larger than announced');
        block.fill(front[0]!, length, length + run);
        length += run;
        run = 0;
        runUnit = 1;
      }
      if (symbol === endOfBlock) {
        if (origin >= length) throw new Error('impossible origin');
        return { origin, length };
      }
      if (length === block.length) throw new Error('a block is larger than announced');
      const index = symbol - 1;
      const byte = front[index]!;
      front.copyWithin(1, 0, index);
      front[0] = byte;
      block[length++] = byte;
    }
  }
}

function usedSymbols(bits: BitReader): number[] {
  const symbols: number[] = [];
  const ranges = bits.take(16);
  for (let range = 0; range < 16; range++) {
    if ((ranges & (0x8000 >> range)) === 0) continue;
    const used = bits.take(16);
    for (let bit = 0; bit < 16; bit++) if (used & (0x8000 >> bit)) symbols.push(range * 16 + bit);
  }
  return symbols;
}

function readSelectors(bits: BitReader, count: number, tableCount: number): Uint8Array {
  const front = Array.from({ length: tableCount }, (_, index) => index);
  const selectors = new Uint8Array(count);
  for (let at = 0; at < count; at++) {
    let index = 0;
    while (bits.take(1) === 1) if (++index >= tableCount) throw new Error('impossible selector');
    const [table] = front.splice(index, 1);
    front.unshift(table!);
    selectors[at] = table!;
  }
  return selectors;
}

interface Table {
  readonly minimum: number;
  readonly maximum: number;
  /** By length: the first code past those of this length. */
  readonly limits: Int32Array;
  /** By length: what to subtract from a code to get the place in `permutation`. */
  readonly bases: Int32Array;
  readonly permutation: Uint16Array;
}

function readTable(bits: BitReader, symbolCount: number): Table {
  const lengths = new Uint8Array(symbolCount);
  let length = bits.take(5);
  for (let symbol = 0; symbol < symbolCount; symbol++) {
    for (;;) {
      if (length < 1 || length > 20) throw new Error('impossible code length');
      if (bits.take(1) === 0) break;
      length += bits.take(1) === 0 ? 1 : -1;
    }
    lengths[symbol] = length;
  }
  const minimum = lengths.reduce((low, value) => Math.min(low, value), 20);
  const maximum = lengths.reduce((high, value) => Math.max(high, value), 1);
  const permutation = new Uint16Array(symbolCount);
  const limits = new Int32Array(22);
  const bases = new Int32Array(22);
  let placed = 0;
  let code = 0;
  for (let size = minimum; size <= maximum; size++) {
    bases[size] = code - placed;
    for (let symbol = 0; symbol < symbolCount; symbol++) {
      if (lengths[symbol] !== size) continue;
      permutation[placed++] = symbol;
      code++;
    }
    limits[size] = code;
    code <<= 1;
  }
  return { minimum, maximum, limits, bases, permutation };
}

function decodeSymbol(bits: BitReader, table: Table): number {
  let code = bits.take(table.minimum);
  for (let length = table.minimum; length <= table.maximum; length++) {
    if (code < table.limits[length]!) return table.permutation[code - table.bases[length]!] ?? impossibleCode();
    code = (code << 1) | bits.take(1);
  }
  return impossibleCode();
}

const impossibleCode = (): never => {
  throw new Error('impossible code');
};

/** Undoes the Burrows-Wheeler transform and the first run-length coding (four equal bytes are followed by a count). */
function* expand(block: Uint32Array, origin: number, length: number): Generator<Uint8Array, void, undefined> {
  const starts = new Uint32Array(257);
  for (let at = 0; at < length; at++) starts[(block[at]! & 0xff) + 1]!++;
  for (let byte = 0; byte < 256; byte++) starts[byte + 1]! += starts[byte]!;
  for (let at = 0; at < length; at++) {
    const place = starts[block[at]! & 0xff]!++;
    block[place]! |= at << 8;
  }
  let output = new Uint8Array(chunkSize);
  let filled = 0;
  let next = block[origin]! >>> 8;
  let previous = -1;
  let equal = 0;
  for (let at = 0; at < length; at++) {
    const cell = block[next]!;
    next = cell >>> 8;
    const byte = cell & 0xff;
    if (filled + 256 > output.length) {
      yield output.subarray(0, filled);
      output = new Uint8Array(chunkSize);
      filled = 0;
    }
    if (equal === 4) {
      output.fill(previous, filled, filled + byte);
      filled += byte;
      equal = 0;
      previous = -1;
      continue;
    }
    equal = byte === previous ? equal + 1 : 1;
    previous = byte;
    output[filled++] = byte;
  }
  if (filled > 0) yield output.subarray(0, filled);
}

/** Bits, first the highest of each byte. `need` reads ahead asynchronously so that taking them can be synchronous. */
class BitReader {
  #reader: ByteReader;
  #bytes: Uint8Array = new Uint8Array(0);
  #at = 0;
  #held = 0;
  #heldBits = 0;

  constructor(reader: ByteReader) {
    this.#reader = reader;
  }

  /** Makes sure that `count` bits can be taken, unless the stream ends before. */
  async need(count: number): Promise<void> {
    const wanted = Math.ceil(count / 8);
    if (this.#bytes.length - this.#at >= wanted) return;
    const parts = [this.#bytes.subarray(this.#at)];
    let have = parts[0]!.length;
    while (have < wanted) {
      const next = await this.#reader.some(chunkSize);
      if (next === undefined) break;
      parts.push(next);
      have += next.length;
    }
    this.#bytes = Buffer.concat(parts);
    this.#at = 0;
  }

  /** Up to 24 bits. */
  take(count: number): number {
    while (this.#heldBits < count) {
      const byte = this.#bytes[this.#at++];
      if (byte === undefined) throw new Error('unexpected end of data');
      this.#held = ((this.#held << 8) | byte) & 0x7fffffff;
      this.#heldBits += 8;
    }
    this.#heldBits -= count;
    return (this.#held >>> this.#heldBits) & ((1 << count) - 1);
  }

  take32(): number {
    return ((this.take(16) << 16) | this.take(16)) >>> 0;
  }

  /** To the next byte, where the next stream starts; what was read ahead goes back. */
  align(): void {
    this.#heldBits = 0;
    this.#reader.unread(this.#bytes.subarray(this.#at));
  }
}
