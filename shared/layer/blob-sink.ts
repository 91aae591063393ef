// Where the bytes of a layer go: hashed on the way, and straight into the store's staging folder where there is one.

import { createHash } from 'node:crypto';
import { closeSync, openSync, rmSync, write } from 'node:fs';
import { promisify } from 'node:util';
import { errnoOf, SlipwayError } from '../errors.ts';
import type { Digest } from '../oci/digest.ts';
import type { BlobStat } from '../store/blobs.ts';
import { EarlySync } from '../store/early-sync.ts';
import type { LayerBlobs } from './write.ts';

const writeAt = promisify(write);

/** Chunks may be reused by the caller once `write` has resolved. Without `store`, disposing leaves nothing in the store. */
export class BlobSink implements AsyncDisposable {
  readonly #target: FileTarget | PutTarget;
  readonly #hash = createHash('sha256');
  #size = 0;

  constructor(blobs: LayerBlobs, signal: AbortSignal | undefined) {
    this.#target = blobs.stage !== undefined && blobs.adopt !== undefined ? new FileTarget(blobs) : new PutTarget(blobs, signal);
  }

  async write(chunk: Uint8Array): Promise<void> {
    const written = this.#target.write(chunk, this.#size);
    this.#size += chunk.length;
    this.#hash.update(chunk);
    await written;
  }

  /** What was written, of which there is no more. It is not in the store yet. */
  end(): BlobStat {
    const digest: Digest = `sha256:${this.#hash.digest('hex')}`;
    return { digest, size: this.#size };
  }

  /** Resolves when the blob, as `end` told, is stored. */
  async store(blob: BlobStat): Promise<void> {
    await this.#target.finish(blob);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#target.close();
  }
}

/** A file in the store's staging folder. */
class FileTarget {
  readonly #blobs: LayerBlobs;
  readonly #file: string;
  #fd: number | undefined;
  #adopted = false;
  /** The write under way: closing its file under it would send its bytes to whatever is opened next. */
  #pending: Promise<void> | undefined;
  readonly #sync: EarlySync;

  constructor(blobs: LayerBlobs) {
    this.#blobs = blobs;
    this.#file = blobs.stage!();
    this.#fd = openSync(this.#file, 'wx');
    this.#sync = new EarlySync(this.#fd);
  }

  write(chunk: Uint8Array, position: number): Promise<void> {
    this.#pending = this.#write(chunk, position);
    return this.#pending;
  }

  async #write(chunk: Uint8Array, position: number): Promise<void> {
    try {
      for (let at = 0; at < chunk.length; ) {
        const { bytesWritten } = await writeAt(this.#fd!, chunk, at, chunk.length - at, position + at);
        at += bytesWritten;
      }
    } catch (error) {
      throw this.#failed(error);
    }
    this.#sync.wrote(chunk.length);
  }

  #failed(error: unknown): SlipwayError {
    const errno = errnoOf(error);
    const full = errno === 'ENOSPC' || errno === 'EDQUOT';
    return new SlipwayError(
      full ? 'DISK_FULL' : 'STORE',
      `the layer cannot be written to ${this.#file}: ${errno ?? String(error)}`,
      {
        ...(full && { hint: 'Free some space and try again.' }),
        cause: error,
      },
    );
  }

  async finish(blob: BlobStat): Promise<BlobStat> {
    const error = await this.#sync.settled();
    if (error !== undefined) throw this.#failed(error);
    this.#closeFile();
    const stat = await this.#blobs.adopt!(this.#file, blob);
    this.#adopted = true;
    return stat;
  }

  async close(): Promise<void> {
    await this.#pending?.catch(() => undefined);
    await this.#sync.settled();
    this.#closeFile();
    if (!this.#adopted) rmSync(this.#file, { force: true });
  }

  #closeFile(): void {
    if (this.#fd !== undefined) closeSync(this.#fd);
    this.#fd = undefined;
  }
}

/** `put` pulls; this side pushes. One chunk is on its way at a time. */
class PutTarget {
  readonly #stored: Promise<BlobStat>;
  #offered: { readonly chunk: Uint8Array; readonly taken: () => void } | 'end' | 'broken' | undefined;
  #wake: () => void = () => undefined;
  #failed: unknown;
  #finished = false;

  constructor(blobs: LayerBlobs, signal: AbortSignal | undefined) {
    this.#stored = blobs.put(this.#pulled(), {}, signal && { signal });
    this.#stored.catch((error: unknown) => {
      this.#failed = error;
      if (typeof this.#offered === 'object') this.#offered.taken();
    });
  }

  async *#pulled(): AsyncGenerator<Uint8Array, void, undefined> {
    for (;;) {
      if (this.#offered === undefined) await new Promise<void>((resolve) => (this.#wake = resolve));
      const offered = this.#offered;
      if (offered === 'end') return;
      if (offered === 'broken') throw new SlipwayError('CANCELLED', 'the layer was not finished');
      if (offered === undefined) continue;
      yield offered.chunk;
      // Asked for the next: this one is done with.
      this.#offered = undefined;
      offered.taken();
    }
  }

  #offer(offered: { readonly chunk: Uint8Array; readonly taken: () => void } | 'end' | 'broken'): void {
    this.#offered = offered;
    this.#wake();
  }

  async write(chunk: Uint8Array): Promise<void> {
    if (this.#failed !== undefined) throw this.#failed;
    if (chunk.length === 0) return;
    await new Promise<void>((taken) => this.#offer({ chunk, taken }));
    if (this.#failed !== undefined) throw this.#failed;
  }

  async finish(blob: BlobStat): Promise<BlobStat> {
    this.#finished = true;
    if (this.#failed === undefined) this.#offer('end');
    const stat = await this.#stored;
    if (stat.digest !== blob.digest || stat.size !== blob.size) {
      throw new SlipwayError('DIGEST_MISMATCH', `the store answers ${stat.digest} for a layer of digest ${blob.digest}`);
    }
    return stat;
  }

  async close(): Promise<void> {
    if (this.#finished) return;
    this.#finished = true;
    this.#offer('broken');
    await this.#stored.catch(() => undefined);
  }
}
