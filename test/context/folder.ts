// A throw-away directory for tests, filled from a description.
import {
  chmodSync,
  mkdirSync,
  mkdtempSync,
  realpathSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';

/** Long enough ago that the stat cache does not call a file racy for its mtime. */
export const longAgo = 1_600_000_000;

export class Folder implements Disposable {
  readonly path = realpathSync(mkdtempSync(join(tmpdir(), 'slipway-context-')));

  constructor(files: Readonly<Record<string, string>> = {}) {
    for (const [name, text] of Object.entries(files)) this.write(name, text);
  }

  at(name: string): string {
    return join(this.path, name);
  }

  /**
   * A name ending in `/` is a directory, a text starting with `-> ` a symlink. What is written again is seen to have changed: not before the
   * filesystem's clock, which goes by steps of some milliseconds, has gone on.
   */
  write(name: string, text: string | Uint8Array, mode?: number): void {
    const file = this.at(name);
    const before = statSync(file, { throwIfNoEntry: false })?.ctimeMs;
    if (name.endsWith('/')) {
      mkdirSync(file, { recursive: true });
    } else {
      mkdirSync(dirname(file), { recursive: true });
      if (typeof text === 'string' && text.startsWith('-> ')) {
        symlinkSync(text.slice(3), file);
        return;
      }
      writeFileSync(file, text);
    }
    if (mode !== undefined) chmodSync(file, mode);
    do utimesSync(file, longAgo, longAgo);
    while (statSync(file).ctimeMs === before);
  }

  remove(name: string): void {
    rmSync(this.at(name), { recursive: true });
  }

  [Symbol.dispose](): void {
    rmSync(this.path, { recursive: true, force: true });
  }
}
