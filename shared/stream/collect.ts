// Small documents are read whole, always with a limit.
import type { Bytes } from '../store/blobs.ts';
import { limited } from './limited.ts';

/** All of `source` in one piece; TOO_LARGE past `limit` bytes. */
export async function collect(source: Bytes, limit: number, what = 'content'): Promise<Uint8Array> {
  const parts: Uint8Array[] = [];
  for await (const chunk of limited(source, limit, what)) parts.push(chunk);
  const [only] = parts;
  return parts.length === 1 && only !== undefined ? only : Buffer.concat(parts);
}
