// URLs with which a client reads and writes the bucket directly. A URL for writing carries the digest as a signed checksum header, so
// S3 refuses other bytes; nothing is visible until `confirm` has seen the object.
import { GetObjectCommand, HeadObjectCommand, PutObjectCommand } from '@aws-sdk/client-s3';
import { getSignedUrl } from '@aws-sdk/s3-request-presigner';
import { SlipwayError } from '../../errors.ts';
import type { Digest } from '../../oci/digest.ts';
import type { BlobLinks, BlobStat } from '../blobs.ts';
import { objectKeys } from '../keys.ts';
import { isId, newId } from '../staged-id.ts';
import type { Bucket } from './bucket.ts';
import { checksumOf, type Shelf } from './shelf.ts';

/** What S3 takes in one request. */
const maxPut = 5 * 1024 ** 3;
/** Milliseconds for which an upload by URL can be confirmed. Afterwards the sweep may take the object: see s3-sweep.ts. */
export const confirmable = 7 * 24 * 3600_000;
const checksumHeader = 'x-amz-checksum-sha256';

export class S3Links implements BlobLinks {
  readonly #bucket: Bucket;
  readonly #shelf: Shelf;
  /** Seconds since 1970. */
  readonly #now: () => number;

  constructor(bucket: Bucket, shelf: Shelf, now: () => number) {
    this.#bucket = bucket;
    this.#shelf = shelf;
    this.#now = now;
  }

  async read(
    digest: Digest,
    { method, seconds }: { readonly method: 'GET' | 'HEAD'; readonly seconds: number },
  ): Promise<string | undefined> {
    const place = await this.#shelf.find(digest, undefined);
    if (place === undefined) return undefined;
    const at = this.#bucket.at(place.key);
    const options = { expiresIn: seconds };
    return method === 'GET'
      ? getSignedUrl(this.#bucket.client, new GetObjectCommand(at), options)
      : getSignedUrl(this.#bucket.client, new HeadObjectCommand(at), options);
  }

  async write(
    blob: BlobStat,
    { seconds }: { readonly seconds: number },
  ): Promise<{ readonly url: string; readonly headers: Readonly<Record<string, string>>; readonly id: string }> {
    const checksum = this.#checksum(blob);
    const id = newId();
    const command = new PutObjectCommand({
      ...this.#bucket.at(objectKeys.blob(blob.digest, id)),
      ContentLength: blob.size,
      ChecksumSHA256: checksum,
    });
    const url = await getSignedUrl(this.#bucket.client, command, {
      expiresIn: seconds,
      // Hoisted into the query, the header would be ours to set and not the client's to keep.
      unhoistableHeaders: new Set([checksumHeader]),
    });
    return { url, headers: { [checksumHeader]: checksum, 'content-length': String(blob.size) }, id };
  }

  async confirm(id: string, blob: BlobStat, { proven = false }: { readonly proven?: boolean } = {}): Promise<BlobStat> {
    const checksum = this.#checksum(blob);
    const there = await this.#shelf.find(blob.digest, undefined);
    const key = objectKeys.blob(blob.digest, checkId(id));
    if (there?.key === key) return { digest: blob.digest, size: there.size };
    const object = await this.#bucket.head(key, undefined);
    if (object === undefined || object.stored < this.#now() * 1000 - confirmable) {
      // Confirmed before, lost to another writer then, and its object deleted.
      if (there !== undefined && !proven) return { digest: blob.digest, size: there.size };
      throw new SlipwayError('UPLOAD_UNKNOWN', `no bytes arrived for ${blob.digest} under ${id}`, {
        hint: 'Send them to the URL first, with all the headers that came with it.',
      });
    }
    if (object.size !== blob.size || object.sha256 !== checksum) {
      await this.#bucket.remove(key, undefined);
      const code = object.size === blob.size ? 'DIGEST_MISMATCH' : 'SIZE_MISMATCH';
      throw new SlipwayError(code, `the bytes sent for ${blob.digest} are not those`, {
        details: { expected: { size: blob.size, checksum }, actual: { size: object.size, checksum: object.sha256 } },
      });
    }
    return this.#shelf.commit(blob, key, [], undefined);
  }

  #checksum(blob: BlobStat): string {
    const checksum = checksumOf(blob.digest);
    if (checksum === undefined) {
      throw new SlipwayError('UNSUPPORTED', `a URL for writing ${blob.digest}: S3 checks only SHA-256 here`, {
        hint: 'Use an upload instead.',
      });
    }
    if (blob.size > maxPut) {
      throw new SlipwayError('TOO_LARGE', `a URL for writing takes at most ${maxPut} bytes; ${blob.digest} has ${blob.size}`, {
        hint: 'Use an upload instead.',
        details: { limit: maxPut },
      });
    }
    return checksum;
  }
}

/** It becomes part of an object key, and it comes from a client. */
function checkId(id: string): string {
  if (isId(id)) return id;
  throw new SlipwayError('UPLOAD_UNKNOWN', `${JSON.stringify(String(id).slice(0, 80))} is no upload`);
}
