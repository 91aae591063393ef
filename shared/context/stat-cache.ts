// Digests of files that have not changed since they were last hashed: what makes the second walk of a context cheap. A file counts as
// unchanged when device, inode, size, mtime and ctime are what they were. One binary file per context root:
//
//   8 bytes  magic and version          4 bytes  number of records, n        4 bytes  length of the paths
//   5 x n    doubles in columns: dev, ino, size, mtimeMs, ctimeMs (little endian)
//   64 x n   hexadecimal SHA-256
//   paths    UTF-8, separated by zero bytes
//   32       SHA-256 of all that comes before
//
// Times are Node's milliseconds with a fraction: a double holds them to a quarter of a microsecond, far below the tick of a kernel's
// clock, and costs a third of the BigInts.
//
// The racy rule, as git has it: a file can be changed without a change of its times when that happens within one tick of the
// filesystem's clock. So a file whose times lie so close before the moment it was hashed is not recorded, and is hashed again next time.
import { createHash } from 'node:crypto';
import { mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { errnoOf, SlipwayError } from '../errors.ts';
import type { FileState } from '../layer/entry.ts';
import type { Digest } from '../oci/digest.ts';

export const stateOf = ({ dev, ino, size, mtimeMs, ctimeMs }: FileState): FileState => ({ dev, ino, size, mtimeMs, ctimeMs });

export const sameState = (a: FileState, b: FileState): boolean =>
  a.size === b.size && a.mtimeMs === b.mtimeMs && a.ctimeMs === b.ctimeMs && a.ino === b.ino && a.dev === b.dev;

/** Numbers that a state is kept as: dev, ino, size, mtimeMs, ctimeMs. */
export const stateNumbers = 5;

export const stateAt = (states: ArrayLike<number>, index: number): FileState => {
  const at = index * stateNumbers;
  return {
    dev: states[at]!,
    ino: states[at + 1]!,
    size: states[at + 2]!,
    mtimeMs: states[at + 3]!,
    ctimeMs: states[at + 4]!,
  };
};

const magic = Buffer.from('slipst\0\x01', 'latin1');
const headBytes = 16;
const columns = stateNumbers;
const hexLength = 64;
const sumBytes = 32;

// Filesystems with second-granular times (FAT: two seconds) show it by times without a fraction; all others tick at the kernel's clock.
const coarseMs = 2000;
const fineMs = 100;

/** Whether a file hashed at `hashedMs` could have changed since without showing it. */
export const isRacy = (state: FileState, hashedMs: number): boolean => {
  const newest = Math.max(state.ctimeMs, state.mtimeMs);
  return newest > hashedMs - (newest % 1000 === 0 ? coarseMs : fineMs);
};

interface Loaded {
  readonly states: Float64Array;
  readonly count: number;
  /** All hexadecimal digests, one after the other. */
  readonly digests: string;
  readonly paths: readonly string[];
  readonly index: ReadonlyMap<string, number>;
}

function read(file: string): Loaded | undefined {
  let bytes: Buffer;
  try {
    bytes = readFileSync(file);
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return undefined;
    throw new SlipwayError('STORE', `cannot read ${file}: ${errnoOf(error)}`, { cause: error });
  }
  // Anything that is not exactly what `save` wrote is as good as nothing: files are then hashed again.
  if (bytes.length < headBytes + sumBytes || !bytes.subarray(0, magic.length).equals(magic)) return undefined;
  const body = bytes.subarray(0, bytes.length - sumBytes);
  if (!createHash('sha256').update(body).digest().equals(bytes.subarray(body.length))) return undefined;
  const count = bytes.readUInt32LE(8);
  const pathBytes = bytes.readUInt32LE(12);
  const digestsAt = headBytes + 8 * columns * count;
  const pathsAt = digestsAt + hexLength * count;
  if (pathsAt + pathBytes !== body.length) return undefined;
  const states = new Float64Array(columns * count);
  new Uint8Array(states.buffer).set(bytes.subarray(headBytes, digestsAt));
  const digests = bytes.toString('latin1', digestsAt, pathsAt);
  const paths = count === 0 ? [] : bytes.toString('utf8', pathsAt, body.length).split('\0');
  const index = new Map<string, number>();
  for (let i = 0; i < count; i++) index.set(paths[i]!, i);
  return { states, count, digests, paths, index };
}

export class StatCache {
  readonly #file: string;
  readonly #old: Loaded | undefined;
  /** What was recorded, in columns like the file: as objects, many files would take many times the memory. */
  readonly #added = { paths: [] as string[], digests: [] as Digest[], states: [] as number[] };
  /** Old records that were asked for and still hold. */
  readonly #kept: Uint8Array;
  #hits = 0;

  private constructor(file: string, old: Loaded | undefined) {
    this.#file = file;
    this.#old = old;
    this.#kept = new Uint8Array(old?.count ?? 0);
  }

  /** Absent and damaged files are empty caches. */
  static load(file: string): StatCache {
    return new StatCache(file, read(file));
  }

  /** The digest of the file at `path` when it is known and its state is unchanged. */
  lookup(path: string, state: FileState): Digest | undefined {
    const old = this.#old;
    const i = old?.index.get(path);
    if (old === undefined || i === undefined) return undefined;
    const { states, count } = old;
    if (
      states[i + 2 * count] !== state.size ||
      states[i + 3 * count] !== state.mtimeMs ||
      states[i + 4 * count] !== state.ctimeMs ||
      states[i + count] !== state.ino ||
      states[i] !== state.dev
    ) {
      return undefined;
    }
    this.#kept[i] = 1;
    this.#hits++;
    return `sha256:${old.digests.slice(i * hexLength, (i + 1) * hexLength)}`;
  }

  /** Records what was hashed from a file in this state, once a path; `hashedMs` is a time not after the moment its reading began. */
  record(path: string, state: FileState, digest: Digest, hashedMs: number): void {
    if (isRacy(state, hashedMs)) return;
    this.#added.paths.push(path);
    this.#added.digests.push(digest);
    this.#added.states.push(state.dev, state.ino, state.size, state.mtimeMs, state.ctimeMs);
  }

  /**
   * Writes the cache when it has changed. Old records that were not asked for are kept where `visited` says the walk did not come by,
   * and dropped where it did: those files are gone. Replaces the file atomically; the last of two writers wins, both are right.
   */
  save(visited: (path: string) => boolean): void {
    const old = this.#old;
    const added = this.#added;
    const replaced = new Set(old === undefined ? [] : added.paths);
    const survivors: number[] = [];
    for (let i = 0; i < (old?.count ?? 0); i++) {
      const path = old!.paths[i]!;
      if (this.#kept[i] === 1 || (!replaced.has(path) && !visited(path))) survivors.push(i);
    }
    if (added.paths.length === 0 && survivors.length === (old?.count ?? 0)) return;
    const count = survivors.length + added.paths.length;
    const states = new Float64Array(columns * count);
    const digests: string[] = [];
    const paths: string[] = [];
    for (const i of survivors) {
      const at = paths.length;
      for (let column = 0; column < columns; column++) states[at + column * count] = old!.states[i + column * old!.count]!;
      digests.push(old!.digests.slice(i * hexLength, (i + 1) * hexLength));
      paths.push(old!.paths[i]!);
    }
    for (const [i, path] of added.paths.entries()) {
      const at = paths.length;
      for (let column = 0; column < columns; column++) states[at + column * count] = added.states[i * columns + column]!;
      digests.push(added.digests[i]!.slice('sha256:'.length));
      paths.push(path);
    }
    const names = Buffer.from(paths.join('\0'));
    const head = Buffer.alloc(headBytes);
    magic.copy(head);
    head.writeUInt32LE(count, 8);
    head.writeUInt32LE(names.length, 12);
    const body = Buffer.concat([head, new Uint8Array(states.buffer), Buffer.from(digests.join(''), 'latin1'), names]);
    const temporary = `${this.#file}.${process.pid}.tmp`;
    try {
      mkdirSync(dirname(this.#file), { recursive: true });
      // Not synced: after a power cut the checksum finds a torn file, and all it costs is hashing again.
      writeFileSync(temporary, Buffer.concat([body, createHash('sha256').update(body).digest()]));
      renameSync(temporary, this.#file);
    } catch (error) {
      rmSync(temporary, { force: true });
      throw new SlipwayError(
        errnoOf(error) === 'ENOSPC' ? 'DISK_FULL' : 'STORE',
        `cannot write ${this.#file}: ${errnoOf(error)}`,
        {
          cause: error,
        },
      );
    }
  }

  /** How many lookups were answered. */
  get hits(): number {
    return this.#hits;
  }
}
