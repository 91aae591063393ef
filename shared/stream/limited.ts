// A named limit beside a reader: what is larger fails, it is never cut off silently.
import { SlipwayError } from '../errors.ts';
import type { Bytes } from '../store/blobs.ts';

/** Passes `source` on; TOO_LARGE as soon as it has more than `limit` bytes, none of which past the limit are passed on. */
export async function* limited(source: Bytes, limit: number, what = 'content'): AsyncGenerator<Uint8Array, void, undefined> {
  let seen = 0;
  for await (const chunk of source) {
    seen += chunk.length;
    if (seen > limit)
      throw new SlipwayError('TOO_LARGE', `${what} is larger than the limit of ${limit} bytes`, { details: { limit } });
    yield chunk;
  }
}
