// What a Blobs driver promises about bytes: the ranges it accepts, and that what comes in is what was announced.
import { SlipwayError } from '../errors.ts';
import { algorithmOf, type Digest } from '../oci/digest.ts';
import type { BlobStat, ByteRange, Expected } from './blobs.ts';

/** The range with its end filled in; USAGE when it is not within the blob. An empty range, also at the very end, is within it. */
export function checkRange(
  range: ByteRange | undefined,
  digest: Digest,
  size: number,
): { readonly start: number; readonly end: number } {
  const { start, end = size } = range ?? { start: 0 };
  if (Number.isSafeInteger(start) && Number.isSafeInteger(end) && 0 <= start && start <= end && end <= size)
    return { start, end };
  throw new SlipwayError('USAGE', `range ${start} to ${end} is not within the ${size} bytes of ${digest}`, { details: { size } });
}

/** Fails as soon as more bytes came than were announced: there is no need to read, or to store, the rest of them. */
export function checkNotOver(expected: Expected, size: number): void {
  if (expected.size !== undefined && size > expected.size) {
    throw new SlipwayError('SIZE_MISMATCH', `expected ${expected.size} bytes and got more`, {
      details: { expected: expected.size },
    });
  }
}

export function checkSize(expected: Expected, size: number): void {
  if (expected.size !== undefined && size !== expected.size) {
    throw new SlipwayError('SIZE_MISMATCH', `expected ${expected.size} bytes and got ${size}`, {
      details: { expected: expected.size, actual: size },
    });
  }
}

export function checkDigest(expected: Expected, digest: Digest): void {
  if (expected.digest !== undefined && digest !== expected.digest) {
    throw new SlipwayError('DIGEST_MISMATCH', `expected ${expected.digest} and got ${digest}`, {
      details: { expected: expected.digest, actual: digest },
    });
  }
}

/** What the bytes are, if they are what was expected. Ends the hash. */
export function verify(hash: { digest(encoding: 'hex'): string }, size: number, expected: Expected): BlobStat {
  checkSize(expected, size);
  const algorithm = expected.digest === undefined ? 'sha256' : algorithmOf(expected.digest);
  const digest = `${algorithm}:${hash.digest('hex')}` as Digest;
  checkDigest(expected, digest);
  return { digest, size };
}
