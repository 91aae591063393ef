// The folder of the home's bucket that other people's S3 clients write to: `contexts/`. Only read here.
import type { S3Client } from '@aws-sdk/client-s3';
import type { Bytes, Options } from '../blobs.ts';
import { Bucket } from './bucket.ts';

export class ContextObjects {
  readonly bucket: string;
  readonly #bucket: Bucket;

  constructor({ client, bucket }: { readonly client: S3Client; readonly bucket: string }) {
    this.bucket = bucket;
    this.#bucket = new Bucket(client, bucket);
  }

  /** Bytes of the object. Absence is `undefined`. */
  async size(key: string, { signal }: Options = {}): Promise<number | undefined> {
    return (await this.#bucket.head(key, signal))?.size;
  }

  /** Absence is `undefined`. */
  async open(key: string, { signal }: Options = {}): Promise<{ readonly size: number; readonly body: Bytes } | undefined> {
    const size = await this.size(key, signal === undefined ? {} : { signal });
    if (size === undefined) return undefined;
    const body = size === 0 ? nothing() : await this.#bucket.get(key, 0, size, signal);
    return body === undefined ? undefined : { size, body };
  }
}

async function* nothing(): AsyncGenerator<Uint8Array> {
  // S3 has no range of an empty object.
}
