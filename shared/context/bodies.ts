// Where the contents of a context's files come from when a layer is written. The list says which bytes each file has; whoever reads a
// body checks them against the entry's digest, so a file that changed since the list was made is CONTEXT_CHANGED there.
import type { Body, Entry, FileState } from '../layer/entry.ts';
import { stateAt } from './stat-cache.ts';

export interface Bodies {
  /** The content of a file entry of size > 0, or of another name of one with its size and digest. */
  body(entry: Entry): Body | Promise<Body>;
}

/** Straight from the client's directory, without a copy: the embedded home. Made by walkDirectory. */
export class DirectoryBodies implements Bodies {
  readonly #root: string;
  readonly #states: FileStates;

  /** `root` is that of `Walked`: symlinks resolved. */
  constructor(root: string, states: FileStates) {
    this.#root = root;
    this.#states = states;
  }

  body(entry: Entry): Body {
    const path = entry.type === 'hardlink' ? entry.link! : entry.path;
    const state = this.#states.get(path);
    return { kind: 'file', path: `${this.#root}/${path}`, offset: 0, ...(state && { state }) };
  }
}

/** The states of many files, in one array of numbers: objects are made only for those that are asked for. */
export class FileStates {
  readonly #paths: string[] = [];
  readonly #numbers: number[] = [];
  #index: Map<string, number> | undefined;

  add({ path }: Entry, { dev, ino, size, mtimeMs, ctimeMs }: FileState): void {
    this.#paths.push(path);
    this.#numbers.push(dev, ino, size, mtimeMs, ctimeMs);
  }

  get(path: string): FileState | undefined {
    if (this.#index === undefined) {
      this.#index = new Map();
      for (const [i, known] of this.#paths.entries()) this.#index.set(known, i);
    }
    const at = this.#index.get(path);
    return at === undefined ? undefined : stateAt(this.#numbers, at);
  }
}
