// One append to a resumable upload on S3; s3-uploads.ts says how uploads work.
import type { IHasher } from 'hash-wasm';
import { isCode, SlipwayError } from '../../errors.ts';
import { ByteReader } from '../../stream/byte-reader.ts';
import type { Bytes, UploadState } from '../blobs.ts';
import { objectKeys, uploadKeys } from '../keys.ts';
import { pull } from '../source.ts';
import { newId } from '../staged-id.ts';
import type { Table } from '../table.ts';
import type { Bucket, Multipart, Signal } from './bucket.ts';
import { concurrencyOf, growing, worthAPart } from './part-plan.ts';

import { type Held, type Open, type Part, savedHash, withPart, writeState } from './upload-record.ts';

/** Part numbers reserved ahead: at least as many as parts are on their way at once. */
const ahead = 4;
/** Seconds by which part records outlive the upload's, so that they never go before it. */
const grace = 24 * 3600;

/** A part on its way. */
interface Sending {
  readonly number: number;
  /** Bytes in it that this append received; the rest was the tail and is counted already. */
  readonly fresh: number;
  /** Hash state at its end. */
  readonly hash: string;
  readonly etag: Promise<string>;
}

/**
 * Requests to S3 and the Table go without the caller's signal: when it fires, the source ends, and what came in before is still kept.
 */
export class Append {
  readonly #bucket: Bucket;
  readonly #table: Table;
  readonly #hasher: IHasher;
  readonly #tail: Uint8Array;
  #held: Held;
  #number: number;
  /** In order: a part counts once it and all before it are stored. */
  readonly #sending: Sending[] = [];

  /** `tail`: the bytes in the upload's tail object. */
  constructor(bucket: Bucket, table: Table, held: Held, hasher: IHasher, tail: Uint8Array) {
    this.#bucket = bucket;
    this.#table = table;
    this.#held = held;
    this.#hasher = hasher;
    this.#tail = tail;
    this.#number = held.open.next;
  }

  async run(source: Bytes, signal: Signal): Promise<UploadState> {
    const reader = new ByteReader(pull(source, signal));
    let failure: { readonly error: unknown } | undefined;
    try {
      let carried = this.#tail;
      for (let ended = false; !ended; carried = new Uint8Array(0)) {
        const buffer = Buffer.allocUnsafeSlow(growing.sizeOf(this.#number));
        buffer.set(carried);
        let filled = carried.length;
        while (filled < buffer.length && !ended) {
          let chunk: Uint8Array | undefined;
          try {
            chunk = await reader.some(buffer.length - filled);
          } catch (error) {
            failure = { error };
          }
          if (chunk === undefined) {
            ended = true;
          } else {
            buffer.set(chunk, filled);
            filled += chunk.length;
          }
        }
        await this.#keep(buffer.subarray(0, filled), filled - carried.length, ended);
      }
    } catch (error) {
      // Nothing may still be under way when this is over.
      await Promise.allSettled(this.#sending.map(({ etag }) => etag));
      throw isCode(error, 'STORE_CONFLICT') ? this.#overtaken(error) : error;
    } finally {
      await reader.close();
    }
    if (failure !== undefined) throw failure.error;
    return { id: this.#held.id, offset: this.#held.open.offset };
  }

  /** Takes over `bytes`, of which the last `fresh` are new. */
  async #keep(bytes: Uint8Array, fresh: number, ended: boolean): Promise<void> {
    if (fresh > 0) {
      this.#hasher.update(bytes.subarray(bytes.length - fresh));
      if (ended && bytes.length < worthAPart(this.#number)) {
        await this.#drain();
        await this.#keepTail(bytes, fresh);
        return;
      }
      await this.#send(bytes, fresh);
    }
    if (ended) await this.#drain();
    else while (this.#sending.length >= Math.min(ahead, concurrencyOf(bytes.length))) await this.#count(this.#number + ahead);
  }

  async #send(bytes: Uint8Array, fresh: number): Promise<void> {
    const multipart = await this.#reserve();
    const number = this.#number++;
    const etag = this.#bucket.part(multipart, number, bytes, undefined);
    // Awaited in its turn, perhaps after it has failed.
    etag.catch(() => undefined);
    this.#sending.push({ number, fresh, hash: savedHash(this.#hasher), etag });
  }

  /** Makes the next part number this append's own, and begins the multipart upload when there is none. */
  async #reserve(): Promise<Multipart> {
    const { id, open } = this.#held;
    if (open.multipart !== undefined && this.#number < open.next) return open.multipart;
    const key = open.multipart?.key ?? objectKeys.upload(id, newId());
    const multipart = open.multipart ?? { key, id: await this.#bucket.create(key, undefined) };
    try {
      await this.#write({ ...open, multipart, next: this.#number + ahead });
    } catch (error) {
      // It is nobody's if the record does not name it. Any other failure leaves that open, and the bucket's rule to clean up.
      if (open.multipart === undefined && isCode(error, 'STORE_CONFLICT')) await this.#bucket.drop(multipart, undefined);
      throw error;
    }
    return multipart;
  }

  /** Waits for the first part under way and counts it. */
  async #count(next: number): Promise<void> {
    const [{ number, fresh, hash, etag }] = this.#sending as [Sending];
    const part: Part = { etag: await etag };
    const { id, open } = this.#held;
    // The part's record first; while the upload's does not count the number, it means nothing.
    await this.#table.put(uploadKeys.part(id, number), { ...part }, { expires: open.expires + grace });
    const { tail, ...rest } = open;
    await this.#write({
      ...rest,
      offset: open.offset + fresh,
      hash,
      parts: withPart(open.parts, number),
      next: Math.max(next, number + 1),
    });
    this.#sending.shift();
    // The first part began with the tail.
    if (tail !== undefined) await this.#bucket.remove(tail.key, undefined);
  }

  /** Counts all; the numbers reserved and not used go back. */
  async #drain(): Promise<void> {
    while (this.#sending.length > 0) await this.#count(this.#number);
  }

  async #keepTail(bytes: Uint8Array, fresh: number): Promise<void> {
    const { id, open } = this.#held;
    const key = objectKeys.upload(id, newId());
    await this.#bucket.put(key, bytes, undefined, undefined);
    try {
      await this.#write({
        ...open,
        offset: open.offset + fresh,
        hash: savedHash(this.#hasher),
        tail: { key, size: bytes.length },
      });
    } catch (error) {
      if (isCode(error, 'STORE_CONFLICT')) await this.#bucket.remove(key, undefined);
      throw error;
    }
    if (open.tail !== undefined) await this.#bucket.remove(open.tail.key, undefined);
  }

  async #write(open: Open): Promise<void> {
    const { id } = this.#held;
    this.#held = { id, open, version: await writeState(this.#table, { ...this.#held, open }, undefined) };
  }

  #overtaken(cause: SlipwayError): SlipwayError {
    const { id } = this.#held;
    return new SlipwayError('CONFLICT', `upload ${id} is being written, or was ended, by another request`, {
      hint: 'Ask for the offset and go on from there.',
      cause,
    });
  }
}
