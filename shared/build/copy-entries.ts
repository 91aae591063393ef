// The second half of COPY and ADD: from matched files and the parent's tree to the entries of a layer. It follows BuildKit's copy
// (fsutil) and unpack, step by step, on lists: nothing of the parent is read or unpacked (N03). Where BuildKit takes the moment of the
// build as a time, `time` is taken, so that a layer depends on nothing else.
import { basename } from 'node:path/posix';
import { SlipwayError } from '../errors.ts';
import type { Body, Entry, EntryWithBody } from '../layer/entry.ts';
import { Destination, type DestinationTree, emptyTree, type Inode, type NewDirectory } from './copy-destination.ts';
import type { Match } from './copy-match.ts';
import { type ModeChange, parseChmod } from './copy-mode.ts';
import { type Owner, resolveOwner } from './copy-owner.ts';
import type { CopyTarget } from './copy-target.ts';

/** Where the content of an entry of a match comes from; asked only for files (and other names of files) that are not empty. */
export type BodyOf = (entry: Entry) => Body | Promise<Body>;

export interface CopyOptions {
  /** The merged tree of the layers below. */
  readonly parent: DestinationTree;
  readonly bodyOf: BodyOf;
  /** Seconds since 1970 for directories that have to be made and for here-documents. */
  readonly time: number;
  /** Where the members of archives that ADD unpacks are kept; the caller removes it when the layer is written. */
  readonly scratch: string;
  /** Bytes an archive may have when it is unpacked. Default: 64 GiB. */
  readonly unpackLimit?: number;
  readonly signal?: AbortSignal;
}

const root: Owner = { uid: 0, gid: 0 };
const defaultMode = 0o755;
const defaultUnpackLimit = 64 * 2 ** 30;

const join = (directory: string, name: string): string => (directory === '' ? name : `${directory}/${name}`);
const parentOf = (path: string): string => path.slice(0, Math.max(0, path.lastIndexOf('/')));

class Copier {
  readonly #target: CopyTarget;
  readonly #options: CopyOptions;
  readonly #owner: Owner | undefined;
  readonly #chmod: ModeChange | undefined;
  readonly destination: Destination;

  constructor(target: CopyTarget, options: CopyOptions) {
    const { parent } = options;
    this.#target = target;
    this.#options = options;
    this.destination = new Destination(target.link === true ? emptyTree : parent);
    this.#chmod = target.chmod === undefined ? undefined : parseChmod(target.chmod);
    this.#owner = target.chown === undefined ? undefined : resolveOwner(target.chown, (file) => parent.content(file));
  }

  get #newDirectory(): NewDirectory {
    // Not --chmod's: newer BuildKit gives it to parents too, and a mode for files makes directories nobody can enter (F78).
    return { mode: defaultMode, owner: this.#owner ?? root, mtime: this.#options.time };
  }

  async copy(match: Match): Promise<void> {
    const { destination: written, unpack } = this.#target;
    if (unpack && !match.isDirectory && (await this.#unpacked(match))) return;
    const { destination } = this;
    const asDirectory = written.endsWith('/') || written.endsWith('/.');
    destination.makeDirectories(destination.resolve(asDirectory ? written : parentOf(written)), this.#newDirectory);
    const at = destination.resolve(written);
    if (match.isDirectory) this.#copyDirectory(match, at);
    else this.#copyFile(match, destination.isDirectory(at) ? join(at, match.name) : at);
  }

  #copyFile(match: Match, to: string): void {
    this.destination.makeDirectories(parentOf(to), this.#newDirectory);
    this.#write(match, match.entries[0]!, to, undefined);
  }

  /** The contents go into the directory `to`, which is made with the attributes of new directories, not with those of the source. */
  #copyDirectory(match: Match, to: string): void {
    this.destination.refuseFile(to);
    this.destination.makeDirectories(to, { ...this.#newDirectory, mtime: match.self?.mtime ?? this.#options.time });
    const skip = match.path === '' ? 0 : match.path.length + 1;
    const inodes = match.entries.some((entry) => entry.type === 'hardlink') ? new Map<string, Inode>() : undefined;
    for (const entry of match.entries) this.#write(match, entry, join(to, entry.path.slice(skip)), inodes);
  }

  #write(match: Match, source: Entry, path: string, inodes: Map<string, Inode> | undefined): void {
    const entry: Entry = {
      ...source,
      path,
      ...(this.#owner ?? {}),
      mode: source.type === 'symlink' ? 0o777 : (this.#chmod?.(source.mode, source.type === 'dir') ?? source.mode),
    };
    if (source.type === 'dir') {
      this.destination.setDirectory(entry);
    } else if (source.type === 'file' || source.type === 'hardlink') {
      // Names of one file stay names of one file when they are copied together.
      const key = source.link ?? source.path;
      const inode = inodes === undefined ? undefined : (inodes.get(key) ?? {});
      if (inode !== undefined) inodes?.set(key, inode);
      const { link: _link, ...file } = entry;
      const { bytes } = match;
      this.destination.setFile(
        { ...file, type: 'file', ...(bytes === undefined ? {} : { mtime: this.#options.time }) },
        {
          ...(inode && { inode }),
          content: { of: source, body: bytes === undefined ? this.#options.bodyOf : () => ({ kind: 'bytes', bytes }) },
        },
      );
    } else {
      this.destination.setFile(entry);
    }
  }

  /** ADD: an archive's members go into the destination. False when the file is none. */
  async #unpacked(match: Match): Promise<boolean> {
    const [entry] = match.entries;
    if (entry === undefined || (entry.type !== 'file' && entry.type !== 'hardlink') || entry.size === 0) return false;
    const { bytes } = match;
    const body: Body = bytes === undefined ? await this.#options.bodyOf(entry) : { kind: 'bytes', bytes };
    const { scratch, signal, time, unpackLimit = defaultUnpackLimit } = this.#options;
    const { openArchive } = await import('./copy-archive.ts');
    const archive = await openArchive(body, entry.size, { limit: unpackLimit, what: match.name, signal });
    if (archive === undefined) return false;
    const { destination } = this;
    const to = destination.resolve(this.#target.destination);
    // The folder that is made for it is all that --chown reaches: members keep the archive's owners (F79), as with every other builder.
    destination.makeDirectories(to, { mode: defaultMode, owner: this.#owner ?? root, mtime: time });
    await archive.unpackInto(destination, to, { time, scratch });
    return true;
  }
}

/** The entries of the layer that a COPY or ADD makes, sorted by path, with where their contents come from. */
export async function copyEntries(
  matches: readonly Match[],
  target: CopyTarget,
  options: CopyOptions,
): Promise<AsyncIterable<EntryWithBody>> {
  const copier = new Copier(target, options);
  refuseLost(matches, target, copier.destination);
  for (const match of matches) await copier.copy(match);
  return copier.destination.entries();
}

/** Several files to one name: all but the last would be lost. */
function refuseLost(matches: readonly Match[], { destination: written }: CopyTarget, destination: Destination): void {
  if (matches.length < 2 || written.endsWith('/') || written.endsWith('/.')) return;
  if (matches.every((match) => match.isDirectory) || destination.isDirectory(destination.resolve(written))) return;
  throw new SlipwayError(
    'DOCKERFILE',
    'When using COPY with more than one source file, the destination must be a directory and end with a /',
    { hint: `Write ${written}/ as the destination.`, details: { matches: matches.slice(0, 20).map((match) => match.name) } },
  );
}

/** The entries of the layer that WORKDIR makes: the directories of `path` that are missing. */
export async function directoryEntries(
  path: string,
  { parent, owner, time }: { readonly parent: DestinationTree; readonly owner: Owner; readonly time: number },
): Promise<AsyncIterable<EntryWithBody>> {
  const destination = new Destination(parent);
  destination.makeDirectories(destination.resolve(path), { mode: defaultMode, owner, mtime: time });
  return destination.entries();
}

/** The name that a downloaded file gets in a destination that ends with `/`. A URL without one is DOCKERFILE (F80). */
export function nameFromUrl(url: string): string {
  const name = basename(new URL(url).pathname);
  let decoded = name;
  try {
    decoded = decodeURIComponent(name);
  } catch (error) {
    // Not an encoding of anything: the name is then as it stands.
    if (!(error instanceof URIError)) throw error;
  }
  if (decoded !== '' && decoded !== '.' && decoded !== '..' && !decoded.includes('/') && !decoded.includes('\0')) return decoded;
  throw new SlipwayError('DOCKERFILE', `cannot determine filename for source ${url}`, {
    hint: 'Name the file in the destination.',
  });
}
