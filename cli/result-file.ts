// A file that a command leaves beside its result: --iidfile and --metadata-file of a build.
import { accessSync, constants, rmSync, statSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { errnoOf, SlipwayError } from '../shared/errors.ts';

export class ResultFile {
  readonly #path: string;

  constructor(path: string) {
    this.#path = path;
  }

  /**
   * Before the work: what cannot be written is told now, and what an earlier command left is removed, as docker does, so that nobody
   * takes it for the result of one that failed. USAGE.
   */
  prepare(): void {
    this.#telling(() => {
      const there = statSync(this.#path, { throwIfNoEntry: false });
      if (there === undefined) accessSync(dirname(this.#path), constants.W_OK);
      else if (there.isFile()) rmSync(this.#path);
      else accessSync(this.#path, constants.W_OK);
    });
  }

  /** DISK_FULL, or USAGE when it cannot be written. */
  write(text: string): void {
    this.#telling(() => writeFileSync(this.#path, text));
  }

  #telling(work: () => void): void {
    try {
      work();
    } catch (cause) {
      const errno = errnoOf(cause);
      if (errno === undefined) throw cause;
      throw new SlipwayError(errno === 'ENOSPC' ? 'DISK_FULL' : 'USAGE', `cannot write ${this.#path}: ${errno}`, { cause });
    }
  }
}
