// Blobs as files: an OCI image layout (image-layout.md) with a staging folder beside it.
//
//   <root>/oci-layout
//   <root>/blobs/<algorithm>/<hex>     whole, verified, durable; never written again
//   <root>/uploads/put-<id>            a put under way
//   <root>/uploads/<id>                the bytes of a resumable upload: its size is the offset
//   <root>/uploads/<id>.json           its record; says what it became once finished
//   <root>/uploads/<id>.lock           held while somebody appends to it or finishes it
//   <root>/uploads/drop-<hex>          a blob that is being dropped: see disk-fading.ts
//   <root>/uploads/.swept              its mtime: when abandoned files were last removed
//
// A blob appears by rename(2) after its bytes are synced, and put resolves after the folder is synced too. Hashing runs beside the
// writes, in this process; an upload that another process began is read again before it is committed.
import { createHash, type Hash } from 'node:crypto';
import {
  closeSync,
  existsSync,
  fstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  renameSync,
  rmSync,
  statSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { errnoOf, SlipwayError, throwIfCancelled } from '../errors.ts';
import { algorithmOf, type Digest, encodedOf, isDigest, parseDigest } from '../oci/digest.ts';
import { chunkSize } from '../stream/chunk-size.ts';
import type {
  BlobBody,
  BlobStat,
  Blobs,
  ByteRange,
  Bytes,
  Expected,
  FadingBlobs,
  FadingStat,
  LocalBlobs,
  Options,
  Swept,
  UploadState,
} from './blobs.ts';
import { bytesStream } from './bytes-stream.ts';
import { askFor, dropFile, fadeFile, isMarked, markedAt, settleLimbo } from './disk-fading.ts';
import { diskError, FileSink, fileStream, guard, hashFile, shortened, syncFile, syncFolder } from './disk-io.ts';
import { checkNotOver, checkRange, checkSize, verify } from './expected.ts';
import { cancelSource, pull } from './source.ts';
import { isId, newId } from './staged-id.ts';
import { sweepStaged } from './staged-sweep.ts';
import { tryLock } from './upload-lock.ts';

const algorithms = ['sha256', 'sha512'] as const;

/** Sidecar of an upload. */
interface UploadRecord {
  /** What finish is making, or has made, of it; written before the rename, so that a repeated finish can tell. */
  readonly finished?: BlobStat;
}

export class DiskBlobs implements Blobs {
  readonly local: LocalBlobs = { path: (digest) => this.#existing(digest) };
  readonly fading: FadingBlobs = {
    look: async (digest) => this.#look(digest),
    list: async (page, options) => this.#list(page, options),
    fade: async (digest, now) => guard(this.#path(digest), () => fadeFile(this.#path(digest), now)),
    drop: async (digest, since) => guard(this.#path(digest), () => dropFile(this.#path(digest), this.#limbo(digest), since)),
    sweep: async (_, options) => this.#sweepAll(options),
  };
  readonly #root: string;
  readonly #uploads: string;
  /** Hash state of uploads that this process appended to, each good for exactly `offset` bytes. */
  readonly #hashes = new Map<string, { readonly hash: Hash; offset: number }>();
  #swept = false;

  private constructor(root: string) {
    this.#root = root;
    this.#uploads = join(root, 'uploads');
  }

  /** Opens the store under `root`, making what is missing. */
  static async open(root: string): Promise<DiskBlobs> {
    const marker = join(root, 'oci-layout');
    if (!existsSync(marker)) {
      guard(root, () => {
        for (const algorithm of algorithms) mkdirSync(join(root, 'blobs', algorithm), { recursive: true });
        mkdirSync(join(root, 'uploads'), { recursive: true });
        // Last: while it is missing, the next to open goes through all of this again.
        const staged = join(root, 'uploads', `layout-${newId()}`);
        writeFileSync(staged, '{"imageLayoutVersion":"1.0.0"}');
        renameSync(staged, marker);
      });
    }
    return new DiskBlobs(root);
  }

  async stat(digest: Digest, options?: Options): Promise<BlobStat | undefined> {
    throwIfCancelled(options?.signal);
    return this.#stat(digest);
  }

  async open(digest: Digest, range?: ByteRange, options?: Options): Promise<BlobBody | undefined> {
    throwIfCancelled(options?.signal);
    const file = this.#path(digest);
    let fd: number;
    for (;;) {
      if (this.#stat(digest) === undefined) return undefined;
      try {
        fd = openSync(file, 'r');
        break;
      } catch (error) {
        // Deleted since; or being dropped, and then it comes back, because somebody has asked.
        if (errnoOf(error) !== 'ENOENT') throw diskError(error, file);
      }
    }
    let owned = true;
    try {
      const { size } = fstatSync(fd);
      const { start, end } = checkRange(range, digest, size);
      if (end - start > chunkSize) {
        owned = false;
        return { digest, size, body: fileStream(fd, start, end, file, options?.signal) };
      }
      // Small: read at once, so that nothing stays open if the caller forgets to cancel.
      const bytes = Buffer.allocUnsafeSlow(end - start);
      for (let at = 0; at < bytes.length; ) {
        const count = readSync(fd, bytes, at, bytes.length - at, start + at);
        if (count === 0) throw shortened(file);
        at += count;
      }
      return { digest, size, body: bytesStream(bytes) };
    } finally {
      if (owned) closeSync(fd);
    }
  }

  async put(source: Bytes, expected: Expected = {}, options?: Options): Promise<BlobStat> {
    if (expected.digest !== undefined) {
      const there = this.#stat(expected.digest);
      if (there !== undefined) {
        cancelSource(source);
        throwIfCancelled(options?.signal);
        checkSize(expected, there.size);
        return there;
      }
    }
    const staged = join(this.#uploads, `put-${newId()}`);
    let fd: number;
    try {
      this.#sweepOnce();
      fd = guard(staged, () => openSync(staged, 'wx'));
    } catch (error) {
      cancelSource(source);
      throw error;
    }
    let kept = false;
    const hash = createHash(expected.digest === undefined ? 'sha256' : algorithmOf(expected.digest));
    const sink = new FileSink(fd, 0, hash, staged);
    try {
      for await (const chunk of pull(source, options?.signal)) {
        checkNotOver(expected, sink.position + chunk.length);
        await sink.write(chunk);
      }
      await sink.flush();
      const blob = verify(hash, sink.position, expected);
      await this.#commit(fd, staged, blob);
      kept = true;
      return blob;
    } finally {
      await sink.close();
      closeSync(fd);
      if (!kept) rmSync(staged, { force: true });
    }
  }

  async begin(options?: Options): Promise<UploadState> {
    throwIfCancelled(options?.signal);
    this.#sweepOnce();
    const id = newId();
    const file = this.#staged(id);
    guard(file, () => {
      this.#writeRecord(id, {});
      writeFileSync(file, '', { flag: 'wx' });
    });
    this.#hashes.set(id, { hash: createHash('sha256'), offset: 0 });
    return { id, offset: 0 };
  }

  async upload(id: string, options?: Options): Promise<UploadState | undefined> {
    throwIfCancelled(options?.signal);
    if (!isId(id)) return undefined;
    const found = statSync(this.#staged(id), { throwIfNoEntry: false });
    return found === undefined ? undefined : { id, offset: found.size };
  }

  async append(id: string, offset: number, source: Bytes, options?: Options): Promise<UploadState> {
    let release: () => void;
    let fd: number;
    try {
      throwIfCancelled(options?.signal);
      release = this.#lock(id);
    } catch (error) {
      cancelSource(source);
      throw error;
    }
    try {
      try {
        fd = this.#openUpload(id);
      } catch (error) {
        cancelSource(source);
        throw error;
      }
      try {
        return await this.#appendTo(fd, id, offset, source, options?.signal);
      } finally {
        closeSync(fd);
      }
    } finally {
      release();
    }
  }

  async finish(id: string, expected: Expected, options?: Options): Promise<BlobStat> {
    throwIfCancelled(options?.signal);
    const release = this.#lock(id);
    try {
      const { finished } = this.#readRecord(id);
      if (finished !== undefined && !existsSync(this.#staged(id))) return this.#finishedBefore(id, finished, expected);
      const fd = this.#openUpload(id);
      const staged = this.#staged(id);
      try {
        const { size } = fstatSync(fd);
        checkSize(expected, size);
        const hash = await this.#hashOf(id, fd, size, expected.digest, options?.signal);
        // A copy: after a wrong digest the upload can go on, or be finished with the right one.
        const blob = verify(hash.copy(), size, expected);
        this.#writeRecord(id, { finished: blob });
        await this.#commit(fd, staged, blob);
        this.#hashes.delete(id);
        return blob;
      } finally {
        closeSync(fd);
      }
    } finally {
      release();
    }
  }

  async abort(id: string, options?: Options): Promise<void> {
    throwIfCancelled(options?.signal);
    if (!isId(id)) return;
    this.#hashes.delete(id);
    guard(this.#staged(id), () => {
      // Record first: without it the upload is unknown, whatever happens to the rest.
      rmSync(this.#recordFile(id), { force: true });
      rmSync(this.#staged(id), { force: true });
    });
  }

  async list(page: { readonly after?: Digest; readonly limit: number }, options?: Options): Promise<readonly BlobStat[]> {
    return this.#list(page, options).map(({ digest, size }) => ({ digest, size }));
  }

  #list(page: { readonly after?: Digest; readonly limit: number }, options?: Options): readonly FadingStat[] {
    throwIfCancelled(options?.signal);
    const stats: FadingStat[] = [];
    for (const algorithm of algorithms) {
      const names = guard(this.#root, () => readdirSync(join(this.#root, 'blobs', algorithm))).sort();
      for (const name of names) {
        const digest = `${algorithm}:${name}`;
        if (!isDigest(digest) || (page.after !== undefined && digest <= page.after)) continue;
        if (stats.length >= page.limit) return stats;
        const found = this.#look(digest);
        if (found !== undefined) stats.push(found);
      }
    }
    return stats;
  }

  async delete(digest: Digest, options?: Options): Promise<boolean> {
    throwIfCancelled(options?.signal);
    const file = this.#path(digest);
    try {
      unlinkSync(file);
      return true;
    } catch (error) {
      if (errnoOf(error) === 'ENOENT') return false;
      throw diskError(error, file);
    }
  }

  /** A fresh path in the staging folder, on the file system of the blobs, for a writer that will `adopt` what it wrote there. */
  stage(): string {
    this.#sweepOnce();
    return join(this.#uploads, `put-${newId()}`);
  }

  /**
   * Makes a finished file from `stage` the blob, without reading it: the caller hashed every byte it wrote and vouches for the digest.
   * Only the size is checked (SIZE_MISMATCH). The file is gone from the staging folder afterwards, also when this fails.
   */
  async adopt(file: string, blob: BlobStat): Promise<BlobStat> {
    const fd = guard(file, () => openSync(file, 'r'));
    let kept = false;
    try {
      checkSize({ size: blob.size }, fstatSync(fd).size);
      await this.#commit(fd, file, { digest: blob.digest, size: blob.size });
      kept = true;
      return { digest: blob.digest, size: blob.size };
    } finally {
      closeSync(fd);
      if (!kept) rmSync(file, { force: true });
    }
  }

  async #appendTo(fd: number, id: string, offset: number, source: Bytes, signal: AbortSignal | undefined): Promise<UploadState> {
    const staged = this.#staged(id);
    const { size: kept } = fstatSync(fd);
    if (offset !== kept) {
      cancelSource(source);
      throw new SlipwayError('UPLOAD_OFFSET', `upload ${id} is at byte ${kept}, not ${offset}`, { details: { offset: kept } });
    }
    let state = this.#hashes.get(id);
    if (state === undefined && kept === 0) {
      state = { hash: createHash('sha256'), offset: 0 };
      this.#hashes.set(id, state);
    }
    // Another process appended since; finish will read the file.
    if (state !== undefined && state.offset !== kept) {
      this.#hashes.delete(id);
      state = undefined;
    }
    const sink = new FileSink(fd, kept, state?.hash, staged);
    try {
      try {
        for await (const chunk of pull(source, signal)) await sink.write(chunk);
      } finally {
        // Also when the source fails: what came before is kept.
        await sink.flush();
      }
      return { id, offset: sink.position };
    } finally {
      // A write that failed half-way left bytes which the hash has not seen, or has seen in vain: the file is what counts.
      if (state !== undefined && fstatSync(fd).size === sink.position) state.offset = sink.position;
      else this.#hashes.delete(id);
    }
  }

  /** The running hash over the whole upload, from memory when this process wrote all of it. */
  async #hashOf(
    id: string,
    fd: number,
    size: number,
    digest: Digest | undefined,
    signal: AbortSignal | undefined,
  ): Promise<Hash> {
    const algorithm = digest === undefined ? 'sha256' : algorithmOf(digest);
    const state = this.#hashes.get(id);
    if (algorithm === 'sha256' && state?.offset === size) return state.hash;
    return hashFile(fd, size, algorithm, this.#staged(id), signal);
  }

  #finishedBefore(id: string, finished: BlobStat, expected: Expected): BlobStat {
    if (expected.digest !== undefined && expected.digest !== finished.digest) {
      throw new SlipwayError('DIGEST_MISMATCH', `upload ${id} was finished as ${finished.digest}, not ${expected.digest}`);
    }
    checkSize(expected, finished.size);
    if (this.#stat(finished.digest) === undefined) throw unknownUpload(id);
    return finished;
  }

  /** Syncs the staged file, moves it into place and syncs the folder. */
  async #commit(fd: number, staged: string, { digest, size }: BlobStat): Promise<void> {
    const target = this.#path(digest);
    if (this.#stat(digest)?.size === size) {
      // Another writer was quicker. Its rename may not have been synced yet, so the folder is synced all the same.
      guard(staged, () => unlinkSync(staged));
    } else {
      await syncFile(fd, staged);
      guard(target, () => renameSync(staged, target));
    }
    await syncFolder(join(this.#root, 'blobs', algorithmOf(digest)));
  }

  #lock(id: string): () => void {
    if (!isId(id) || !existsSync(this.#recordFile(id))) throw unknownUpload(id);
    const file = `${this.#staged(id)}.lock`;
    const release = guard(file, () => tryLock(file, newId()));
    if (release !== undefined) return release;
    const offset = statSync(this.#staged(id), { throwIfNoEntry: false })?.size;
    throw new SlipwayError('CONFLICT', `upload ${id} is being written by another request`, {
      hint: 'Wait for that request to end, then ask for the offset and go on from there.',
      details: { offset },
    });
  }

  #openUpload(id: string): number {
    try {
      return openSync(this.#staged(id), 'r+');
    } catch (error) {
      throw errnoOf(error) === 'ENOENT' ? unknownUpload(id) : diskError(error, this.#staged(id));
    }
  }

  #readRecord(id: string): UploadRecord {
    try {
      return JSON.parse(readFileSync(this.#recordFile(id), 'utf8')) as UploadRecord;
    } catch (error) {
      throw errnoOf(error) === 'ENOENT' ? unknownUpload(id) : diskError(error, this.#recordFile(id));
    }
  }

  #writeRecord(id: string, record: UploadRecord): void {
    const file = this.#recordFile(id);
    const fresh = `${file}.${newId()}`;
    guard(file, () => {
      writeFileSync(fresh, JSON.stringify(record), { flag: 'wx' });
      renameSync(fresh, file);
    });
  }

  #stat(digest: Digest): BlobStat | undefined {
    const file = this.#path(digest);
    const found = guard(file, () => askFor(file, this.#limbo(digest)));
    return found === undefined ? undefined : { digest, size: found.size };
  }

  /** As it lies there, a mark included. */
  #look(digest: Digest): FadingStat | undefined {
    const file = this.#path(digest);
    const found = guard(file, () => statSync(file, { throwIfNoEntry: false }));
    return found && { digest, size: found.size, ...(isMarked(found) ? { since: markedAt(found) } : {}) };
  }

  #existing(digest: Digest): string | undefined {
    return this.#stat(digest) === undefined ? undefined : this.#path(digest);
  }

  #limbo(digest: Digest): string {
    return join(this.#uploads, `drop-${encodedOf(digest)}`);
  }

  /** Ends drops that a process died in. What puts and uploads leave is removed by sweepStaged. */
  #sweepAll(options?: Options): Swept {
    let deleted = 0;
    let bytes = 0;
    for (const name of guard(this.#uploads, () => readdirSync(this.#uploads))) {
      throwIfCancelled(options?.signal);
      const hex = /^drop-([0-9a-f]+)$/.exec(name)?.[1];
      if (hex === undefined) continue;
      const digest = `${hex.length > 64 ? 'sha512' : 'sha256'}:${hex}`;
      if (!isDigest(digest)) continue;
      const limbo = this.#limbo(digest);
      const size = statSync(limbo, { throwIfNoEntry: false })?.size ?? 0;
      if (!guard(limbo, () => settleLimbo(limbo, this.#path(digest)))) continue;
      deleted++;
      bytes += size;
    }
    return { deleted, bytes };
  }

  /** Checked here once more, although the type says so: a digest out of a foreign document must not become a path. */
  #path(digest: Digest): string {
    parseDigest(digest);
    return join(this.#root, 'blobs', algorithmOf(digest), encodedOf(digest));
  }

  #staged(id: string): string {
    return join(this.#uploads, id);
  }

  #recordFile(id: string): string {
    return join(this.#uploads, `${id}.json`);
  }

  /** Removes what dead processes left, once a day and never for a process that only reads. */
  #sweepOnce(): void {
    if (this.#swept) return;
    this.#swept = true;
    guard(this.#uploads, () => sweepStaged(this.#uploads, Date.now()));
  }
}

const unknownUpload = (id: string): SlipwayError =>
  new SlipwayError('UPLOAD_UNKNOWN', `no upload ${JSON.stringify(String(id).slice(0, 80))} is open`, {
    hint: 'It was finished, aborted or left for too long: begin a new one.',
  });
