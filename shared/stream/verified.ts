// The one guard between untrusted bytes and the rest: digest and exact size are checked, whoever the source is.
import { createHash } from 'node:crypto';
import { SlipwayError } from '../errors.ts';
import { algorithmOf, type Digest, encodedOf } from '../oci/digest.ts';
import type { Bytes, Expected } from '../store/blobs.ts';

/**
 * Passes `source` on and fails at its end unless it had exactly `expected.size` bytes (SIZE_MISMATCH) with `expected.digest`
 * (DIGEST_MISMATCH). A byte too many fails at once: nothing past the size is ever passed on, and the source is closed.
 * What came out before the failure was not verified: a consumer must not publish anything until this has ended well.
 */
export async function* verified(
  source: Bytes,
  expected: Expected,
  what = 'content',
): AsyncGenerator<Uint8Array, void, undefined> {
  const { digest, size } = expected;
  const hash = digest === undefined ? undefined : createHash(algorithmOf(digest));
  let seen = 0;
  for await (const chunk of source) {
    seen += chunk.length;
    if (size !== undefined && seen > size) throw sizeMismatch(what, size, `more than ${size}`);
    hash?.update(chunk);
    yield chunk;
  }
  if (size !== undefined && seen < size) throw sizeMismatch(what, size, String(seen));
  if (hash === undefined || digest === undefined) return;
  const actual = hash.digest('hex');
  if (actual !== encodedOf(digest)) throw digestMismatch(what, digest, `${algorithmOf(digest)}:${actual}` as Digest);
}

const sizeMismatch = (what: string, size: number, seen: string) =>
  new SlipwayError('SIZE_MISMATCH', `${what}: ${seen} bytes came, ${size} were announced`, { details: { expected: size } });

const digestMismatch = (what: string, expected: Digest, actual: Digest) =>
  new SlipwayError('DIGEST_MISMATCH', `${what}: the bytes have digest ${actual}, expected ${expected}`, {
    details: { expected, actual },
  });
