// Walks a directory on this machine into a Context: synchronous calls, one lstat for each path that is not excluded, and hashing only
// for files that the stat cache does not know. Symlinks are never followed.
import { createHash } from 'node:crypto';
import { lstatSync, readdirSync, readlinkSync, realpathSync, type Stats, statSync } from 'node:fs';
import { join } from 'node:path';
import { errnoOf, SlipwayError, throwIfCancelled } from '../errors.ts';
import type { Entry, EntryType, FileState } from '../layer/entry.ts';
import { type Digest, sha256 } from '../oci/digest.ts';
import { comparePaths, decodeName, fsPath } from '../tar/name.ts';
import { type Bodies, DirectoryBodies, FileStates } from './bodies.ts';
import { type HashedFile, unreadable } from './hash-files.ts';
import type { Ignore, MatchState, Patterns } from './ignore.ts';
import { Context } from './list.ts';
import { type Needed, type NeededNode, neededPaths } from './needed.ts';
import { isRacy, StatCache, stateAt, stateOf } from './stat-cache.ts';

export interface WalkOptions {
  readonly ignore?: Ignore;
  /**
   * The sources of COPY and ADD as written, wildcards and all: only what they can touch is walked, and the context holds only that.
   * 'all' (the default) walks everything.
   */
  readonly needed?: Needed;
  /** File of the stat cache, see `statCacheFile`; without it every file is hashed. */
  readonly cache?: string;
  /** Milliseconds since 1970. */
  readonly now: () => number;
  readonly signal?: AbortSignal;
}

export interface Walked {
  readonly context: Context;
  readonly bodies: Bodies;
  /** The directory itself, symlinks resolved. */
  readonly root: string;
  /** Files by name, and bytes in them; what has several names counts once. */
  readonly files: number;
  readonly bytes: number;
  /** Files whose content was read. */
  readonly hashed: number;
}

/** Where the stat cache of a context root lives in a home. */
export const statCacheFile = (home: string, root: string): string =>
  join(home, 'contexts', `${createHash('sha256').update(root).digest('hex').slice(0, 40)}.stat`);

type Mutable<T> = { -readonly [K in keyof T]: T[K] };

const emptyDigest: Digest = sha256('');

const kinds = new Map<number, EntryType | 'socket'>([
  [0o100000, 'file'],
  [0o040000, 'dir'],
  [0o120000, 'symlink'],
  [0o020000, 'char'],
  [0o060000, 'block'],
  [0o010000, 'fifo'],
  [0o140000, 'socket'],
]);

/** makedev(3) of Linux, backwards. */
export const deviceOf = (rdev: number): { major: number; minor: number } => {
  const [low, high] = [rdev % 2 ** 32, Math.floor(rdev / 2 ** 32)];
  return { major: ((low >>> 8) & 0xfff) | (high & 0xffff_f000), minor: (low & 0xff) | ((low >>> 12) & 0xf_ff00) };
};

const astral = /[\ud800-\udfff]/;

/** The real path of a context directory. Missing, or not a directory: CONTEXT. */
export function contextRoot(directory: string): string {
  try {
    const root = realpathSync(directory);
    if (statSync(root).isDirectory()) return root;
  } catch (error) {
    const errno = errnoOf(error);
    const why = errno === 'ENOENT' ? 'does not exist' : `cannot be read (${errno})`;
    throw new SlipwayError('CONTEXT', `the build context ${directory} ${why}`, { cause: error });
  }
  throw new SlipwayError('CONTEXT', `the build context ${directory} is not a directory`, {
    hint: 'Name the directory that holds the files to copy; the Dockerfile is named with -f.',
  });
}

/** The names in a directory, as decodeName spells them. */
function namesIn(absolute: string, path: string): string[] {
  try {
    const names = readdirSync(fsPath(absolute));
    if (!names.some((name) => name.includes('\ufffd'))) return names;
    // Node replaced bytes that are no UTF-8, or a name really has a U+FFFD: the raw names tell.
    return readdirSync(fsPath(absolute), { encoding: 'buffer' }).map(decodeName);
  } catch (error) {
    throw unreadable(path === '' ? '.' : path, error);
  }
}

/** A place in the order of paths: that of an entry itself (`name`), or of everything below a directory (`name/`). */
interface Step {
  readonly key: string;
  readonly entry: Mutable<Entry>;
  readonly inside?: { readonly absolute: string; readonly state: MatchState | undefined; readonly needed: NeededNode };
  readonly excluded: boolean;
}

class Walk {
  readonly cache: StatCache | undefined;
  readonly entries: Mutable<Entry>[] = [];
  /** Of files whose digest can be trusted as long as they are in this state. */
  readonly states = new FileStates();
  /** Files with other names somewhere, maybe in the context: they are looked at when all names are known and in order. */
  readonly shared: (readonly [entry: Mutable<Entry>, state: FileState, inode: number | bigint])[] = [];
  /** Later names, with the entry of the first. */
  readonly links: (readonly [name: Mutable<Entry>, file: Mutable<Entry>])[] = [];
  /** Files whose digest is not known: their entries, states (`stateNumbers` each), and when the walk came by. */
  readonly toHash = { entries: [] as Mutable<Entry>[], states: [] as number[], started: [] as number[] };
  /** Excluded directories below which nothing was included again. */
  readonly dropped = new Set<Entry>();
  readonly #options: WalkOptions;
  readonly #patterns: Patterns | undefined;
  files = 0;
  bytes = 0;

  constructor(options: WalkOptions) {
    this.#options = options;
    this.#patterns = options.ignore?.patterns;
    this.cache = options.cache === undefined ? undefined : StatCache.load(options.cache);
  }

  /** Appends everything below a directory in path order; answers whether there was anything. */
  directory(absolute: string, path: string, parent: MatchState | undefined, needed: NeededNode): boolean {
    throwIfCancelled(this.#options.signal);
    const steps = this.#look(absolute, path, parent, needed);
    if (steps.some((step) => astral.test(step.key))) steps.sort((a, b) => comparePaths(a.key, b.key));
    else steps.sort((a, b) => (a.key < b.key ? -1 : 1));
    let any = false;
    for (const { entry, inside, excluded } of steps) {
      if (inside === undefined) {
        this.entries.push(entry);
        if (!excluded) any = true;
      } else if (this.directory(inside.absolute, entry.path, inside.state, inside.needed)) {
        any = true;
      } else if (excluded) {
        this.dropped.add(entry);
      }
    }
    return any;
  }

  #look(absolute: string, path: string, parent: MatchState | undefined, needed: NeededNode): Step[] {
    const patterns = this.#patterns;
    const prefix = path === '' ? '' : `${path}/`;
    const names = needed === 'all' ? namesIn(absolute, path) : needed.children.keys();
    const steps: Step[] = [];
    for (const name of names) {
      const child = prefix + name;
      const file = `${absolute}/${name}`;
      let state: MatchState | undefined;
      let excluded = false;
      if (patterns !== undefined) {
        state = new Uint8Array(patterns.size);
        excluded = patterns.excludes(child, parent, state);
        // What is excluded for good is not even looked at: it may be unreadable.
        if (excluded && !patterns.mayReinclude(child)) continue;
      }
      let stat: Stats | undefined;
      try {
        stat = lstatSync(fsPath(file), { throwIfNoEntry: false });
      } catch (error) {
        throw unreadable(child, error);
      }
      // Gone since the directory was read: as if it had never been there.
      if (stat === undefined) continue;
      const type = kinds.get(stat.mode & 0o170000);
      if (type === 'dir') {
        const entry = this.#entryOf(file, child, stat, type);
        const below = needed === 'all' ? 'all' : needed.children.get(name)!;
        steps.push({ key: name, entry, excluded });
        steps.push({ key: `${name}/`, entry, excluded, inside: { absolute: file, state, needed: below } });
      } else if (!excluded && type !== undefined && type !== 'socket') {
        steps.push({ key: name, entry: this.#entryOf(file, child, stat, type), excluded });
      }
    }
    return steps;
  }

  #entryOf(absolute: string, path: string, stat: Stats, type: EntryType): Mutable<Entry> {
    const mtime = Math.floor(stat.mtimeMs / 1000);
    const entry: Mutable<Entry> = { path, type, mode: stat.mode & 0o7777, uid: 0, gid: 0, size: 0, mtime };
    if (type === 'file') {
      this.files++;
      if (stat.nlink > 1) this.shared.push([entry, stateOf(stat), exactInode(absolute, path, stat)]);
      else this.#file(entry, stat);
    } else if (type === 'symlink') {
      entry.link = linkOf(absolute, path);
      entry.mode = 0o777;
    } else if (type === 'char' || type === 'block') {
      Object.assign(entry, deviceOf(stat.rdev));
    }
    return entry;
  }

  /** Size and digest of a file; the digest comes later where it has to be computed. */
  #file(entry: Mutable<Entry>, state: FileState): void {
    entry.size = state.size;
    this.bytes += entry.size;
    entry.digest = state.size === 0 ? emptyDigest : this.cache?.lookup(entry.path, state);
    if (entry.digest !== undefined) {
      this.states.add(entry, state);
    } else {
      this.toHash.entries.push(entry);
      this.toHash.states.push(state.dev, state.ino, state.size, state.mtimeMs, state.ctimeMs);
      this.toHash.started.push(this.#options.now());
    }
  }

  /** Of the names of one file, the first in path order is the file, and the others are hard links to it. */
  joinNames(): void {
    const first = new Map<number, Map<number | bigint, Mutable<Entry>>>();
    this.shared.sort(([a], [b]) => comparePaths(a.path, b.path));
    for (const [entry, state, inode] of this.shared) {
      const device = first.get(state.dev) ?? new Map<number | bigint, Mutable<Entry>>();
      first.set(state.dev, device);
      const file = device.get(inode);
      if (file === undefined) {
        device.set(inode, entry);
        this.#file(entry, state);
      } else {
        entry.type = 'hardlink';
        entry.link = file.path;
        this.links.push([entry, file]);
      }
    }
  }
}

/** Some filesystems use all 64 bits, of which a double would make two files one. */
function exactInode(absolute: string, path: string, stat: Stats): number | bigint {
  if (Number.isSafeInteger(stat.ino)) return stat.ino;
  try {
    return lstatSync(fsPath(absolute), { bigint: true }).ino;
  } catch (error) {
    throw unreadable(path, error);
  }
}

function linkOf(absolute: string, path: string): string {
  try {
    return decodeName(readlinkSync(fsPath(absolute), { encoding: 'buffer' }));
  } catch (error) {
    throw unreadable(path, error);
  }
}

/**
 * The files below `directory` as a context. Missing or unreadable things are CONTEXT, naming the path; a file that keeps changing is
 * CONTEXT_CHANGED. The stat cache is written before this resolves.
 */
export async function walkDirectory(directory: string, options: WalkOptions): Promise<Walked> {
  const root = contextRoot(directory);
  const needed = neededPaths(root, options.needed ?? 'all');
  const walk = new Walk(options);
  walk.directory(root, '', undefined, needed);
  walk.joinNames();
  const { cache, toHash } = walk;
  let { bytes } = walk;
  const count = toHash.entries.length;
  if (count > 0) {
    const { hashFiles } = await import('./hash-pool.ts');
    const states = Float64Array.from(toHash.states);
    const found = (index: number, digest: Digest, changed: HashedFile | undefined): void => {
      const entry = toHash.entries[index]!;
      const started = toHash.started[index]!;
      entry.digest = digest;
      if (changed !== undefined) {
        // It changed between the walk and its hashing: what was hashed is what the list says.
        bytes += changed.state.size - entry.size;
        entry.size = changed.state.size;
        entry.mode = changed.mode;
        entry.mtime = Math.floor(changed.state.mtimeMs / 1000);
      }
      const state = changed?.state ?? stateAt(states, index);
      cache?.record(entry.path, state, digest, started);
      if (!isRacy(state, started)) walk.states.add(entry, state);
    };
    await hashFiles({ root, paths: toHash.entries.map(({ path }) => path), states }, found, options.signal);
  }
  // What was hashed may be younger than what the walk saw of the other names.
  for (const [name, file] of walk.links) Object.assign(name, { mode: file.mode, mtime: file.mtime });
  cache?.save((path) => isWalked(needed, path));
  const entries = walk.dropped.size === 0 ? walk.entries : walk.entries.filter((entry) => !walk.dropped.has(entry));
  const { ignore } = options;
  const context = new Context(entries, ignore === undefined ? undefined : { file: ignore.file, lines: ignore.lines });
  return { context, bodies: new DirectoryBodies(root, walk.states), root, files: walk.files, bytes, hashed: count };
}

/** Whether the walk would have come by `path` if it were there. */
function isWalked(needed: NeededNode, path: string): boolean {
  let node: NeededNode | undefined = needed;
  for (const name of path.split('/')) {
    if (node === 'all') return true;
    node = node?.children.get(name);
    if (node === undefined) return false;
  }
  return true;
}
