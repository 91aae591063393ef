// Blobs on S3. Objects have keys of their own, unique to each attempt to store (see keys.ts), and a record in the Table says which
// object a digest is: committing writes that record and never copies. What loses a race, or is deleted, loses its record first and its
// object afterwards; a crash between the two leaves an object that no record names, which is garbage and nothing else.
import { createHash } from 'node:crypto';
import type { S3Client } from '@aws-sdk/client-s3';
import { isCode, SlipwayError, throwIfCancelled } from '../../errors.ts';
import { algorithmOf, type Digest, parseDigest } from '../../oci/digest.ts';
import { ByteReader } from '../../stream/byte-reader.ts';
import { toReadableStream } from '../../stream/web.ts';
import type {
  BlobBody,
  BlobLinks,
  BlobStat,
  Blobs,
  ByteRange,
  Bytes,
  Expected,
  FadingBlobs,
  FadingStat,
  Options,
  UploadState,
} from '../blobs.ts';
import { bytesStream } from '../bytes-stream.ts';
import { checkNotOver, checkRange, checkSize, verify } from '../expected.ts';
import { blobKeys, objectKeys, uploadKeys } from '../keys.ts';
import { cancelSource, pull } from '../source.ts';
import { newId } from '../staged-id.ts';
import type { Key, Table, TableRecord, Write } from '../table.ts';
import { Bucket, type Signal } from './bucket.ts';
import { fill, sendParts } from './multipart-writer.ts';
import { growing, planFor } from './part-plan.ts';
import { S3Links } from './s3-links.ts';
import { sweepObjects } from './s3-sweep.ts';
import { S3Uploads } from './s3-uploads.ts';
import { checksumOf, optionsOf, type Place, type Shelf } from './shelf.ts';

/** A blob up to this size is held in memory and stored by one request, in which S3 checks a SHA-256 for itself. */
const singlePut = 16 << 20;
/** Seconds for which a finished upload whose blob was there already can be finished again. */
const remembered = 24 * 3600;

export interface S3BlobsOptions {
  /** Made with `requestChecksumCalculation: 'WHEN_REQUIRED'`, or presigned URLs demand a checksum of nothing. */
  readonly client: S3Client;
  readonly bucket: string;
  readonly table: Table;
  /** In front of every key in the bucket. */
  readonly prefix?: string;
  /** Seconds since 1970; when uploads expire. */
  readonly now?: () => number;
}

export class S3Blobs implements Blobs {
  readonly link: BlobLinks;
  readonly fading: FadingBlobs;
  readonly #bucket: Bucket;
  readonly #table: Table;
  readonly #uploads: S3Uploads;
  readonly #now: () => number;

  constructor({ client, bucket, table, prefix, now = () => Date.now() / 1000 }: S3BlobsOptions) {
    this.#now = now;
    this.#bucket = new Bucket(client, bucket, prefix);
    this.#table = table;
    const shelf: Shelf = {
      find: async (digest, signal) => (await this.#find(digest, signal))?.place,
      commit: (blob, key, also, signal) => this.#commit(blob, key, also, signal),
    };
    this.#uploads = new S3Uploads(this.#bucket, table, shelf, now);
    this.link = new S3Links(this.#bucket, shelf, now);
    this.fading = {
      look: async (digest, options) => {
        const place = (await this.#look(digest, options?.signal))?.place;
        return place && fadingStat(digest, place);
      },
      list: async (page, options) =>
        (await this.#list(page, options)).map((record) => fadingStat(record.sort as Digest, placeOf(record))),
      fade: (digest, time, options) => this.#fade(digest, time, options?.signal),
      drop: async (digest, since, options) => {
        const found = await this.#look(digest, options?.signal);
        return found?.place.fading === since && (await this.#remove(digest, found, options?.signal));
      },
      sweep: (page, options) => sweepObjects(this.#bucket, this.#table, now, page, options),
    };
  }

  async stat(digest: Digest, options?: Options): Promise<BlobStat | undefined> {
    const found = await this.#find(digest, options?.signal);
    return found === undefined ? undefined : { digest, size: found.place.size };
  }

  async open(digest: Digest, range?: ByteRange, options?: Options): Promise<BlobBody | undefined> {
    const signal = options?.signal;
    for (let missed: string | undefined; ; ) {
      const place = (await this.#find(digest, signal))?.place;
      if (place === undefined) return undefined;
      const { start, end } = checkRange(range, digest, place.size);
      // HTTP has no empty range.
      if (start === end) return { digest, size: place.size, body: bytesStream(new Uint8Array(0)) };
      const body = await this.#bucket.get(place.key, start, end, signal);
      if (body !== undefined) return { digest, size: place.size, body: toReadableStream(body) };
      if (missed === place.key) {
        throw new SlipwayError('STORE', `blob ${digest}: its object ${place.key} is missing from bucket ${this.#bucket.name}`, {
          hint: 'Something else deleted it: restore the object, or delete the blob and push it again.',
        });
      }
      // Deleted, and perhaps stored anew, between the two reads: the record says.
      missed = place.key;
    }
  }

  async put(source: Bytes, expected: Expected = {}, options?: Options): Promise<BlobStat> {
    const signal = options?.signal;
    let taken = false;
    try {
      if (expected.digest !== undefined) {
        const place = (await this.#find(expected.digest, signal))?.place;
        if (place !== undefined) {
          checkSize(expected, place.size);
          return { digest: expected.digest, size: place.size };
        }
      }
      throwIfCancelled(signal);
      taken = true;
      return await this.#put(source, expected, signal);
    } finally {
      if (!taken) cancelSource(source);
    }
  }

  async #put(source: Bytes, expected: Expected, signal: Signal): Promise<BlobStat> {
    const reader = new ByteReader(pull(source, signal));
    try {
      if (expected.size === undefined || expected.size <= singlePut) {
        // One byte more than may come tells whether more comes.
        const head = Buffer.allocUnsafeSlow((expected.size ?? singlePut) + 1);
        const filled = await fill(reader, head);
        checkNotOver(expected, filled);
        if (filled < head.length) return await this.#putWhole(head.subarray(0, filled), expected, signal);
        reader.unread(head);
      }
      return await this.#putParts(reader, expected, signal);
    } finally {
      await reader.close();
    }
  }

  async #putWhole(bytes: Buffer, expected: Expected, signal: Signal): Promise<BlobStat> {
    const algorithm = expected.digest === undefined ? 'sha256' : algorithmOf(expected.digest);
    const blob = verify(createHash(algorithm).update(bytes), bytes.length, expected);
    const key = objectKeys.blob(blob.digest, newId());
    await this.#bucket.put(key, bytes, checksumOf(blob.digest), signal);
    return this.#commit(blob, key, [], signal);
  }

  async #putParts(reader: ByteReader, expected: Expected, signal: Signal): Promise<BlobStat> {
    const plan = expected.size === undefined ? growing : planFor(expected.size);
    const id = newId();
    const key = expected.digest === undefined ? objectKeys.upload(id, newId()) : objectKeys.blob(expected.digest, newId());
    const upload = { key, id: await this.#bucket.create(key, signal) };
    let blob: BlobStat;
    try {
      const hash = createHash(expected.digest === undefined ? 'sha256' : algorithmOf(expected.digest));
      const { parts, size } = await sendParts(this.#bucket, upload, reader, plan, hash, expected, signal);
      // Before completing: until then there is no object at all.
      blob = verify(hash, size, expected);
      await this.#bucket.complete(upload, parts, size, signal);
    } catch (error) {
      // Without the caller's signal: it may be what ended the upload. If this fails too, the first error is the one to tell, and the
      // bucket's rule for incomplete uploads frees the parts.
      await this.#bucket.drop(upload, undefined).catch(() => undefined);
      throw error;
    }
    const record: Write[] =
      expected.digest === undefined
        ? [{ kind: 'put', key: uploadKeys.state(id), value: { done: { digest: blob.digest, size: blob.size } } }]
        : [];
    return this.#commit(blob, key, record, signal);
  }

  begin(options?: Options): Promise<UploadState> {
    return this.#uploads.begin(options?.signal);
  }

  upload(id: string, options?: Options): Promise<UploadState | undefined> {
    return this.#uploads.state(id, options?.signal);
  }

  append(id: string, offset: number, source: Bytes, options?: Options): Promise<UploadState> {
    return this.#uploads.append(id, offset, source, options?.signal);
  }

  finish(id: string, expected: Expected, options?: Options): Promise<BlobStat> {
    return this.#uploads.finish(id, expected, options?.signal);
  }

  abort(id: string, options?: Options): Promise<void> {
    return this.#uploads.abort(id, options?.signal);
  }

  async list(page: { readonly after?: Digest; readonly limit: number }, options?: Options): Promise<readonly BlobStat[]> {
    return (await this.#list(page, options)).map((record) => ({ digest: record.sort as Digest, size: placeOf(record).size }));
  }

  async #list(page: { readonly after?: Digest; readonly limit: number }, options?: Options): Promise<readonly TableRecord[]> {
    const records: TableRecord[] = [];
    for (const partition of blobKeys.partitions(page.after)) {
      const limit = page.limit - records.length;
      if (limit <= 0) break;
      const query = page.after === undefined ? { limit } : { limit, after: page.after };
      records.push(...(await this.#table.query(partition, query, options)));
    }
    return records;
  }

  async delete(digest: Digest, options?: Options): Promise<boolean> {
    for (;;) {
      const found = await this.#look(digest, options?.signal);
      if (found === undefined) return false;
      if (await this.#remove(digest, found, options?.signal)) return true;
      // Deleted, or deleted and stored anew, or marked, by somebody else meanwhile.
    }
  }

  /** Deletes the blob as it was found. False when its record has changed since. */
  async #remove(digest: Digest, { record, place }: Found, signal: Signal): Promise<boolean> {
    const writes: Write[] = [{ kind: 'delete', key: blobKeys.record(digest), condition: { ifVersion: record.version } }];
    const upload = objectKeys.uploadOf(place.key);
    if (upload !== undefined) writes.push({ kind: 'delete', key: uploadKeys.state(upload) });
    try {
      await this.#table.transact(writes, optionsOf(signal));
    } catch (error) {
      if (isCode(error, 'STORE_CONFLICT')) return false;
      throw error;
    }
    await this.#bucket.remove(place.key, signal);
    return true;
  }

  async #fade(digest: Digest, time: number, signal: Signal): Promise<number | undefined> {
    for (;;) {
      const found = await this.#look(digest, signal);
      if (found === undefined) return undefined;
      if (found.place.fading !== undefined) return found.place.fading;
      if (await this.#rewrite(digest, found, { fading: time }, signal)) return time;
    }
  }

  /** Where the blob is, for who wants it: its mark is taken off. */
  async #find(digest: Digest, signal: Signal): Promise<Found | undefined> {
    for (;;) {
      const found = await this.#look(digest, signal);
      if (found?.place.fading === undefined) return found;
      const { record, place } = found;
      const version = await this.#rewrite(digest, found, {}, signal);
      if (version !== undefined) return { record: { ...record, version }, place };
    }
  }

  /** Writes the record again; answers its new version, or `undefined` when it is no longer the one that was found. */
  async #rewrite(
    digest: Digest,
    { record, place: { key, size } }: Found,
    marked: { readonly fading?: number },
    signal: Signal,
  ): Promise<string | undefined> {
    const condition = { ifVersion: record.version };
    try {
      return await this.#table.put(blobKeys.record(digest), { key, size, ...marked }, { condition }, optionsOf(signal));
    } catch (error) {
      if (isCode(error, 'STORE_CONFLICT')) return undefined;
      throw error;
    }
  }

  async #look(digest: Digest, signal: Signal): Promise<Found | undefined> {
    // A digest out of a foreign document must not become a key, whatever its type says.
    parseDigest(digest);
    throwIfCancelled(signal);
    const record = await this.#table.get(blobKeys.record(digest), optionsOf(signal));
    return record === undefined ? undefined : { record, place: placeOf(record) };
  }

  async #commit(blob: BlobStat, key: string, also: readonly Write[], signal: Signal): Promise<BlobStat> {
    const record = blobKeys.record(blob.digest);
    for (;;) {
      try {
        const write: Write = { kind: 'put', key: record, value: { key, size: blob.size }, condition: { ifAbsent: true } };
        await this.#table.transact([write, ...also], optionsOf(signal));
        return blob;
      } catch (error) {
        // After any other failure it is unknown whether the record was written, so the object stays: garbage at worst.
        if (!isCode(error, 'STORE_CONFLICT')) throw error;
        const there = (await this.#find(blob.digest, signal))?.place;
        if (there === undefined) {
          // Deleted since. If not the blob's record but one of the others was in the way, it will be again.
          if (isOf(error, record)) continue;
          throw error;
        }
        if (there.key === key) return blob;
        // What the others say of the upload still holds; but no object depends on it, so it need not be kept for ever.
        const expires = this.#now() + remembered;
        const rest = also.map((one) => (one.kind === 'put' ? { ...one, expires } : one));
        if (rest.length > 0) await this.#table.transact(rest, optionsOf(signal));
        await this.#bucket.remove(key, signal);
        return blob;
      }
    }
  }
}

const fadingStat = (digest: Digest, { size, fading }: Place): FadingStat => ({
  digest,
  size,
  ...(fading === undefined ? {} : { since: fading }),
});

interface Found {
  readonly record: TableRecord;
  readonly place: Place;
}

/** Whether the conflict was about this record. */
function isOf(error: SlipwayError, { partition, sort }: Key): boolean {
  const key = error.details?.key as Partial<Key> | undefined;
  return key?.partition === partition && key.sort === sort;
}

function placeOf(record: TableRecord): Place {
  const place = record.value as Partial<Place> | null;
  if (typeof place?.key !== 'string' || typeof place.size !== 'number') {
    throw new SlipwayError('STORE', `the record of blob ${record.sort} is damaged`);
  }
  return { key: place.key, size: place.size, ...(typeof place.fading === 'number' ? { fading: place.fading } : {}) };
}
