// Where the contents of a context's files come from when a layer is written. The list says which bytes each file has; whoever reads a
// body checks them against the entry's digest, so a file that changed since the list was made is CONTEXT_CHANGED there.
import type { Body, Entry } from '../layer/entry.ts';

export interface Bodies {
  /** The content of a file entry of size > 0. */
  body(entry: Entry): Body | Promise<Body>;
}

/** Straight from the client's directory, without a copy: the embedded home. */
export class DirectoryBodies implements Bodies {
  readonly #root: string;

  /** `root` is that of `Walked`: symlinks resolved. */
  constructor(root: string) {
    this.#root = root;
  }

  body(entry: Entry): Body {
    return { kind: 'file', path: `${this.#root}/${entry.path}`, offset: 0 };
  }
}
