// The tree that COPY, ADD and WORKDIR write into: the parent's files as they are known from lists, and over them what the layer has so
// far. At the end it gives the layer's entries: everything written, and the directories that lead there, with the attributes they have
// in the parent, as BuildKit's layers have them too.
import { SlipwayError } from '../errors.ts';
import type { Body, Entry, EntryWithBody } from '../layer/entry.ts';
import { opaqueName, whiteoutPrefix } from '../layer/entry.ts';
import { comparePaths } from '../tar/name.ts';
import type { Owner, ReadAccounts } from './copy-owner.ts';
import { type Lookup, resolvePath } from './tree-path.ts';

/** What is asked of the parent of a step: its merged tree. */
export interface DestinationTree extends Lookup {
  readonly content: ReadAccounts;
}

export const emptyTree: DestinationTree = { get: () => undefined, content: () => undefined };

/** Stands for one file of the source however many names it has. */
export type Inode = object;

/** Where the content of an entry comes from: one function for many files, with the entry that it is asked for. */
export interface Content {
  readonly of: Entry;
  readonly body: (entry: Entry) => Body | Promise<Body>;
}

export interface Written {
  readonly entry: Entry;
  readonly content?: Content;
  readonly inode?: Inode;
}

export interface NewDirectory {
  readonly mode: number;
  readonly owner: Owner;
  /** Seconds since 1970. */
  readonly mtime: number;
}

const parentOf = (path: string): string => path.slice(0, Math.max(0, path.lastIndexOf('/')));

/** `there` is what stands in the way. */
function failed(message: string, there: Entry): SlipwayError {
  const { path, type, link } = there;
  const is = type === 'dir' ? 'a directory' : type === 'symlink' ? `a symbolic link to ${link}` : `a ${kinds[type]}`;
  const instead = 'use another path, or remove it in a RUN before';
  // What docker's users meet when they copy a tree with a directory bin over an image whose /bin is a link.
  const through = type === 'symlink' ? `, or copy to ${link} by itself` : '';
  return new SlipwayError('STEP_FAILED', message, {
    hint: `/${path} is ${is} by then: ${instead}${through}.`,
    details: { path },
  });
}

const kinds = { file: 'file', hardlink: 'file', char: 'device', block: 'device', fifo: 'pipe' } as const;

export class Destination implements Lookup {
  readonly #parent: DestinationTree;
  readonly #written = new Map<string, Written>();
  /** Where what the parent has, and all it has below, does not show any more. */
  readonly #hidden = new Set<string>();
  /** Directories of the parent, so that what lies in new ones need not be asked for. */
  readonly #inParent = new Map<string, boolean>([['', true]]);

  constructor(parent: DestinationTree) {
    this.#parent = parent;
  }

  get(path: string): Entry | undefined {
    return this.#written.get(path)?.entry ?? this.#below(path);
  }

  /** What shows through of the parent. */
  #below(path: string): Entry | undefined {
    if (!this.#isInParent(parentOf(path))) return undefined;
    if (this.#hidden.size > 0) {
      for (let at = path; at !== ''; at = parentOf(at)) if (this.#hidden.has(at)) return undefined;
    }
    return this.#parent.get(path);
  }

  #isInParent(directory: string): boolean {
    const known = this.#inParent.get(directory);
    if (known !== undefined) return known;
    const found = this.#isInParent(parentOf(directory)) && this.#parent.get(directory)?.type === 'dir';
    this.#inParent.set(directory, found);
    return found;
  }

  /** What this layer has written at `path`. */
  own(path: string): Written | undefined {
    return this.#written.get(path);
  }

  isDirectory(path: string): boolean {
    return path === '' || this.get(path)?.type === 'dir';
  }

  /** Symlinks resolved inside `root`. */
  resolve(path: string, root = ''): string {
    return resolvePath(this, path, { root });
  }

  /** Makes what is missing of a resolved path, as `mkdir -p` does. What is there keeps its attributes; a file in the way is STEP_FAILED. */
  makeDirectories(path: string, { mode, owner, mtime }: NewDirectory): void {
    let at = '';
    for (const part of path === '' ? [] : path.split('/')) {
      at = at === '' ? part : `${at}/${part}`;
      const there = this.get(at);
      if (there?.type === 'dir') continue;
      if (there !== undefined) throw failed(`mkdir /${path}: /${at} is not a directory`, there);
      this.#put(at, { entry: { path: at, type: 'dir', mode, uid: owner.uid, gid: owner.gid, size: 0, mtime } });
    }
  }

  /** STEP_FAILED where there is anything but a directory. */
  refuseFile(path: string): void {
    const there = this.get(path);
    if (there !== undefined && there.type !== 'dir') throw failed(`cannot copy to non-directory: /${path}`, there);
  }

  /** Writes a directory's attributes, making it or changing the one there. */
  setDirectory(entry: Entry): void {
    this.refuseFile(entry.path);
    this.#put(entry.path, { entry });
  }

  /** Writes anything but a directory in place of any other such thing; a directory in the way is STEP_FAILED. */
  setFile(entry: Entry, given: { readonly content?: Content; readonly inode?: Inode } = {}): void {
    const there = this.get(entry.path);
    if (there?.type === 'dir') throw failed(`cannot replace to directory /${entry.path} with file`, there);
    const { content, inode } = given;
    this.#put(entry.path, { entry, ...(content && { content }), ...(inode && { inode }) });
  }

  /** Writes one more name of a file that this layer has written. */
  setName(entry: Entry, of: Written): void {
    const inode = of.inode ?? {};
    if (of.inode === undefined) this.#written.set(of.entry.path, { ...of, inode });
    this.setFile(entry, { ...of, inode });
  }

  /** Removes whatever is at `path` and below, so that something of another type can take the place. */
  clear(path: string): void {
    const wasDirectory = this.isDirectory(path);
    this.#written.delete(path);
    if (this.#below(path) !== undefined) this.#hidden.add(path);
    if (!wasDirectory) return;
    const below = `${path}/`;
    for (const known of this.#written.keys()) if (known.startsWith(below)) this.#written.delete(known);
  }

  #put(path: string, written: Written): void {
    const name = path.slice(path.lastIndexOf('/') + 1);
    if (name.startsWith(whiteoutPrefix)) {
      throw new SlipwayError('UNSUPPORTED', `/${path}: in a layer, names that begin with ${whiteoutPrefix} remove other files`, {
        hint: 'Rename it, or exclude it in .dockerignore or with --exclude.',
        details: { path },
      });
    }
    this.#written.set(path, written);
  }

  /**
   * The layer's entries, sorted. Where several names of one file were written, the first is the file, the others hard links to it. Each
   * is made when it is asked for, and kept by nobody: a layer may have very many.
   */
  entries(): AsyncIterable<EntryWithBody> {
    const all = new Map<string, Written>(this.#written);
    for (const path of this.#written.keys()) {
      for (let at = parentOf(path); at !== '' && !all.has(at); at = parentOf(at)) {
        const entry = this.#parent.get(at);
        if (entry === undefined) throw new SlipwayError('INTERNAL', `/${at} is missing above /${path}`);
        all.set(at, { entry });
      }
    }
    for (const path of this.#hidden) {
      // Anything but a directory hides what is below it by itself; a directory over a directory must say so.
      const entry = this.#written.get(path)?.entry;
      if (entry?.type !== 'dir' || this.#parent.get(path)?.type !== 'dir') continue;
      const marker = `${path}/${opaqueName}`;
      all.set(marker, { entry: { ...entry, path: marker, type: 'file', mode: 0o644 } });
    }
    const paths = [...all.keys()].sort(comparePaths);
    return withBodies(paths.map((path) => all.get(path)!));
  }
}

async function* withBodies(sorted: readonly Written[]): AsyncGenerator<EntryWithBody> {
  const first = new Map<Inode, string>();
  for (const { entry, content, inode } of sorted) {
    const link = inode === undefined ? undefined : first.get(inode);
    if (link !== undefined) {
      const { digest: _digest, ...rest } = entry;
      yield { entry: { ...rest, type: 'hardlink', size: 0, link } };
      continue;
    }
    if (inode !== undefined) first.set(inode, entry.path);
    if (content === undefined || entry.size === 0) {
      yield { entry };
      continue;
    }
    const made = content.body(content.of);
    yield { entry, body: made instanceof Promise ? await made : made };
  }
}
