// The few things done with a bucket, with errors of ours. No keys are made here.

import { Readable } from 'node:stream';
import {
  AbortMultipartUploadCommand,
  type CompletedPart,
  CompleteMultipartUploadCommand,
  CreateMultipartUploadCommand,
  DeleteObjectCommand,
  GetObjectCommand,
  HeadObjectCommand,
  ListObjectsV2Command,
  PutObjectCommand,
  type S3Client,
  UploadPartCommand,
} from '@aws-sdk/client-s3';
import { SlipwayError, throwIfCancelled } from '../../errors.ts';
import { awsError, nameOf, statusOf } from './aws-error.ts';
import { countS3Requests } from './request-counts.ts';

export type Signal = AbortSignal | undefined;

/** Tries to go on with a download whose connection broke, each from where the last one ended. */
const readTries = 4;

export interface Head {
  readonly size: number;
  readonly sha256: string | undefined;
  readonly stored: number;
}

export interface Listed {
  /** `stored`: milliseconds since 1970; of a multipart object, when its upload began. */
  readonly objects: readonly { readonly key: string; readonly size: number; readonly stored: number }[];
  readonly next?: string;
}

export class Bucket {
  readonly client: S3Client;
  readonly name: string;
  /** In front of every key; ends in a slash when it is not empty. */
  readonly prefix: string;

  constructor(client: S3Client, name: string, prefix = '') {
    this.client = client;
    countS3Requests(client);
    this.name = name;
    this.prefix = prefix === '' || prefix.endsWith('/') ? prefix : `${prefix}/`;
  }

  at(key: string): { readonly Bucket: string; readonly Key: string } {
    return { Bucket: this.name, Key: this.prefix + key };
  }

  /** One object of known bytes. With `sha256` (base64) S3 itself refuses other bytes. */
  async put(key: string, bytes: Uint8Array, sha256: string | undefined, signal: Signal): Promise<void> {
    const checksum = sha256 === undefined ? {} : { ChecksumSHA256: sha256 };
    const command = new PutObjectCommand({ ...this.at(key), Body: bytes, ContentLength: bytes.length, ...checksum });
    await this.#send('store an object', signal, (abort) => this.client.send(command, abort));
  }

  /** Bytes `start` to `end` (exclusive, not empty), or undefined when there is no such object. */
  async get(key: string, start: number, end: number, signal: Signal): Promise<AsyncGenerator<Uint8Array, void> | undefined> {
    const first = await this.#get(key, start, end, signal);
    return first === undefined ? undefined : this.#read(first, key, start, end, signal);
  }

  /** Size, when it was stored (milliseconds since 1970) and, when S3 knows it, the SHA-256 (base64) of the whole object. */
  async head(key: string, signal: Signal): Promise<Head | undefined> {
    try {
      const command = new HeadObjectCommand({ ...this.at(key), ChecksumMode: 'ENABLED' });
      const answer = await this.#send('look at an object', signal, (abort) => this.client.send(command, abort));
      // A composite checksum is one of the parts' checksums, which says nothing about the digest.
      const whole = answer.ChecksumType === 'COMPOSITE' ? undefined : answer.ChecksumSHA256;
      return { size: answer.ContentLength ?? 0, sha256: whole, stored: answer.LastModified?.getTime() ?? 0 };
    } catch (error) {
      if (isMissing(error)) return undefined;
      throw error;
    }
  }

  /** Objects whose keys start with `prefix`, in the order of their keys, after `after`: up to a thousand. */
  async list(prefix: string, after: string | undefined, signal: Signal): Promise<Listed> {
    const { Bucket: name } = this.at('');
    const command = new ListObjectsV2Command({
      Bucket: name,
      Prefix: this.prefix + prefix,
      ...(after === undefined ? {} : { StartAfter: this.prefix + after }),
    });
    const answer = await this.#send('list objects', signal, (abort) => this.client.send(command, abort));
    const objects = (answer.Contents ?? []).flatMap(({ Key, Size = 0, LastModified }) =>
      // One without a date counts as new.
      Key === undefined || LastModified === undefined
        ? []
        : [{ key: Key.slice(this.prefix.length), size: Size, stored: LastModified.getTime() }],
    );
    const last = answer.Contents?.at(-1)?.Key;
    return { objects, ...(answer.IsTruncated && last !== undefined ? { next: last.slice(this.prefix.length) } : {}) };
  }

  /** No error when it is gone already. */
  async remove(key: string, signal: Signal): Promise<void> {
    const command = new DeleteObjectCommand(this.at(key));
    await this.#send('delete an object', signal, (abort) => this.client.send(command, abort));
  }

  async create(key: string, signal: Signal): Promise<string> {
    const command = new CreateMultipartUploadCommand(this.at(key));
    const { UploadId } = await this.#send('begin a multipart upload', signal, (abort) => this.client.send(command, abort));
    if (UploadId === undefined) throw new SlipwayError('STORE', `S3 ${this.name}: a multipart upload was begun without an id`);
    return UploadId;
  }

  /** Sends one part and answers its ETag. */
  async part(upload: Multipart, number: number, body: Uint8Array, signal: Signal): Promise<string> {
    return this.#part(upload, number, body, body.length, signal);
  }

  /** Sends one part as it comes; it cannot be sent again. Fails with the error of `body` when that fails. */
  async streamPart(
    upload: Multipart,
    number: number,
    body: AsyncIterable<Uint8Array>,
    size: number,
    signal: Signal,
  ): Promise<string> {
    const stream = Readable.from(body, { objectMode: false });
    const broken = new AbortController();
    let failure: { readonly error: unknown } | undefined;
    // The SDK does not listen: without this the request would hang and the error end the process.
    stream.on('error', (error) => {
      failure = { error };
      broken.abort();
    });
    const either = signal === undefined ? broken.signal : AbortSignal.any([signal, broken.signal]);
    try {
      return await this.#part(upload, number, stream, size, either);
    } catch (error) {
      throw failure === undefined ? error : failure.error;
    } finally {
      stream.destroy();
    }
  }

  async #part(upload: Multipart, number: number, body: Uint8Array | Readable, size: number, signal: Signal): Promise<string> {
    const command = new UploadPartCommand({
      ...this.at(upload.key),
      UploadId: upload.id,
      PartNumber: number,
      Body: body,
      ContentLength: size,
    });
    const { ETag } = await this.#send('store a part', signal, (abort) => this.client.send(command, abort));
    if (ETag === undefined) throw new SlipwayError('STORE', `S3 ${this.name}: a part was stored without an ETag`);
    return ETag;
  }

  /** Makes the object out of the parts, `size` bytes in all. Can be done again. */
  async complete(upload: Multipart, parts: readonly CompletedPart[], size: number, signal: Signal): Promise<void> {
    const command = new CompleteMultipartUploadCommand({
      ...this.at(upload.key),
      UploadId: upload.id,
      MpuObjectSize: size,
      MultipartUpload: { Parts: [...parts] },
    });
    try {
      await this.#send('complete a multipart upload', signal, (abort) => this.client.send(command, abort));
    } catch (error) {
      // Done before, and the answer lost. The key is this upload's alone, so an object there is what it became.
      if (isMissing(error) && (await this.head(upload.key, signal))?.size === size) return;
      throw error;
    }
  }

  /** Frees what its parts hold. No error when it is gone already. */
  async drop(upload: Multipart, signal: Signal): Promise<void> {
    const command = new AbortMultipartUploadCommand({ ...this.at(upload.key), UploadId: upload.id });
    try {
      await this.#send('abort a multipart upload', signal, (abort) => this.client.send(command, abort));
    } catch (error) {
      if (!isMissing(error)) throw error;
    }
  }

  async #get(key: string, start: number, end: number, signal: Signal): Promise<Readable | undefined> {
    const command = new GetObjectCommand({ ...this.at(key), Range: `bytes=${start}-${end - 1}` });
    try {
      const { Body } = await this.#send('read an object', signal, (abort) => this.client.send(command, abort));
      if (Body instanceof Readable) return Body;
      throw new SlipwayError('STORE', `S3 ${this.name}: an object came without a body`);
    } catch (error) {
      if (isMissing(error)) return undefined;
      throw error;
    }
  }

  async *#read(first: Readable, key: string, start: number, end: number, signal: Signal): AsyncGenerator<Uint8Array, void> {
    let at = start;
    let body: Readable | undefined = first;
    for (let failures = 0; ; ) {
      try {
        for await (const chunk of body as AsyncIterable<Buffer>) {
          yield chunk;
          at += chunk.length;
          failures = 0;
        }
        if (at === end) return;
        throw new SlipwayError('STORE', `S3 ${this.name}: an object ended at byte ${at} of ${end}`);
      } catch (error) {
        throwIfCancelled(signal);
        if (++failures >= readTries) throw awsError(error, `S3 ${this.name}: read an object`, signal);
      } finally {
        body.destroy();
      }
      // Objects never change under their key, so the rest of this one fits.
      body = await this.#get(key, at, end, signal);
      if (body === undefined) throw new SlipwayError('STORE', `S3 ${this.name}: an object was deleted while it was read`);
    }
  }

  async #send<T>(what: string, signal: Signal, send: (abort: { abortSignal?: AbortSignal }) => Promise<T>): Promise<T> {
    throwIfCancelled(signal);
    try {
      return await send(signal === undefined ? {} : { abortSignal: signal });
    } catch (error) {
      throw awsError(error, `S3 ${this.name}: ${what}`, signal);
    }
  }
}

/** A multipart upload: the object's key, without prefix, and S3's id. */
export interface Multipart {
  readonly key: string;
  readonly id: string;
}

/** The object or the multipart upload is not there. A missing bucket is another matter. */
export function isMissing(error: unknown): boolean {
  const cause = error instanceof SlipwayError ? error.cause : error;
  const name = nameOf(cause);
  return name === 'NoSuchKey' || name === 'NoSuchUpload' || (name === 'NotFound' && statusOf(cause) === 404);
}
