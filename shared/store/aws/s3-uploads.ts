// Resumable uploads on S3, which any process can go on with: everything about one is in its Table record.
//
// Bytes become parts of one multipart upload. What is left at the end of an append and too little for a part is kept in an object of
// its own, the tail, and leads the next append. An upload that never had a part is committed as its tail. The record holds the SHA-256
// state over exactly the bytes it counts.
//
// Two requests may append at once (a client that lost its connection and came again while the first request hangs). Every step is
// conditional on the record's version, so the one that came last wins and the other fails at its next step; and part numbers are
// reserved in the record before they are used, so neither can overwrite a part that the other has counted.
import { createHash } from 'node:crypto';
import { isCode, SlipwayError, throwIfCancelled } from '../../errors.ts';
import { algorithmOf, type Digest } from '../../oci/digest.ts';
import type { BlobStat, Bytes, Expected, UploadState } from '../blobs.ts';
import { checkDigest, checkSize } from '../expected.ts';
import { objectKeys, uploadKeys } from '../keys.ts';
import { cancelSource } from '../source.ts';
import { isId, newId } from '../staged-id.ts';
import type { Table, Write } from '../table.ts';
import { type Bucket, isMissing, type Signal } from './bucket.ts';
import { Append } from './s3-append.ts';
import { optionsOf, type Shelf } from './shelf.ts';
import { freshHash, type Held, type Open, partOf, restoredHash, stateValue, writeState } from './upload-record.ts';

/** Seconds an upload may take; the bucket's rule for incomplete multipart uploads must allow as much. */
export const lifetime = 7 * 24 * 3600;

export class S3Uploads {
  readonly #bucket: Bucket;
  readonly #table: Table;
  readonly #shelf: Shelf;
  readonly #now: () => number;

  constructor(bucket: Bucket, table: Table, shelf: Shelf, now: () => number) {
    this.#bucket = bucket;
    this.#table = table;
    this.#shelf = shelf;
    this.#now = now;
  }

  async begin(signal: Signal): Promise<UploadState> {
    throwIfCancelled(signal);
    const id = newId();
    const expires = Math.ceil(this.#now() + lifetime);
    const open: Open = { offset: 0, hash: await freshHash(), next: 1, parts: [], expires };
    const condition = { ifAbsent: true } as const;
    await this.#table.put(uploadKeys.state(id), stateValue(open), { condition, expires }, optionsOf(signal));
    return { id, offset: 0 };
  }

  async state(id: string, signal: Signal): Promise<UploadState | undefined> {
    const found = await this.#load(id, signal);
    return found?.held === undefined ? undefined : { id, offset: found.held.open.offset };
  }

  async append(id: string, offset: number, source: Bytes, signal: Signal): Promise<UploadState> {
    let held: Held;
    let append: Append;
    try {
      held = (await this.#load(id, signal))?.held ?? unknown(id);
      if (held.open.offset !== offset) throw wrongOffset(id, held.open.offset, offset);
      const hasher = await restoredHash(id, held.open.hash);
      append = new Append(this.#bucket, this.#table, held, hasher, await this.#readTail(held.open, signal));
    } catch (error) {
      cancelSource(source);
      throw error;
    }
    return append.run(source, signal);
  }

  async finish(id: string, expected: Expected, signal: Signal): Promise<BlobStat> {
    for (;;) {
      const found = await this.#load(id, signal);
      if (found === undefined) return unknown(id);
      if (found.held === undefined) return await this.#finishedBefore(id, found.done, expected, signal);
      try {
        return await this.#finish(found.held, expected, signal);
      } catch (error) {
        // Another request finished it, appended to it or aborted it meanwhile: look again.
        if (!isCode(error, 'STORE_CONFLICT')) throw error;
      }
    }
  }

  async abort(id: string, signal: Signal): Promise<void> {
    for (;;) {
      const held = (await this.#load(id, signal))?.held;
      if (held === undefined) return;
      try {
        await this.#table.delete(uploadKeys.state(id), { condition: { ifVersion: held.version } }, optionsOf(signal));
      } catch (error) {
        if (isCode(error, 'STORE_CONFLICT')) continue;
        throw error;
      }
      const { multipart, tail } = held.open;
      if (multipart !== undefined) await this.#bucket.drop(multipart, signal);
      if (tail !== undefined) await this.#bucket.remove(tail.key, signal);
      await this.#forgetParts(id, signal);
      return;
    }
  }

  async #finish(held: Held, expected: Expected, signal: Signal): Promise<BlobStat> {
    const { id, open } = held;
    checkSize(expected, open.offset);
    const hasher = await restoredHash(id, open.hash);
    const sha256 = `sha256:${hasher.digest('hex')}` as const;
    const digest = expected.digest ?? sha256;
    const known = algorithmOf(digest) === 'sha256';
    if (known) checkDigest(expected, sha256);
    const blob = { digest, size: open.offset };
    let { version } = held;
    let key = open.tail?.key;
    if (open.multipart !== undefined) {
      key = open.multipart.key;
      version = await this.#complete(held, signal);
    } else if (key === undefined) {
      key = objectKeys.upload(id, newId());
      await this.#bucket.put(key, new Uint8Array(0), undefined, signal);
    }
    // The state kept with the upload is SHA-256's, so any other digest takes a look at the bytes.
    if (!known) checkDigest(expected, await this.#digestOf(key, open.offset, digest, signal));
    const done: Write = {
      kind: 'put',
      key: uploadKeys.state(id),
      value: { done: { digest, size: blob.size } },
      condition: { ifVersion: version },
    };
    await this.#shelf.commit(blob, key, [done], signal);
    if (open.multipart !== undefined) {
      if (open.tail !== undefined) await this.#bucket.remove(open.tail.key, signal);
      await this.#forgetParts(id, signal);
    }
    return blob;
  }

  /** Makes the object out of the parts and the tail; answers the record's version. Can be done again after a crash anywhere in it. */
  async #complete(held: Held, signal: Signal): Promise<string> {
    const { id, open } = held;
    const multipart = open.multipart!;
    let { version } = held;
    try {
      const all = await this.#parts(id, signal);
      // A record beyond those counted is of an append that was cut off between the two.
      const parts = all.filter(({ PartNumber: n }) => open.parts.some(([first, last]) => first <= n && n <= last));
      if (open.tail !== undefined) {
        // Reserved, so that an append that is still under way somewhere cannot use the number.
        const number = open.next;
        const reserved: Open = { ...open, next: number + 1 };
        version = await writeState(this.#table, { id, version, open: reserved }, signal);
        const tail = await this.#readTail(open, signal);
        parts.push({ PartNumber: number, ETag: await this.#bucket.part(multipart, number, tail, signal) });
      }
      await this.#bucket.complete(multipart, parts, open.offset, signal);
      return version;
    } catch (error) {
      if (!isMissing(error)) throw error;
      // The tail cannot be sent to an upload that a finish completed before it could write its record.
      const object = await this.#bucket.head(multipart.key, signal);
      if (object?.size === open.offset) return version;
      return unknown(id);
    }
  }

  async #finishedBefore(id: string, done: BlobStat, expected: Expected, signal: Signal): Promise<BlobStat> {
    checkDigest(expected, done.digest);
    checkSize(expected, done.size);
    if ((await this.#shelf.find(done.digest, signal)) === undefined) return unknown(id);
    return done;
  }

  async #digestOf(key: string, size: number, like: Digest, signal: Signal): Promise<Digest> {
    const hash = createHash(algorithmOf(like));
    if (size > 0) {
      const body = await this.#bucket.get(key, 0, size, signal);
      if (body === undefined) throw new SlipwayError('STORE', `object ${key} vanished before it was committed`);
      for await (const chunk of body) hash.update(chunk);
    }
    return `${algorithmOf(like)}:${hash.digest('hex')}` as Digest;
  }

  async #readTail({ tail }: Open, signal: Signal): Promise<Uint8Array> {
    if (tail === undefined) return new Uint8Array(0);
    const body = await this.#bucket.get(tail.key, 0, tail.size, signal);
    if (body === undefined) throw new SlipwayError('STORE', `object ${tail.key}, the tail of an upload, is missing`);
    const chunks: Uint8Array[] = [];
    for await (const chunk of body) chunks.push(chunk);
    return Buffer.concat(chunks);
  }

  async #parts(id: string, signal: Signal): Promise<{ PartNumber: number; ETag: string }[]> {
    const parts: { PartNumber: number; ETag: string }[] = [];
    const { partition } = uploadKeys.state(id);
    for (let after: string | undefined; ; ) {
      const query = { prefix: uploadKeys.partPrefix, limit: 1000, ...(after === undefined ? {} : { after }) };
      const page = await this.#table.query(partition, query, optionsOf(signal));
      for (const { sort, value } of page) {
        parts.push({ PartNumber: Number(sort.slice(uploadKeys.partPrefix.length)), ETag: partOf(value).etag });
      }
      if (page.length < query.limit) return parts;
      after = page.at(-1)!.sort;
    }
  }

  /** Expiry would remove them too; this is to be tidy. */
  async #forgetParts(id: string, signal: Signal): Promise<void> {
    const parts = await this.#parts(id, signal);
    for (let at = 0; at < parts.length; at += 100) {
      const writes: Write[] = parts
        .slice(at, at + 100)
        .map(({ PartNumber }) => ({ kind: 'delete', key: uploadKeys.part(id, PartNumber) }));
      await this.#table.transact(writes, optionsOf(signal));
    }
  }

  /** Undefined when there is no such upload; `held` when it is open, else `done`. */
  async #load(id: string, signal: Signal): Promise<{ held: Held } | { held?: undefined; done: BlobStat } | undefined> {
    throwIfCancelled(signal);
    if (!isId(id)) return undefined;
    const record = await this.#table.get(uploadKeys.state(id), optionsOf(signal));
    if (record === undefined) return undefined;
    const value = record.value as { readonly open?: Open; readonly done?: BlobStat };
    if (value.open !== undefined) return { held: { id, version: record.version, open: value.open } };
    if (value.done !== undefined) return { done: value.done };
    throw new SlipwayError('STORE', `the record of upload ${id} is damaged`);
  }
}

function unknown(id: string): never {
  throw new SlipwayError('UPLOAD_UNKNOWN', `no upload ${JSON.stringify(String(id).slice(0, 80))} is open`, {
    hint: 'It was finished, aborted or left for too long: begin a new one.',
  });
}

const wrongOffset = (id: string, offset: number, asked: number): SlipwayError =>
  new SlipwayError('UPLOAD_OFFSET', `upload ${id} is at byte ${offset}, not ${asked}`, { details: { offset } });
