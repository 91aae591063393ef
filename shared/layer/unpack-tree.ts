// Puts the entries of one layer on disk, synchronously. Nothing outside the directory is ever touched: every parent is a directory that
// was made or looked at here, and a symbolic link in the way is an error, never followed.
import {
  chmodSync,
  closeSync,
  constants,
  fchmodSync,
  fchownSync,
  futimesSync,
  lchownSync,
  linkSync,
  lstatSync,
  lutimesSync,
  mkdirSync,
  openSync,
  readdirSync,
  rmSync,
  symlinkSync,
  utimesSync,
  writeSync,
} from 'node:fs';
import { errnoOf, SlipwayError } from '../errors.ts';
import { comparePaths, decodeName, encodeName, fsPath } from '../tar/name.ts';
import type { TarHandler } from '../tar/parse.ts';
import type { Entry } from './entry.ts';
import { whiteoutOf } from './toc-builder.ts';

export interface UnpackOptions {
  /**
   * `overlay`: an empty directory becomes a lower directory of overlayfs. `plain`: the change set is applied to the tree that is there.
   */
  readonly mode: 'overlay' | 'plain';
  /** Whether owners and devices are set, which takes root. By default when this process is root. */
  readonly owners?: boolean;
  /** For directories that the layer implies but does not hold: what they were below. By default 0755, root. */
  readonly implied?: (path: string) => Pick<Entry, 'mode' | 'uid' | 'gid' | 'mtime'> | undefined;
}

/** What Node's fs cannot make: left for node-maker.ts, after the rest is in place. */
export interface Leftovers {
  /** Devices, fifos, and whiteouts as devices 0:0. */
  readonly nodes: readonly Entry[];
  readonly xattrs: readonly { readonly path: string; readonly xattrs: Readonly<Record<string, string>> }[];
  /** Directories whose lower children are hidden. */
  readonly opaque: readonly string[];
}

const create = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW;

/** Node takes a number below zero, a time before 1970, for now; not so a Date. */
const timeOf = ({ mtime }: Pick<Entry, 'mtime'>): number | Date => (mtime < 0 ? new Date(mtime * 1000) : mtime);

export class TreeUnpacker implements TarHandler {
  readonly #root: string;
  readonly #plain: boolean;
  readonly #owners: boolean;
  readonly #implied: UnpackOptions['implied'];
  readonly #umask = process.umask();
  readonly #uid = process.geteuid?.() ?? 0;
  readonly #gid = process.getegid?.() ?? 0;
  /** Known to be directories, with no link on the way. */
  readonly #dirs = new Set<string>(['']);
  /** Their attributes, set when nothing is put into them any more. */
  readonly #dirEntries = new Map<string, Pick<Entry, 'path' | 'mode' | 'uid' | 'gid' | 'mtime'>>();
  readonly #impliedDirs: string[] = [];
  /** Plain: what this layer has made, which its own whiteouts do not remove. */
  readonly #made = new Set<string>();
  readonly #removed: string[] = [];
  readonly #opaque: string[] = [];
  readonly #nodes = new Map<string, Entry>();
  readonly #xattrs = new Map<string, Readonly<Record<string, string>>>();
  #file: { readonly fd: number; readonly entry: Entry } | undefined;
  #skipping = false;

  constructor(root: string, options: UnpackOptions) {
    this.#root = root;
    this.#plain = options.mode === 'plain';
    this.#owners = options.owners ?? process.geteuid?.() === 0;
    this.#implied = options.implied;
  }

  /** Directories that had to be made although the layer has no entry for them. */
  get impliedDirs(): readonly string[] {
    return this.#impliedDirs;
  }

  entry(entry: Entry): void {
    try {
      this.#put(entry);
    } catch (error) {
      throw named(error, entry.path);
    }
  }

  data(slice: Uint8Array): void {
    const { fd, entry } = this.#file ?? {};
    if (fd === undefined || entry === undefined) return;
    try {
      for (let at = 0; at < slice.length; ) at += writeSync(fd, slice, at);
    } catch (error) {
      throw named(error, entry.path);
    }
  }

  end(): void {
    if (this.#skipping) {
      this.#skipping = false;
      return;
    }
    const { fd, entry } = this.#file!;
    try {
      this.#seal(fd, entry);
    } catch (error) {
      throw named(error, entry.path);
    }
  }

  /** Closes what is open after a failure. */
  abandon(): void {
    if (this.#file !== undefined) closeSync(this.#file.fd);
    this.#file = undefined;
  }

  /** Resolves whiteouts, once all entries are there. */
  leftovers(): Leftovers {
    const opaque = new Set<string>();
    for (const path of this.#opaque) {
      this.#checkDir(path);
      if (this.#plain) this.#removeLower(path, true);
      else opaque.add(path);
    }
    for (const path of this.#removed) {
      if (this.#nodes.has(path)) continue;
      this.#checkDir(parentOf(path));
      if (this.#plain) {
        this.#removeLower(path, false);
        continue;
      }
      const there = lstatSync(this.#at(path), { throwIfNoEntry: false });
      if (there === undefined) this.#nodes.set(path, { ...whiteoutNode, path });
      // Removed and there again: a file hides what was below by itself, a directory must say so.
      else if (there.isDirectory()) opaque.add(path);
    }
    const byPath = <T extends { readonly path: string }>(a: T, b: T) => comparePaths(a.path, b.path);
    return {
      nodes: [...this.#nodes.values()].sort(byPath),
      xattrs: [...this.#xattrs].map(([path, xattrs]) => ({ path, xattrs })).sort(byPath),
      opaque: [...opaque].sort(comparePaths),
    };
  }

  /** Gives directories their attributes, the deepest first: from here on nothing may be put into them. */
  finishDirs(): void {
    const entries = [...this.#dirEntries.values()].sort((a, b) => comparePaths(b.path, a.path));
    for (const entry of entries) {
      const at = this.#at(entry.path);
      try {
        if (this.#owners && (this.#plain || entry.uid !== this.#uid || entry.gid !== this.#gid))
          lchownSync(at, entry.uid, entry.gid);
        chmodSync(at, entry.mode);
        utimesSync(at, timeOf(entry), timeOf(entry));
      } catch (error) {
        throw named(error, entry.path);
      }
    }
  }

  #at(path: string): string | Buffer {
    if (path === '') return this.#root;
    const at = `${this.#root}/${path}`;
    return path.isWellFormed() ? at : Buffer.concat([Buffer.from(`${this.#root}/`), encodeName(path)]);
  }

  #put(entry: Entry): void {
    const { path, type } = entry;
    const whiteout = whiteoutOf(path);
    if (whiteout !== undefined) {
      this.#skipping = entry.size > 0;
      if ('hidesBelow' in whiteout) this.#opaque.push(whiteout.hidesBelow);
      else if (whiteout.removes !== '') this.#removed.push(whiteout.removes);
      return;
    }
    if (type === 'dir') {
      this.#checkDir(parentOf(path));
      if (path !== '') this.#makeDir(path);
      this.#dirEntries.set(path, entry);
      this.#noteXattrs(entry);
      return;
    }
    this.#checkDir(parentOf(path));
    if (this.#nodes.delete(path) || this.#dirs.has(path)) this.#clear(path);
    if (this.#plain) this.#made.add(path);
    switch (type) {
      case 'file': {
        // Bits outside the permissions are for #seal: a change of owner would drop them.
        const fd = this.#replacing(path, () => openSync(this.#at(path), create, entry.mode & 0o777 & ~this.#umask));
        this.#file = { fd, entry };
        if (entry.size === 0) this.#seal(fd, entry);
        break;
      }
      case 'symlink':
        this.#replacing(path, () => symlinkSync(fsPath(entry.link ?? ''), this.#at(path)));
        if (this.#chowns(entry)) lchownSync(this.#at(path), entry.uid, entry.gid);
        lutimesSync(this.#at(path), timeOf(entry), timeOf(entry));
        break;
      case 'hardlink':
        this.#link(path, entry.link ?? '');
        // Its attributes are those of the file it is another name of.
        return;
      default:
        if (lstatSync(this.#at(path), { throwIfNoEntry: false }) !== undefined) this.#clear(path);
        this.#nodes.set(path, entry);
    }
    this.#noteXattrs(entry);
  }

  #noteXattrs({ path, xattrs }: Entry): void {
    if (xattrs !== undefined && Object.keys(xattrs).length > 0) this.#xattrs.set(path, xattrs);
    else this.#xattrs.delete(path);
  }

  #chowns({ uid, gid }: Entry): boolean {
    return this.#owners && (this.#plain || uid !== this.#uid || gid !== this.#gid);
  }

  /** Owner before mode (chown clears setuid), times last. */
  #seal(fd: number, entry: Entry): void {
    this.#file = undefined;
    try {
      const chowns = this.#chowns(entry);
      if (chowns) fchownSync(fd, entry.uid, entry.gid);
      if (chowns || (entry.mode & 0o777 & ~this.#umask) !== entry.mode) fchmodSync(fd, entry.mode);
      futimesSync(fd, timeOf(entry), timeOf(entry));
    } finally {
      closeSync(fd);
    }
  }

  #link(path: string, target: string): void {
    if (target === path) throw new SlipwayError('INVALID_ARCHIVE', `${path}: a hard link to itself`);
    this.#checkDir(parentOf(target), false);
    const node = this.#nodes.get(target);
    if (node !== undefined) {
      // The target is not there yet. Another node of the same kind differs from a link only in its link count.
      this.#nodes.set(path, { ...node, path });
      return;
    }
    try {
      this.#replacing(path, () => linkSync(this.#at(target), this.#at(path)));
    } catch (error) {
      if (errnoOf(error) !== 'ENOENT' && errnoOf(error) !== 'EPERM') throw error;
      throw new SlipwayError('INVALID_ARCHIVE', `${path}: a hard link to "${target}", which is no file of this layer`, {
        cause: error,
      });
    }
  }

  /** Does `make`; what stood there before goes first. */
  #replacing<T>(path: string, make: () => T): T {
    try {
      return make();
    } catch (error) {
      if (errnoOf(error) !== 'EEXIST') throw error;
      this.#clear(path);
      return make();
    }
  }

  #clear(path: string): void {
    rmSync(this.#at(path), { recursive: true, force: true });
    if (!this.#dirs.has(path)) return;
    const below = `${path}/`;
    for (const known of [this.#dirs, this.#dirEntries, this.#nodes, this.#xattrs, this.#made]) {
      for (const key of known.keys()) if (key === path || key.startsWith(below)) known.delete(key);
    }
  }

  #makeDir(path: string): void {
    if (this.#plain) this.#made.add(path);
    if (this.#dirs.has(path)) return;
    if (this.#nodes.delete(path)) this.#dirs.delete(path);
    try {
      mkdirSync(this.#at(path), 0o700);
    } catch (error) {
      if (errnoOf(error) !== 'EEXIST') throw error;
      if (!lstatSync(this.#at(path)).isDirectory()) {
        this.#clear(path);
        mkdirSync(this.#at(path), 0o700);
      }
    }
    this.#dirs.add(path);
  }

  /** Makes sure that `path` is a directory reached through directories; missing ones are made, unless told not to. */
  #checkDir(path: string, make = true): void {
    if (this.#dirs.has(path)) return;
    this.#checkDir(parentOf(path), make);
    if (this.#nodes.has(path)) throw throughNoDir(path, 'a device or fifo');
    const there = lstatSync(this.#at(path), { throwIfNoEntry: false });
    if (there === undefined) {
      if (!make) throw new SlipwayError('INVALID_ARCHIVE', `"${path}" is no directory of this layer`);
      mkdirSync(this.#at(path), 0o755);
      this.#impliedDirs.push(path);
      if (this.#plain) this.#made.add(path);
      this.#dirEntries.set(path, { path, mode: 0o755, uid: 0, gid: 0, mtime: 0, ...this.#implied?.(path) });
    } else if (!there.isDirectory()) {
      throw throughNoDir(path, there.isSymbolicLink() ? 'a symbolic link' : 'a file');
    }
    this.#dirs.add(path);
  }

  /** Plain: removes what was there before this layer, at `path` or only below it. */
  #removeLower(path: string, onlyBelow: boolean): void {
    const there = lstatSync(this.#at(path), { throwIfNoEntry: false });
    if (there === undefined) return;
    if (!onlyBelow && !this.#made.has(path)) {
      this.#clear(path);
      return;
    }
    if (!there.isDirectory()) return;
    for (const name of readdirSync(this.#at(path), { encoding: 'buffer' })) {
      const child = decodeName(name);
      this.#removeLower(path === '' ? child : `${path}/${child}`, false);
    }
  }
}

const whiteoutNode = { type: 'char', mode: 0, uid: 0, gid: 0, size: 0, mtime: 0, major: 0, minor: 0 } as const;

const parentOf = (path: string): string => {
  const slash = path.lastIndexOf('/');
  return slash < 0 ? '' : path.slice(0, slash);
};

const throughNoDir = (path: string, what: string) =>
  new SlipwayError('UNSAFE_PATH', `"${path}" is ${what}, but the layer has entries below it`, {
    hint: 'A well-made layer holds a directory before what is in it.',
    details: { path },
  });

function named(error: unknown, path: string): unknown {
  const errno = errnoOf(error);
  if (error instanceof SlipwayError || errno === undefined) return error;
  if (errno === 'ENOSPC' || errno === 'EDQUOT') {
    return new SlipwayError('DISK_FULL', `no space left to unpack ${path}`, {
      hint: 'Free some space and try again.',
      cause: error,
    });
  }
  const hint = errno === 'EPERM' ? { hint: 'Setting owners takes root.' } : {};
  return new SlipwayError('STORE', `${path} cannot be unpacked: ${error instanceof Error ? error.message : errno}`, {
    ...hint,
    cause: error,
  });
}
