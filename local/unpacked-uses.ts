// Which unpacked layers the processes of a home work with: a file a process, named after it, with a name a line. It goes with the process;
// that of a process which was killed counts for nothing.
import { closeSync, mkdirSync, openSync, readdirSync, readFileSync, unlinkSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { errnoOf } from '../shared/errors.ts';
import type { LayerUses } from '../shared/layer/unpacked.ts';
import { guard } from '../shared/store/disk-io.ts';
import { isDead, ownedName } from './leftovers.ts';

const prefix = 'using-';

export class UnpackedUses implements LayerUses, Disposable {
  readonly #root: string;
  readonly #file: string;
  readonly #held = new Set<string>();
  #descriptor: number | undefined;

  /** `id` makes the file's name this instance's. */
  constructor(root: string, id: string) {
    this.#root = root;
    this.#file = join(root, `${prefix}${ownedName(id)}`);
  }

  /** STORE, or DISK_FULL, when it cannot be written down. */
  hold(name: string): void {
    if (this.#held.has(name)) return;
    guard(this.#file, () => {
      if (this.#descriptor === undefined) {
        mkdirSync(this.#root, { recursive: true, mode: 0o700 });
        this.#descriptor = openSync(this.#file, 'ax', 0o600);
      }
      writeSync(this.#descriptor, `${name}\n`);
    });
    this.#held.add(name);
  }

  isHeld(name: string): boolean {
    return readdirSync(this.#root)
      .filter((entry) => entry.startsWith(prefix) && !isDead(entry.slice(prefix.length), join(this.#root, entry)))
      .some((entry) => linesOf(join(this.#root, entry)).includes(name));
  }

  [Symbol.dispose](): void {
    if (this.#descriptor === undefined) return;
    closeSync(this.#descriptor);
    this.#descriptor = undefined;
    unlinkSync(this.#file);
  }
}

function linesOf(file: string): readonly string[] {
  try {
    return readFileSync(file, 'utf8').split('\n');
  } catch (error) {
    // Its process has ended meanwhile.
    if (errnoOf(error) === 'ENOENT') return [];
    throw error;
  }
}
