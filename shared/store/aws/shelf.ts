// What S3Uploads and S3Links need of S3Blobs, and the small things all three share.
import { algorithmOf, type Digest, encodedOf } from '../../oci/digest.ts';
import type { BlobStat } from '../blobs.ts';
import type { Write } from '../table.ts';
import type { Signal } from './bucket.ts';

/** The value of a blob's record. */
export interface Place {
  /** Object key without the driver's prefix. */
  readonly key: string;
  /** Bytes. */
  readonly size: number;
  /** Since when it has been marked to go, if it is: milliseconds since 1970. See FadingBlobs. */
  readonly fading?: number;
}

export interface Shelf {
  find(digest: Digest, signal: Signal): Promise<Place | undefined>;
  /**
   * Makes the object at `key` the blob, with `also` in the same transaction. When the blob is there already, that one stays and this
   * object is deleted.
   */
  commit(blob: BlobStat, key: string, also: readonly Write[], signal: Signal): Promise<BlobStat>;
}

/** The value of S3's SHA-256 header for a digest; undefined for other algorithms. */
export const checksumOf = (digest: Digest): string | undefined =>
  algorithmOf(digest) === 'sha256' ? Buffer.from(encodedOf(digest), 'hex').toString('base64') : undefined;

export const optionsOf = (signal: Signal): { signal?: AbortSignal } => (signal === undefined ? {} : { signal });
