// Moving bytes between streams and files: sizes and tricks that were measured, in one place.
import { createHash, type Hash } from 'node:crypto';
import { close, closeSync, fsync, openSync, read, write } from 'node:fs';
import { promisify } from 'node:util';
import { errnoOf, SlipwayError, throwIfCancelled } from '../errors.ts';
import { chunkSize } from '../stream/chunk-size.ts';
import { EarlySync } from './early-sync.ts';

const closeFile = promisify(close);
const fsyncFile = promisify(fsync);
const readAt = promisify(read);
const writeAt = promisify(write);

/** From this size on a chunk is written as it is; below, copying costs less than one more write. */
const largeChunk = chunkSize / 4;

export const shortened = (file: string): SlipwayError =>
  new SlipwayError('STORE', `${file} became shorter while it was read`, { hint: 'Is another program writing in the store?' });

/** A system error as ours, naming the file. */
export function diskError(error: unknown, file: string): unknown {
  const errno = errnoOf(error);
  if (error instanceof SlipwayError || errno === undefined) return error;
  if (errno === 'ENOSPC' || errno === 'EDQUOT') {
    return new SlipwayError('DISK_FULL', `no space left to write ${file}`, {
      hint: 'Free some space and try again.',
      cause: error,
    });
  }
  return new SlipwayError('STORE', `${file}: ${error instanceof Error ? error.message : errno}`, { cause: error });
}

export function guard<T>(file: string, work: () => T): T {
  try {
    return work();
  } catch (error) {
    throw diskError(error, file);
  }
}

export async function syncFile(fd: number, file: string): Promise<void> {
  try {
    await fsyncFile(fd);
  } catch (error) {
    throw diskError(error, file);
  }
}

/** Makes renames into the folder durable. */
export async function syncFolder(folder: string): Promise<void> {
  const fd = guard(folder, () => openSync(folder, 'r'));
  try {
    await syncFile(fd, folder);
  } finally {
    closeSync(fd);
  }
}

/**
 * Writes a stream to a file and hashes it on the way. Small chunks are gathered, large ones are written as they are; either way one
 * thread writes what this one is hashing. When `write` resolves, the source may reuse its buffer.
 */
export class FileSink {
  readonly #fd: number;
  readonly #file: string;
  readonly #hash: Hash | undefined;
  readonly #sync: EarlySync;
  #buffer: Buffer | undefined;
  #spare: Buffer | undefined;
  #filled = 0;
  #position: number;
  /** The write of the buffer that was full last; it does not reject but answers its error. */
  #writing: Promise<unknown> | undefined;

  constructor(fd: number, position: number, hash: Hash | undefined, file: string) {
    this.#fd = fd;
    this.#position = position;
    this.#hash = hash;
    this.#file = file;
    this.#sync = new EarlySync(fd);
  }

  /** Where the next byte goes. Only after `flush` is everything before it in the file. */
  get position(): number {
    return this.#position + this.#filled;
  }

  async write(chunk: Uint8Array): Promise<void> {
    for (let at = 0; at < chunk.length; ) {
      if (this.#filled === 0 && chunk.length - at >= largeChunk) {
        const part = chunk.subarray(at, Math.min(chunk.length, at + chunkSize));
        this.#start(part);
        at += part.length;
        // The chunk is the source's: its bytes must be out before this resolves.
        await this.#settle();
      } else if (this.#filled > 0 && chunk.length - at >= chunkSize) {
        await this.#emit();
      } else {
        this.#buffer ??= Buffer.allocUnsafeSlow(chunkSize);
        const count = Math.min(chunkSize - this.#filled, chunk.length - at);
        this.#buffer.set(chunk.subarray(at, at + count), this.#filled);
        this.#filled += count;
        at += count;
        if (this.#filled === chunkSize) await this.#emit();
      }
    }
  }

  /** Everything given so far is in the file (not synced) and in the hash. */
  async flush(): Promise<void> {
    try {
      if (this.#filled > 0) await this.#emit();
      await this.#settle();
    } finally {
      await this.close();
    }
    const error = await this.#sync.settled();
    if (error !== undefined) throw diskError(error, this.#file);
  }

  /** After this, and not before, the file may be closed. */
  async close(): Promise<void> {
    await this.#writing;
    await this.#sync.settled();
  }

  /** Sends the gathered bytes on their way; the other buffer is free then. */
  async #emit(): Promise<void> {
    await this.#settle();
    const full = this.#buffer!;
    const filled = this.#filled;
    this.#filled = 0;
    [this.#buffer, this.#spare] = [this.#spare, full];
    this.#start(full.subarray(0, filled));
  }

  #start(bytes: Uint8Array): void {
    this.#writing = writeWhole(this.#fd, bytes, this.#position).then(
      () => this.#sync.wrote(bytes.length),
      (error: unknown) => diskError(error, this.#file),
    );
    this.#position += bytes.length;
    this.#hash?.update(bytes);
  }

  async #settle(): Promise<void> {
    const writing = this.#writing;
    this.#writing = undefined;
    const error = await writing;
    if (error !== undefined) throw error;
  }
}

async function writeWhole(fd: number, part: Uint8Array, position: number): Promise<void> {
  for (let at = 0; at < part.length; ) {
    const { bytesWritten } = await writeAt(fd, part, at, part.length - at, position + at);
    at += bytesWritten;
  }
}

/** The running hash over the first `size` bytes. */
export async function hashFile(
  fd: number,
  size: number,
  algorithm: 'sha256' | 'sha512',
  file: string,
  signal: AbortSignal | undefined,
): Promise<Hash> {
  const hash = createHash(algorithm);
  let current = Buffer.allocUnsafeSlow(chunkSize);
  let other = Buffer.allocUnsafeSlow(chunkSize);
  try {
    let count = size === 0 ? 0 : (await readAt(fd, current, 0, Math.min(chunkSize, size), 0)).bytesRead;
    for (let at = 0; at < size; ) {
      throwIfCancelled(signal);
      if (count === 0) throw shortened(file);
      at += count;
      // The next read fills the other buffer while this one is hashed.
      const next = at < size ? readAt(fd, other, 0, Math.min(chunkSize, size - at), at) : undefined;
      hash.update(current.subarray(0, count));
      count = next === undefined ? 0 : (await next).bytesRead;
      [current, other] = [other, current];
    }
  } catch (error) {
    throw diskError(error, file);
  }
  return hash;
}

/** The bytes of an open file from `start` to `end`; closes it when done, cancelled or failed. */
export function fileStream(
  fd: number,
  start: number,
  end: number,
  file: string,
  signal: AbortSignal | undefined,
): ReadableStream<Uint8Array> {
  let at = start;
  let reading: Promise<unknown> = Promise.resolve();
  let closed: Promise<void> | undefined;
  let cancelled = false;
  // Once, and never under a read: the number may be another file's by then.
  const release = async (): Promise<void> => {
    await reading.catch(() => undefined);
    closed ??= closeFile(fd);
    await closed;
  };
  return new ReadableStream<Uint8Array>({
    async pull(controller) {
      try {
        throwIfCancelled(signal);
        const buffer = Buffer.allocUnsafeSlow(Math.min(chunkSize, end - at));
        const next = readAt(fd, buffer, 0, buffer.length, at);
        reading = next;
        const { bytesRead } = await next;
        // Cancelled meanwhile: nobody is there to give it to.
        if (cancelled) return;
        if (bytesRead === 0) throw shortened(file);
        at += bytesRead;
        controller.enqueue(bytesRead === buffer.length ? buffer : buffer.subarray(0, bytesRead));
        if (at < end) return;
      } catch (error) {
        await release();
        throw diskError(error, file);
      }
      await release();
      controller.close();
    },
    cancel() {
      cancelled = true;
      return release();
    },
  });
}
