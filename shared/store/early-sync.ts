// Has the disk work on a file while it is still being written, so that little is left to wait for when it must be durable.
import { fdatasync } from 'node:fs';

/** Bytes after which a sync begins, if none is under way. */
const syncEvery = 8 * 1024 * 1024;

export class EarlySync {
  readonly #fd: number;
  #unsynced = 0;
  #syncing: Promise<void> | undefined;
  #error: unknown;

  constructor(fd: number) {
    this.#fd = fd;
  }

  /** So many more bytes are in the file. */
  wrote(bytes: number): void {
    this.#unsynced += bytes;
    if (this.#unsynced < syncEvery || this.#syncing !== undefined) return;
    this.#unsynced = 0;
    this.#syncing = new Promise((resolve) => {
      fdatasync(this.#fd, (error) => {
        this.#syncing = undefined;
        // The kernel tells of a lost write once: a later sync of the same file may well succeed.
        this.#error ??= error ?? undefined;
        resolve();
      });
    });
  }

  /** Nothing is under way any more: the file may be closed. Answers the error of a sync that failed, at whatever time. */
  async settled(): Promise<unknown> {
    await this.#syncing;
    return this.#error;
  }
}
