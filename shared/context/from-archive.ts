// Contexts that are not directories (F52): a tar, plain or compressed, from standard input, a file or a download; or a lone Dockerfile
// with nothing around it. The same list comes out as from a directory: uid and gid 0:0, of the names of one file the first in path order
// the file and the others hard links to it, .dockerignore applied.
import { join } from 'node:path';
import { SlipwayError, throwIfCancelled } from '../errors.ts';
import type { Entry } from '../layer/entry.ts';
import { sha256 } from '../oci/digest.ts';
import type { Bytes } from '../store/blobs.ts';
import { ByteReader } from '../stream/byte-reader.ts';
import { collect } from '../stream/collect.ts';
import { decompress } from '../stream/decompress.ts';
import { blockSize } from '../tar/format.ts';
import { isTar } from '../tar/is-tar.ts';
import { comparePaths, decodeName } from '../tar/name.ts';
import { readTar } from '../tar/read.ts';
import { openBody } from '../tar/write.ts';
import type { Bodies } from './bodies.ts';
import { Ignore, included } from './ignore.ts';
import { Context } from './list.ts';
import type { BodySink } from './pack-sink.ts';
import { Spool } from './spool.ts';

export interface ArchiveContextOptions {
  /** Directory for the contents, which the caller removes when the build is over; or what takes them instead. */
  readonly scratch: string | BodySink;
  /** The Dockerfile's path in the archive, for the ignore file beside it. Default: Dockerfile. */
  readonly dockerfile?: string;
  /** TOO_LARGE past this many unpacked bytes. Default: 64 GiB. */
  readonly limit?: number;
  /** Names the source in errors. */
  readonly what?: string;
  readonly signal?: AbortSignal;
}

export interface ArchiveContext {
  readonly context: Context;
  readonly bodies: Bodies;
  /** A file of the archive, ignored or not: Dockerfiles are read even when they cannot be copied (F48). Absence is `undefined`. */
  read(path: string): Promise<Uint8Array | undefined>;
}

export type Received =
  | ({ readonly kind: 'archive' } & ArchiveContext)
  /** Not an archive: a Dockerfile, whose context is empty. */
  | { readonly kind: 'dockerfile'; readonly text: string };

const defaultLimit = 64 * 2 ** 30;
const maxEntries = 2_000_000;
/** Dockerfiles and ignore files are text that people write. */
const maxTextBytes = 4 << 20;

const parentOf = (path: string): string => path.slice(0, Math.max(0, path.lastIndexOf('/')));

/** Tells a tar (in any compression) from a Dockerfile by its first bytes, and reads it. */
export async function receiveContext(source: Bytes, options: ArchiveContextOptions): Promise<Received> {
  const { limit = defaultLimit, what = 'the build context', signal } = options;
  const plain = decompress(source, { limit, what, ...(signal && { signal }) });
  const reader = new ByteReader(plain);
  try {
    const start = await reader.upTo(blockSize);
    reader.unread(start);
    if (isTar(start)) return { kind: 'archive', ...(await readArchive(rest(reader), options)) };
    const bytes = await collect(rest(reader), maxTextBytes, what);
    return { kind: 'dockerfile', text: textOf(bytes, what) };
  } finally {
    await reader.close();
  }
}

async function* rest(reader: ByteReader): AsyncGenerator<Uint8Array> {
  for (let chunk = await reader.some(1 << 20); chunk !== undefined; chunk = await reader.some(1 << 20)) yield chunk;
}

function textOf(bytes: Uint8Array, what: string): string {
  if (bytes.length === 0) throw new SlipwayError('CONTEXT', `${what} is empty`, { hint: 'Send a Dockerfile or a tar archive.' });
  try {
    if (bytes.includes(0)) throw new TypeError('a zero byte');
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch (cause) {
    throw new SlipwayError('CONTEXT', `${what} is neither a tar archive nor the text of a Dockerfile`, {
      hint: 'Archives may be plain or compressed by gzip, bzip2, xz or zstd; zip is not one of them.',
      cause,
    });
  }
}

async function readArchive(plain: Bytes, options: ArchiveContextOptions): Promise<ArchiveContext> {
  const { scratch, what = 'the build context', signal, dockerfile = 'Dockerfile' } = options;
  using spool = typeof scratch === 'string' ? new Spool(join(scratch, 'context.bodies')) : undefined;
  const sink = spool ?? (scratch as BodySink);
  const entries = new Map<string, Entry>();
  // By path, which file a name is of: that of the member that brought the content. Only for files with several names.
  const files = new Map<string, Entry>();
  for await (const { entry: member, body } of readTar(plain, { absolute: 'strip', what, ...(signal && { signal }) })) {
    throwIfCancelled(signal);
    if (member.path === '') continue;
    if (entries.size >= maxEntries) throw new SlipwayError('TOO_LARGE', `${what} has more than ${maxEntries} entries`);
    const { xattrs: _xattrs, ...rest } = member;
    const entry: Entry = { ...rest, uid: 0, gid: 0, ...(member.type === 'symlink' ? { mode: 0o777 } : {}) };
    makeParents(entries, parentOf(member.path), what);
    const there = entries.get(member.path);
    if (there?.type === 'dir' && member.type !== 'dir') {
      throw new SlipwayError('CONTEXT', `${what}: ${JSON.stringify(member.path)} is a directory first and then something else`);
    }
    files.delete(member.path);
    if (member.type === 'file') {
      const digest = member.size === 0 ? sha256('') : (await sink.write(body)).digest;
      entries.set(member.path, { ...entry, digest });
    } else if (member.type === 'hardlink') {
      const target = entries.get(member.link!);
      if (target === undefined || target.type === 'dir') {
        throw new SlipwayError('INVALID_ARCHIVE', `${what}: ${JSON.stringify(member.path)} is a hard link to no file before it`);
      }
      if (target.type === 'file') {
        const file = files.get(target.path) ?? target;
        files.set(target.path, file).set(member.path, file);
      }
      entries.set(member.path, { ...target, path: member.path });
    } else {
      entries.set(member.path, entry);
    }
  }
  const all = [...entries.values()].sort((a, b) => comparePaths(a.path, b.path));
  if (sink !== spool) await (sink as BodySink).finish(all);
  const whole = new Context(all);
  const read = async (path: string): Promise<Uint8Array | undefined> => {
    const entry = whole.get(path);
    if (entry?.type !== 'file') return undefined;
    if (entry.size === 0) return new Uint8Array(0);
    return collect(await openBody(await sink.body(entry), entry.size, signal), maxTextBytes, path);
  };
  const ignore = await ignoreIn(read, dockerfile);
  const kept = ignore === undefined ? all : included(all, ignore.patterns);
  const context = new Context(joined(kept, files), ignore && { file: ignore.file, lines: ignore.lines });
  return { context, bodies: sink, read };
}

/** Of the names of one file, those after the first as hard links to it. */
function joined(sorted: readonly Entry[], files: ReadonlyMap<string, Entry>): readonly Entry[] {
  if (files.size === 0) return sorted;
  const first = new Map<Entry, string>();
  return sorted.map((entry) => {
    const file = files.get(entry.path);
    if (file === undefined) return entry;
    const link = first.get(file);
    if (link === undefined) {
      first.set(file, entry.path);
      return entry;
    }
    const { digest: _digest, ...rest } = entry;
    return { ...rest, type: 'hardlink', size: 0, link };
  });
}

/** Everything must lie in directories: a member below a symlink or a file would be somewhere else than it says. */
function makeParents(entries: Map<string, Entry>, path: string, what: string): void {
  if (path === '') return;
  const there = entries.get(path);
  if (there?.type === 'dir') return;
  if (there !== undefined) {
    throw new SlipwayError('UNSAFE_PATH', `${what} has members below ${JSON.stringify(path)}, which is no directory`);
  }
  makeParents(entries, parentOf(path), what);
  entries.set(path, { path, type: 'dir', mode: 0o755, uid: 0, gid: 0, size: 0, mtime: 0 });
}

async function ignoreIn(read: ArchiveContext['read'], dockerfile: string): Promise<Ignore | undefined> {
  for (const path of [`${dockerfile}.dockerignore`, '.dockerignore']) {
    const bytes = await read(path);
    if (bytes !== undefined) return Ignore.parse(path, decodeName(bytes));
  }
  return undefined;
}
