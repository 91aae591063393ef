// One member of a layer: a stretch of the tar stream that is compressed on its own (docs/decisions/0002-member-boundaries.md). The same
// code runs in the compression workers and, for small layers, in the main thread, so the bytes cannot differ.
import { hash } from 'node:crypto';
import { closeSync, fstatSync, openSync, readSync, type Stats } from 'node:fs';
import { errnoOf, SlipwayError } from '../errors.ts';
import type { Digest } from '../oci/digest.ts';
import type { Compression } from '../oci/media-type.ts';
import { fsPath } from '../tar/name.ts';
import type { FileState } from './entry.ts';
import { type Fill, Fills, type FlatFills } from './fills.ts';
import { compressMember, looksRandom } from './member-codec.ts';

export interface MemberJob {
  /** Headers and padding are in place, content that `fills` read from files is not. Handed over and back. */
  readonly raw: ArrayBuffer;
  /** Where the compressed bytes go if they fit: handed over and back, so that no memory is left to the garbage collector. */
  readonly room: ArrayBuffer;
  readonly length: number;
  readonly fills: FlatFills;
  readonly compression: Compression;
  readonly level: number;
  /** SHA-256 digests (32 bytes each, sorted) of members that need not be compressed. */
  readonly known?: SharedArrayBuffer;
}

export interface MemberResult {
  readonly raw: ArrayBuffer;
  readonly room: ArrayBuffer;
  readonly length: number;
  /** Length of the compressed bytes in `room`; absent when the raw ones are stored as they are (`none`) or the member is `known`. */
  readonly packedLength?: number;
  /** SHA-256 of the raw bytes; absent when the member is stored without compression. */
  readonly sha256?: Uint8Array;
  /** Place in `known`. */
  readonly knownAt?: number;
  /** By fill, where asked for; often none. */
  readonly digests: ReadonlyMap<number, Digest>;
  readonly states: ReadonlyMap<number, FileState>;
}

/** Reads, hashes and compresses. CONTEXT_CHANGED names the file that is not what it was. */
export function makeMember(job: MemberJob): MemberResult {
  const { raw, length, compression, level } = job;
  const bytes = Buffer.from(raw, 0, length);
  const digests = new Map<number, Digest>();
  const states = new Map<number, FileState>();
  const fills = new Fills(job.fills);
  for (let index = 0; index < fills.count; index++) {
    const fill = fills.at(index);
    const slice = bytes.subarray(fill.at, fill.at + fill.size);
    const state = fill.file === undefined ? undefined : readFill(fill, fill.file, slice);
    if (fill.piece && state !== undefined) states.set(index, stateOf(state));
    if (fill.hash) digests.set(index, `sha256:${hash('sha256', slice)}`);
  }
  const done = { raw, length, digests, states };
  const packed = (level: number) => {
    const bytesPacked = compressMember(bytes, compression === 'zstd' ? 'zstd' : 'gzip', level, job.room);
    return { room: bytesPacked.buffer, packedLength: bytesPacked.length };
  };
  if (compression === 'none') return { ...done, room: job.room };
  if (compression === 'gzip' && looksRandom(bytes)) return { ...done, ...packed(0) };
  const sha256 = hash('sha256', bytes, 'buffer');
  const knownAt = job.known === undefined ? -1 : findDigest(new Uint8Array(job.known), sha256);
  if (knownAt >= 0) return { ...done, sha256, knownAt, room: job.room };
  return { ...done, sha256, ...packed(level) };
}

function readFill(fill: Fill, file: string, target: Buffer): Stats {
  let fd: number;
  try {
    fd = openSync(fsPath(file), 'r');
  } catch (error) {
    const errno = errnoOf(error);
    if (errno === 'ENOENT' || errno === 'ENOTDIR') throw changed(fill, 'is gone');
    throw new SlipwayError('CONTEXT', `${fill.name}: cannot be read: ${error instanceof Error ? error.message : errno}`, {
      cause: error,
    });
  }
  try {
    const before = fill.state ?? fstatSync(fd);
    for (let filled = 0; filled < target.length; ) {
      const count = readSync(fd, target, filled, target.length - filled, fill.offset + filled);
      if (count === 0) throw changed(fill, `is shorter than the ${fill.offset + fill.size} bytes it had`);
      filled += count;
    }
    const after = fstatSync(fd);
    if (!sameState(before, after)) throw changed(fill, 'was written to');
    return after;
  } finally {
    closeSync(fd);
  }
}

const changed = (fill: Fill, how: string): SlipwayError =>
  new SlipwayError('CONTEXT_CHANGED', `${fill.name} ${how} while the layer was being made from it`, {
    hint: 'Build again when nothing writes there any more.',
    details: { path: fill.name },
  });

const stateOf = ({ dev, ino, size, mtimeMs, ctimeMs }: Stats): FileState => ({ dev, ino, size, mtimeMs, ctimeMs });

export const sameState = (a: FileState, b: FileState): boolean =>
  a.size === b.size && a.mtimeMs === b.mtimeMs && a.ctimeMs === b.ctimeMs && a.ino === b.ino && a.dev === b.dev;

/** Binary search among sorted 32-byte digests; -1 when it is not there. */
function findDigest(sorted: Uint8Array, digest: Buffer): number {
  let low = 0;
  let high = sorted.length / 32;
  while (low < high) {
    const middle = (low + high) >>> 1;
    const order = digest.compare(sorted, middle * 32, middle * 32 + 32);
    if (order === 0) return middle;
    if (order < 0) high = middle;
    else low = middle + 1;
  }
  return -1;
}
