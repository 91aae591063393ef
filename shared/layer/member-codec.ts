// How one member is compressed: a gzip member with a fixed header, or a zstd frame. Deterministic for one version of zlib and zstd;
// `codecVersion` names it, because a compressed member may only be used again where it would come out the same.
import { constants, crc32, deflateRawSync, zstdCompressSync } from 'node:zlib';
import type { Compression } from '../oci/media-type.ts';

/** Levels by measurement (docs/decisions/0002-member-boundaries.md). */
export const defaultLevel = { none: 0, gzip: 2, zstd: 3 } as const satisfies Record<Compression, number>;

/** What has to be equal for the same member to give the same compressed bytes. */
export function codecVersion(compression: Compression, level: number): string {
  switch (compression) {
    case 'none':
      return 'none';
    case 'gzip':
      return `gzip-${level}-zlib-${process.versions.zlib}`;
    case 'zstd':
      return `zstd-${level}-zstd-${process.versions.zstd}`;
  }
}

/** RFC 1952: deflate, no flags, no time, no extra flags, operating system unknown. Nothing in it depends on the machine. */
const gzipHeader = Uint8Array.of(0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255);
const gzipTrailer = 8;
/** The most a stored block of deflate holds (RFC 1951, section 3.2.4). */
const storedBlock = 65_535;

/** Enough room for a member of `length` bytes, if it does not compress at all. */
export const packedRoom = (length: number): number =>
  gzipHeader.length + length + 5 * Math.max(1, Math.ceil(length / storedBlock)) + gzipTrailer;

/** A whole gzip member or zstd frame, at the start of `room` or of a larger buffer. Level 0 of gzip stores. */
export function compressMember(
  bytes: Buffer,
  compression: 'gzip' | 'zstd',
  level: number,
  room: ArrayBuffer,
): Uint8Array<ArrayBuffer> {
  if (compression === 'zstd') {
    const frame = zstdCompressSync(bytes, {
      chunkSize: outputChunk,
      params: {
        [constants.ZSTD_c_compressionLevel]: level,
        [constants.ZSTD_c_contentSizeFlag]: 1,
        [constants.ZSTD_c_checksumFlag]: 0,
      },
      pledgedSrcSize: bytes.length,
    });
    const target = within(room, frame.length);
    target.set(frame);
    return target;
  }
  return level === 0 ? storedMember(bytes, room) : deflatedMember(bytes, level, room);
}

/** Small pieces are found again by malloc where large ones leave holes: 16 KB to 32 KB take 10 to 20 MB less than 64 KB, and no time. */
const outputChunk = 32 * 1024;

const within = (room: ArrayBuffer, length: number): Uint8Array<ArrayBuffer> =>
  room.byteLength >= length ? new Uint8Array(room, 0, length) : new Uint8Array(length);

function deflatedMember(bytes: Buffer, level: number, room: ArrayBuffer): Uint8Array<ArrayBuffer> {
  const body = deflateRawSync(bytes, { level, memLevel: 9, chunkSize: outputChunk });
  const member = within(room, gzipHeader.length + body.length + gzipTrailer);
  member.set(gzipHeader);
  member.set(body, gzipHeader.length);
  seal(member, bytes);
  return member;
}

function storedMember(bytes: Buffer, room: ArrayBuffer): Uint8Array<ArrayBuffer> {
  const blocks = Math.max(1, Math.ceil(bytes.length / storedBlock));
  const member = within(room, packedRoom(bytes.length));
  member.set(gzipHeader);
  let to = gzipHeader.length;
  for (let block = 0; block < blocks; block++) {
    const part = bytes.subarray(block * storedBlock, (block + 1) * storedBlock);
    const last = block === blocks - 1 ? 1 : 0;
    member.set([last, part.length & 0xff, part.length >> 8, ~part.length & 0xff, (~part.length >> 8) & 0xff], to);
    member.set(part, to + 5);
    to += 5 + part.length;
  }
  seal(member, bytes);
  return member;
}

function seal(member: Uint8Array, bytes: Buffer): void {
  const view = new DataView(member.buffer, member.byteOffset, member.length);
  view.setUint32(member.length - 8, crc32(bytes), true);
  view.setUint32(member.length - 4, bytes.length, true);
}

const sampleLength = 2048;
const sampleCount = 8;

/**
 * Whether deflate would find nothing in these bytes: encrypted and compressed files. From eight samples and nothing else, so the answer
 * is the same everywhere: bytes must be evenly spread (a collision count near that of noise) and groups of four must not come again.
 * Large data only: for small the answer does not matter.
 */
export function looksRandom(bytes: Buffer): boolean {
  if (bytes.length < sampleCount * sampleLength) return false;
  const counts = new Uint32Array(256);
  const seen = new Uint32Array(1 << 13);
  const step = Math.floor(bytes.length / sampleCount);
  let repeats = 0;
  for (let sample = 0; sample < sampleCount; sample++) {
    // From the middle of each eighth: at the very beginning stands a header.
    const start = sample * step + ((step - sampleLength) >> 1);
    for (let at = start; at < start + sampleLength; at++) counts[bytes[at]!]!++;
    for (let at = start; at + 4 <= start + sampleLength; at++) {
      const group = bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24);
      const slot = Math.imul(group, 0x9e3779b1) >>> 19;
      if (seen[slot] === group >>> 0 && group !== 0) repeats++;
      seen[slot] = group >>> 0;
    }
  }
  const total = sampleCount * sampleLength;
  let collisions = 0;
  for (const count of counts) collisions += count * count;
  // Noise gives total/256 + 1 times total; text gives at least ten times as much, base64 four times.
  return collisions * 256 < total * total * 1.05 + 256 * total && repeats * 100 < total;
}
