// Port one of two: bytes by digest, or by staged upload. Everything a home keeps that is larger than a record goes through it.
import type { Digest } from '../oci/digest.ts';

/** Any source of bytes that is pulled: a web ReadableStream, a Node Readable, an async generator. Chunks of about 1 MiB are fastest. */
export type Bytes = AsyncIterable<Uint8Array>;

export interface BlobStat {
  readonly digest: Digest;
  /** Bytes. */
  readonly size: number;
}

/** `start` inclusive, `end` exclusive (not HTTP's inclusive end); `end` absent means to the last byte. */
export interface ByteRange {
  readonly start: number;
  readonly end?: number;
}

export interface BlobBody extends BlobStat {
  /** The bytes asked for: all of them, or the range. Cancel it when you stop reading early. */
  readonly body: ReadableStream<Uint8Array>;
}

export interface Expected {
  readonly digest?: Digest;
  readonly size?: number;
}

export interface UploadState {
  readonly id: string;
  /** Bytes received and kept so far: the only offset `append` accepts next. */
  readonly offset: number;
}

export interface Options {
  readonly signal?: AbortSignal;
}

export interface Blobs {
  /** Absence is `undefined`. */
  stat(digest: Digest, options?: Options): Promise<BlobStat | undefined>;
  /** Absence is `undefined`. A range outside the blob is USAGE. */
  open(digest: Digest, range?: ByteRange, options?: Options): Promise<BlobBody | undefined>;
  /**
   * Stores the bytes of `source`. Idempotent: storing what is there already succeeds and reads no more than it must.
   * When this resolves, the blob is durable and whole; when it rejects, nothing is visible. Bytes that differ from `expected` are
   * DIGEST_MISMATCH or SIZE_MISMATCH, reported before anything can be read. Without `expected.digest` the SHA-256 is computed.
   */
  put(source: Bytes, expected?: Expected, options?: Options): Promise<BlobStat>;
  /** Opens a resumable upload, which any process of this home can go on with. */
  begin(options?: Options): Promise<UploadState>;
  /** Absence is `undefined`. */
  upload(id: string, options?: Options): Promise<UploadState | undefined>;
  /**
   * Appends at `offset`, which must be the kept one (else UPLOAD_OFFSET with `details.offset`, the right one). Bytes that came in
   * before a failure of the source are kept. Unknown upload: UPLOAD_UNKNOWN.
   */
  append(id: string, offset: number, source: Bytes, options?: Options): Promise<UploadState>;
  /** Verifies and commits. Idempotent for the same id and digest while the upload's record lives. Never copies the bytes. */
  finish(id: string, expected: Expected, options?: Options): Promise<BlobStat>;
  /** Forgets the upload; no error when it is gone already. */
  abort(id: string, options?: Options): Promise<void>;
  /** Pages in digest order. */
  list(page: { readonly after?: Digest; readonly limit: number }, options?: Options): Promise<readonly BlobStat[]>;
  /** True when there was something to delete. Readers that have it open keep their bytes where the medium allows it. */
  delete(digest: Digest, options?: Options): Promise<boolean>;

  /** Capability: URLs that a client may use without passing through us. */
  readonly link?: BlobLinks;
  /** Capability: the blobs are files of this machine, which workers may read synchronously. */
  readonly local?: LocalBlobs;
  /** Capability: what nobody asks for any more can be taken away while others work. */
  readonly fading?: FadingBlobs;
}

/** Of a store what reading images takes: it may be another's, such as a registry. */
export type ReadableBlobs = Pick<Blobs, 'stat' | 'open' | 'local'>;

/**
 * Taking away blobs so that nobody loses one he was told is there (docs/decisions/0015). A blob that nothing seems to need is marked.
 * Every method of Blobs that tells of a blob, and every URL for it, takes the mark off first; `list` and what is below do not. Only a
 * blob that still has its mark can be dropped. So who asked after the mark was made keeps the blob, and who asked before it had all the
 * time in between to write down that he needs it.
 */
export interface FadingBlobs {
  /** Absence is `undefined`. */
  look(digest: Digest, options?: Options): Promise<FadingStat | undefined>;
  /** Pages in digest order, as Blobs.list. */
  list(page: { readonly after?: Digest; readonly limit: number }, options?: Options): Promise<readonly FadingStat[]>;
  /** Marks it with the time `now`, unless it is marked. Answers since when it has been; absence is `undefined`. */
  fade(digest: Digest, now: number, options?: Options): Promise<number | undefined>;
  /** Deletes it if it still has the mark of `since`. True when it did. */
  drop(digest: Digest, since: number, options?: Options): Promise<boolean>;
  /**
   * Deletes what the medium holds without a blob or an upload that it belongs to, if it has been there since before `before`
   * (milliseconds since 1970): one page of it. `next`: where the following page starts, if there is one.
   */
  sweep(page: { readonly after?: string; readonly before: number }, options?: Options): Promise<Swept>;
}

export interface FadingStat extends BlobStat {
  /** Since when it has been marked, if it is: milliseconds since 1970. */
  readonly since?: number;
}

export interface Swept {
  readonly next?: string;
  /** How many were deleted. */
  readonly deleted: number;
  /** Bytes of them. */
  readonly bytes: number;
}

export interface BlobLinks {
  /** A URL for GET (or HEAD) of the blob, or `undefined` when it is not there. */
  read(digest: Digest, request: { readonly method: 'GET' | 'HEAD'; readonly seconds: number }): Promise<string | undefined>;
  /**
   * A URL and the headers the client must send to PUT exactly these bytes; the store itself checks the digest. Call `confirm`
   * afterwards: only then is the blob visible.
   */
  write(
    blob: BlobStat,
    request: { readonly seconds: number },
  ): Promise<{ readonly url: string; readonly headers: Readonly<Record<string, string>>; readonly id: string }>;
  /**
   * Makes the blob visible. With `proven`, that the blob is there is not enough: UPLOAD_UNKNOWN unless these very bytes came by this id
   * (who only knows a digest has nothing; after a lost answer the bytes may have to be sent again).
   */
  confirm(id: string, blob: BlobStat, options?: { readonly proven?: boolean }): Promise<BlobStat>;
}

export interface LocalBlobs {
  /** The blob's file, or `undefined`. Read only. */
  path(digest: Digest): string | undefined;
}
