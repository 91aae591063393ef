// The first half of COPY and ADD: which files of the source an instruction takes. It works on lists alone; what comes out decides
// whether the step hits (F66, F68), before any content is read.
import { createHash } from 'node:crypto';
import { cleanPath, compileGlob, hasWildcard } from '../context/glob.ts';
import { type IgnoreLine, included, Patterns } from '../context/ignore.ts';
import type { SourceTree } from '../context/list.ts';
import { SlipwayError } from '../errors.ts';
import type { Entry } from '../layer/entry.ts';
import { type Digest, sha256 } from '../oci/digest.ts';
import { parseChmod } from './copy-mode.ts';
import type { ContentPart } from './key.ts';
import type { Operation } from './plan.ts';
import { resolvePath } from './tree-path.ts';

export type CopyOperation = Extract<Operation, { kind: 'copy' }>;

/** One source after wildcards: a file, or a directory whose contents are copied. */
export interface Match {
  /** What it is called in a destination directory: the last part of the path as named, not of where a symlink led. */
  readonly name: string;
  /** Where it is in the source; '' is the root. Everything in `entries` is below it. */
  readonly path: string;
  readonly isDirectory: boolean;
  /**
   * A file: itself. A directory: all that is taken from below it, in path order, parents included; never itself. Other names of a
   * hard link have the attributes and the digest of the file, and its path in `link`.
   */
  readonly entries: readonly Entry[];
  /** The directory itself, where the source has an entry for it. */
  readonly self?: Entry;
  /** Content, where it is not in the source tree: a here-document. */
  readonly bytes?: Uint8Array;
}

export interface MatchOptions {
  /** Says which line of an ignore file keeps a path out of the context, for the message about a missing file. */
  readonly ignoredBy?: (path: string) => { readonly file: string; readonly line: IgnoreLine } | undefined;
}

/** As many names in a row as any sane archive has, each a hard link to the next. */
const maxHops = 40;

/** The attributes of the file for other names of a hard link; everything else as it is. */
function settled(tree: SourceTree, entry: Entry): Entry {
  if (entry.type !== 'hardlink') return entry;
  let target: Entry | undefined = entry;
  for (let hops = 0; hops < maxHops && target?.type === 'hardlink'; hops++) target = tree.get(target.link!);
  if (target === undefined || target.type === 'hardlink' || target.type === 'dir') {
    throw new SlipwayError(
      'INVALID_ARCHIVE',
      `/${entry.path} is a hard link to /${entry.link}, which is not a file of the same tree`,
    );
  }
  // A second name of a symlink or a device is as good as another one of them.
  if (target.type !== 'file') return { ...target, path: entry.path };
  return { ...target, path: entry.path, type: 'hardlink', link: target.path };
}

/** `found` is where symlinks lead to from `path`. */
function notFound(source: string, path: string, found: string, options: MatchOptions): SlipwayError {
  const ignored = options.ignoredBy?.(path) ?? (found === path ? undefined : options.ignoredBy?.(found));
  const message = `failed to compute cache key: failed to calculate checksum of ${JSON.stringify(source)}: "/${path}": not found`;
  const leads = found === path ? '' : `Symbolic links lead from there to /${found}. `;
  if (ignored === undefined) {
    return new SlipwayError('NOT_FOUND', message, {
      hint: `${leads}Paths are relative to the root of the context (with --from: to the root of that stage or image).`,
      details: { path },
    });
  }
  const { file, line } = ignored;
  return new SlipwayError('NOT_FOUND', message, {
    hint: `${leads}It is excluded by ${file}:${line.line} (${line.text}).`,
    details: { path, ignoredBy: { file, line: line.line, pattern: line.text } },
  });
}

function malformed(what: string, pattern: string): never {
  throw new SlipwayError('DOCKERFILE', `${what} ${JSON.stringify(pattern)}: syntax error in pattern`, {
    hint: 'A [ needs a ], and \\ a character after it; write [[] for a [ itself.',
  });
}

/** Paths that a source with wildcards takes. A directory that matches is taken whole; symlinks are not gone through. */
function expand(tree: SourceTree, source: string, parts: readonly string[], first: number): readonly string[] {
  const base = resolvePath(tree, parts.slice(0, first).join('/'));
  const globs = parts.slice(first).map((part) => compileGlob(part, 'match') ?? malformed('source', source));
  let found: string[] = [base];
  for (const [i, glob] of globs.entries()) {
    found = found.flatMap((directory) =>
      [...tree.list(directory)]
        .filter((entry) => glob(entry.path.slice(directory === '' ? 0 : directory.length + 1)))
        .filter((entry) => i === globs.length - 1 || entry.type === 'dir')
        .map((entry) => entry.path),
    );
  }
  return found;
}

/** What is below a directory and not excluded, with the directories that lead to it. */
function contents(tree: SourceTree, path: string, exclude: Patterns | undefined): readonly Entry[] {
  const all = [...tree.under(path)].map((entry) => settled(tree, entry));
  return exclude === undefined ? all : included(all, exclude, path === '' ? 0 : path.length + 1);
}

const emptyFile = { uid: 0, gid: 0, mtime: 0 } as const;

/** A file that is in no tree: a here-document (mode 0644) or a download (0600). Its mtime is set when the layer is written. */
export function looseFile(
  name: string,
  content: { digest: Digest; size: number; mode: number; mtime?: number },
  bytes?: Uint8Array,
): Match {
  const entry: Entry = { ...emptyFile, path: name, type: 'file', ...content };
  return { name, path: name, isDirectory: false, entries: [entry], ...(bytes === undefined ? {} : { bytes }) };
}

/**
 * Everything that the sources and here-documents of an instruction take, in their order. A named path that is not there is NOT_FOUND in
 * docker's words, and so are wildcards when all of the instruction matches nothing.
 */
export function matchSources(operation: CopyOperation, tree: SourceTree, options: MatchOptions = {}): readonly Match[] {
  const { exclude: written } = operation;
  const exclude =
    written === undefined || written.length === 0
      ? undefined
      : new Patterns(written, (index, why) => {
          throw new SlipwayError('DOCKERFILE', `--exclude=${written[index]}: ${why}`);
        });
  const matches: Match[] = [];
  const take = (source: string, path: string, wildcard: boolean): void => {
    const found = resolvePath(tree, path);
    const name = path.slice(path.lastIndexOf('/') + 1);
    const entry = found === '' ? undefined : tree.get(found);
    if (found !== '' && entry === undefined) throw notFound(source, path, found, options);
    if (entry === undefined || entry.type === 'dir') {
      const self = entry ?? tree.get('');
      matches.push({
        name,
        path: found,
        isDirectory: true,
        entries: contents(tree, found, exclude),
        ...(self === undefined ? {} : { self }),
      });
    } else if (!(wildcard && exclude?.excludes(name, undefined))) {
      matches.push({ name, path: found, isDirectory: false, entries: [settled(tree, entry)] });
    }
  };
  for (const source of operation.sources) {
    const path = cleanPath(`/${source}`).slice(1);
    const parts = path === '' ? [] : path.split('/');
    const first = parts.findIndex(hasWildcard);
    if (first === -1) take(source, path, false);
    else for (const found of expand(tree, source, parts, first)) take(source, found, true);
  }
  for (const { name, content } of operation.inline ?? []) {
    const bytes = Buffer.from(content);
    matches.push(looseFile(name, { digest: sha256(bytes), size: bytes.length, mode: 0o644 }, bytes));
  }
  if (matches.length > 0) return matches;
  const paths = operation.sources.map((source) => cleanPath(`/${source}`).slice(1));
  const literal = paths.find((path) => tree.get(path) !== undefined);
  const first = literal ?? paths[0] ?? '';
  const error = notFound(operation.sources.join(' '), first, first, options);
  if (literal === undefined) throw error;
  const { code, message, details } = error;
  throw new SlipwayError(code, message, {
    hint: `There is a file of exactly this name, but [, * and ? are wildcards: write ${literal.replace(/[[*?]/g, '[$&]')} for it.`,
    ...(details === undefined ? {} : { details }),
  });
}

/** What of an entry's content counts: file digest, link text, device numbers. */
function contentOf(entry: Entry): string {
  switch (entry.type) {
    case 'file':
    case 'hardlink':
      if (entry.digest === undefined) throw new SlipwayError('INTERNAL', `/${entry.path} has no digest`);
      return entry.digest;
    case 'symlink':
      return entry.link!;
    case 'char':
    case 'block':
      return `${entry.major}:${entry.minor}`;
    default:
      return '';
  }
}

const xattrsOf = ({ xattrs }: Entry): string =>
  xattrs === undefined
    ? ''
    : Object.keys(xattrs)
        .sort()
        .map((name) => `${name}=${xattrs[name]}`)
        .join(',');

/**
 * The matched files in the form that counts for a key: names relative to their match, modes and owners as they will be, content, and which of them are names of one file; never
 * an mtime (F68), never where in the source they were.
 */
export function* contentParts(
  matches: readonly Match[],
  { chown, chmod }: Pick<CopyOperation, 'chown' | 'chmod'>,
): Iterable<ContentPart> {
  const change = chmod === undefined ? undefined : parseChmod(chmod);
  for (const [i, match] of matches.entries()) {
    // The match itself: its name, which a directory as destination uses, and whether its contents or itself is copied.
    yield [`${i}:${match.isDirectory ? '' : match.name}`, match.isDirectory ? 'contents' : 'one', 0, '', '', ''];
    const skip = match.isDirectory ? (match.path === '' ? 0 : match.path.length + 1) : match.path.length;
    const firsts = match.entries.some((entry) => entry.type === 'hardlink') ? new Map<string, string>() : undefined;
    for (const entry of match.entries) {
      const mode =
        entry.type === 'symlink' ? 0o777 : change === undefined ? entry.mode : change(entry.mode, entry.type === 'dir');
      const owner = chown ?? `${entry.uid}:${entry.gid}`;
      const path = entry.path.slice(skip);
      // Which names are of one file counts, because the layer has it so; where else in the source it has names does not.
      const first = firsts === undefined ? undefined : firstName(firsts, entry, path);
      const type = entry.type === 'hardlink' ? 'file' : entry.type;
      if (first === undefined) yield [path, type, mode, owner, contentOf(entry), xattrsOf(entry)];
      else yield [path, 'hardlink', mode, owner, first, ''];
    }
  }
}

/** The name under which the file was met before, if it was; this one is noted else. */
function firstName(firsts: Map<string, string>, { type, link, path }: Entry, name: string): string | undefined {
  if (type !== 'file' && type !== 'hardlink') return undefined;
  const file = link ?? path;
  const first = firsts.get(file);
  if (first === undefined) firsts.set(file, name);
  return first;
}

/** The digest over the parts. Fields end with a zero byte, which none of them contains. */
export function contentDigest(parts: Iterable<ContentPart>): Digest {
  const hash = createHash('sha256').update('slipway-copy-v1\n');
  let text = '';
  for (const [path, type, mode, owner, content, xattrs] of parts) {
    text += `${safe(path)}\0${type}\0${mode}\0${owner}\0${safe(content)}\0${xattrs}\0`;
    if (text.length > 1 << 20) {
      hash.update(text);
      text = '';
    }
  }
  return `sha256:${hash.update(text).digest('hex')}`;
}

/** Names that are no UTF-8 hold lone surrogates, which would all become the same bytes: JSON escapes them. */
const safe = (text: string): string => (text.isWellFormed() ? `:${text}` : JSON.stringify(text));
