// The context: a list of files with their digests. It is all that a build needs to decide which steps hit; contents are fetched by
// digest, through Bodies, only for layers that are really written.
//
// What is kept: uid and gid are 0:0 as in Docker's transfer; mode with setuid, setgid and sticky; mtime in whole seconds; symlinks as
// links; names of one file as such: the first in path order is the file, the others `hardlink` entries that name it; FIFOs and devices as such, sockets not at all. Extended attributes are not
// kept: Node cannot read them, and asking another program costs more than a whole warm build. A Dockerfile that needs a capability on a
// file sets it with RUN setcap.
//
// `digest` says whether two contexts hold the same files. Modification times are no part of it, as they are no part of any COPY key
// (F68): touching a file changes nothing. They do travel in the encoded list, because layers carry them.
import { createHash } from 'node:crypto';
import { isCode, SlipwayError } from '../errors.ts';
import type { Entry, EntryType } from '../layer/entry.ts';
import { lowerBound } from '../layer/path-order.ts';
import { type Digest, isDigest } from '../oci/digest.ts';
import { comparePaths, decodeName, encodeName } from '../tar/name.ts';
import { Ignore, type IgnoreLine } from './ignore.ts';

/** What COPY and ADD read from: a context, or the merged tree of a stage or image. Paths as in Entry; '' is the root. */
export interface SourceTree {
  /** The entry itself, a symlink not followed; the root may or may not have one. */
  get(path: string): Entry | undefined;
  /** All entries strictly below a directory, in path order. */
  under(path: string): Iterable<Entry>;
  /** The entries directly in a directory, in path order. */
  list(path: string): Iterable<Entry>;
}

/** The rules that kept paths out of a context, so that a message about a missing file can name the line. */
export interface IgnoreRules {
  readonly file: string;
  readonly lines: readonly IgnoreLine[];
}

const format = 'slipway-context-v1';

const letters = { file: 'f', dir: 'd', symlink: 'l', hardlink: 'h', char: 'c', block: 'b', fifo: 'p' } as const satisfies Record<
  EntryType,
  string
>;
const typeOf = new Map<unknown, EntryType>(Object.entries(letters).map(([type, letter]) => [letter, type as EntryType]));

/** What an entry is, without its mtime: JSON of [path, type letter, mode, uid, gid, and content digest with size | link (of both kinds) | device]. */
function identity(entry: Entry): unknown[] {
  const head = [entry.path, letters[entry.type], entry.mode, entry.uid, entry.gid];
  switch (entry.type) {
    case 'file':
      return [...head, entry.digest, entry.size];
    case 'symlink':
    case 'hardlink':
      return [...head, entry.link];
    case 'char':
    case 'block':
      return [...head, entry.major, entry.minor];
    default:
      return head;
  }
}

/** A list of files, sorted by the bytes of their paths; every parent directory is in it, every file has its digest, and hard links lead to files before them. */
export class Context implements SourceTree {
  readonly entries: readonly Entry[];
  readonly ignored: IgnoreRules | undefined;
  #digest: Digest | undefined;
  #rules: Ignore | undefined;

  /** `entries` must be as described above: lists from elsewhere come through `Context.decode`, which checks. */
  constructor(entries: readonly Entry[], ignored?: IgnoreRules) {
    this.entries = entries;
    this.ignored = ignored;
  }

  static readonly empty = new Context([]);

  get digest(): Digest {
    if (this.#digest === undefined) {
      const hash = createHash('sha256').update(`${format}\n`);
      let text = '';
      for (const entry of this.entries) {
        text += `${JSON.stringify(identity(entry))}\n`;
        if (text.length > 1 << 20) {
          hash.update(text);
          text = '';
        }
      }
      this.#digest = `sha256:${hash.update(text).digest('hex')}`;
    }
    return this.#digest;
  }

  get(path: string): Entry | undefined {
    const entry = this.entries[lowerBound(this.entries, path)];
    return entry?.path === path ? entry : undefined;
  }

  *under(path: string): Iterable<Entry> {
    const prefix = path === '' ? '' : `${path}/`;
    const { entries } = this;
    for (let i = path === '' ? 0 : lowerBound(entries, prefix); i < entries.length; i++) {
      const entry = entries[i]!;
      if (!entry.path.startsWith(prefix)) return;
      yield entry;
    }
  }

  *list(path: string): Iterable<Entry> {
    const prefix = path === '' ? '' : `${path}/`;
    const { entries } = this;
    let i = path === '' ? 0 : lowerBound(entries, prefix);
    while (i < entries.length) {
      const entry = entries[i]!;
      if (!entry.path.startsWith(prefix)) return;
      const slash = entry.path.indexOf('/', prefix.length);
      if (slash === -1) {
        yield entry;
        i++;
      } else {
        // `0` follows `/`: everything below this child directory is jumped over.
        i = lowerBound(entries, `${entry.path.slice(0, slash)}0`, i);
      }
    }
  }

  /** The line of the ignore file that keeps `path` out, if one does. */
  ignoredBy(path: string): { readonly file: string; readonly line: IgnoreLine } | undefined {
    if (this.ignored === undefined) return undefined;
    this.#rules ??= new Ignore(this.ignored.file, this.ignored.lines);
    const line = this.#rules.lineThatExcludes(path);
    return line === undefined ? undefined : { file: this.ignored.file, line };
  }

  /** The list as bytes: a header line of JSON, then one line of JSON for each entry. */
  encode(): Uint8Array {
    const header = { format, entries: this.entries.length, ...(this.ignored === undefined ? {} : { ignored: this.ignored }) };
    const lines = [JSON.stringify(header)];
    for (const entry of this.entries) lines.push(JSON.stringify([entry.mtime, ...identity(entry)]));
    return Buffer.from(`${lines.join('\n')}\n`);
  }

  /** The inverse of `encode` for bytes from anywhere: what is not a well-formed context is CONTEXT, an escaping path UNSAFE_PATH. */
  static decode(bytes: Uint8Array): Context {
    let text: string;
    try {
      text = new TextDecoder('utf-8', { fatal: true }).decode(bytes);
    } catch (cause) {
      throw new SlipwayError('CONTEXT', 'the file list is not UTF-8', { cause });
    }
    const lines = text.split('\n');
    if (lines.pop() !== '') throw new SlipwayError('CONTEXT', 'the file list is cut off');
    const header = readJson(lines[0] ?? '', 1) as { format?: unknown; entries?: unknown; ignored?: unknown } | null;
    if (header?.format !== format) {
      throw new SlipwayError('CONTEXT', `the file list is not of the format ${format}`, {
        hint: 'Use the same version of Slipway on both sides.',
      });
    }
    if (header.entries !== lines.length - 1) throw new SlipwayError('CONTEXT', 'the file list is cut off');
    const entries: Entry[] = [];
    for (let i = 1; i < lines.length; i++) entries.push(readEntry(readJson(lines[i]!, i + 1), i + 1));
    checkTree(entries);
    checkLinks(entries);
    return new Context(entries, readIgnored(header.ignored));
  }
}

function readJson(line: string, number: number): unknown {
  try {
    return JSON.parse(line);
  } catch (cause) {
    throw new SlipwayError('CONTEXT', `line ${number} of the file list is not JSON`, { cause });
  }
}

function readIgnored(value: unknown): IgnoreRules | undefined {
  if (value === undefined) return undefined;
  const { file, lines } = value as { file?: unknown; lines?: unknown };
  const good =
    typeof file === 'string' &&
    Array.isArray(lines) &&
    lines.every((line: { text?: unknown; line?: unknown }) => typeof line?.text === 'string' && Number.isInteger(line.line));
  if (!good) throw new SlipwayError('CONTEXT', 'the ignore rules of the file list are malformed');
  return { file, lines: lines as IgnoreLine[] };
}

const whole = (value: unknown, low: number, high: number): value is number =>
  Number.isSafeInteger(value) && (value as number) >= low && (value as number) <= high;

/** Linux: PATH_MAX, with the terminating zero. */
const maxPathBytes = 4095;

/** Well-formed text, or bytes escaped by decodeName in the one form that it gives. */
const isName = (text: string): boolean => {
  if (text.isWellFormed()) return true;
  try {
    return decodeName(encodeName(text)) === text;
  } catch (error) {
    if (isCode(error, 'UNSAFE_PATH')) return false;
    throw error;
  }
};

/** Throws UNSAFE_PATH unless the path is one that an Entry may have. */
export function checkPath(path: unknown): asserts path is string {
  const good =
    typeof path === 'string' &&
    path !== '' &&
    path.length <= maxPathBytes &&
    !path.includes('\0') &&
    isName(path) &&
    path.split('/').every((part) => part !== '' && part !== '.' && part !== '..');
  if (!good) throw new SlipwayError('UNSAFE_PATH', `the file list has the path ${JSON.stringify(path)?.slice(0, 200)}`);
}

function readEntry(value: unknown, line: number): Entry {
  const malformed = (what: string): never => {
    throw new SlipwayError('CONTEXT', `line ${line} of the file list has a malformed ${what}`);
  };
  if (!Array.isArray(value)) return malformed('entry');
  const [mtime, path, letter, mode, uid, gid, a, b, ...rest] = value as unknown[];
  checkPath(path);
  const type = typeOf.get(letter) ?? malformed('type');
  if (!whole(mode, 0, 0o7777)) return malformed('mode');
  if (!whole(uid, 0, 0xffff_fffe) || !whole(gid, 0, 0xffff_fffe)) return malformed('owner');
  if (!whole(mtime, -(2 ** 40), 2 ** 40)) return malformed('time');
  const count = { file: 8, symlink: 7, char: 8, block: 8, dir: 6, fifo: 6, hardlink: 7 }[type];
  if (value.length !== count || rest.length > 0) return malformed('entry');
  const head = { path, type, mode, uid, gid, size: 0, mtime };
  switch (type) {
    case 'file':
      if (typeof a !== 'string' || !isDigest(a) || !whole(b, 0, Number.MAX_SAFE_INTEGER)) return malformed('content');
      return { ...head, size: b, digest: a };
    case 'symlink':
      if (typeof a !== 'string' || a === '' || a.length > maxPathBytes || a.includes('\0')) return malformed('link');
      return { ...head, link: a };
    case 'hardlink':
      checkPath(a);
      return { ...head, link: a };
    case 'char':
    case 'block':
      if (!whole(a, 0, 0xfff) || !whole(b, 0, 0xf_ffff)) return malformed('device');
      return { ...head, major: a, minor: b };
    default:
      return head;
  }
}

/** Order, uniqueness, and that everything lies in directories: nothing can be reached through a symlink or below a file. */
function checkTree(entries: readonly Entry[]): void {
  const directories = new Set<string>(['']);
  let last = '';
  for (const { path, type } of entries) {
    if (last !== '' && comparePaths(last, path) >= 0) {
      throw new SlipwayError('CONTEXT', `the file list is not sorted, or names ${JSON.stringify(path)} twice`);
    }
    if (!directories.has(path.slice(0, Math.max(0, path.lastIndexOf('/'))))) {
      throw new SlipwayError('UNSAFE_PATH', `the file list has ${JSON.stringify(path)} below what is not a directory of it`);
    }
    if (type === 'dir') directories.add(path);
    last = path;
  }
}

/** A hard link is to a file that comes before it, with the same attributes: it is that file. */
function checkLinks(entries: readonly Entry[]): void {
  for (const { path, type, link, mode, uid, gid } of entries) {
    if (type !== 'hardlink') continue;
    const file = entries[lowerBound(entries, link!)];
    const good =
      file?.path === link &&
      file?.type === 'file' &&
      comparePaths(file.path, path) < 0 &&
      file.mode === mode &&
      file.uid === uid &&
      file.gid === gid;
    if (!good) throw new SlipwayError('CONTEXT', `the file list has ${JSON.stringify(path)} as a name of a file that it has not`);
  }
}
