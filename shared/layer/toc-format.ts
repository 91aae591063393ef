// The encoded table of contents: sorted records, found by binary search in their bytes.
//
//   16 bytes   magic
//   5 x u32    (little endian) number of records; start of the records; start of the contents; number of contents; start of the offsets
//   71 bytes   diffID
//   contents   u32 length of the path, u32 length of the bytes, path, bytes: in path order
//   records    path, NUL, JSON of the rest: in path order. The NUL ends the path: no path holds one
//   offsets    u32 a record, where it starts, and one more: where the last one ends
import { SlipwayError } from '../errors.ts';
import type { Digest } from '../oci/digest.ts';
import type { EntryType } from './entry.ts';
import type { TocEntry } from './toc.ts';

export const tocMagic = Buffer.from('slipway-toc/1\n\0\0', 'latin1');
export const tocHeadBytes = 16 + 20 + 71;

/** Files whose content is kept in the table: what user names and groups are looked up in. */
export const keptContents: ReadonlySet<string> = new Set(['etc/passwd', 'etc/group']);
/** The most that is kept of one. */
export const maxContentBytes = 256 * 1024;

const letters = { file: 'f', dir: 'd', symlink: 's', hardlink: 'h', char: 'c', block: 'b', fifo: 'p' } as const satisfies Record<
  EntryType,
  string
>;
const typeOf: Readonly<Record<string, EntryType>> = Object.fromEntries(
  Object.entries(letters).map(([type, letter]) => [letter, type as EntryType]),
);

interface Row {
  readonly t: string;
  readonly m: number;
  readonly u?: number;
  readonly g?: number;
  readonly s?: number;
  readonly T: number;
  readonly l?: string;
  readonly M?: number;
  readonly n?: number;
  readonly x?: Readonly<Record<string, string>>;
  readonly d?: string;
  readonly o?: 1;
}

/** The part of a record after the path. */
export function encodeRow(entry: TocEntry): string {
  if (entry.type === 'whiteout') return '{"t":"w"}';
  const { type, mode, uid, gid, size, mtime, link, major, minor, xattrs, digest, opaque } = entry;
  // Written by hand for the members that every record has: this runs once a file.
  let text = `{"t":"${letters[type]}","m":${mode}`;
  if (uid !== 0) text += `,"u":${uid}`;
  if (gid !== 0) text += `,"g":${gid}`;
  if (size !== 0) text += `,"s":${size}`;
  text += `,"T":${mtime}`;
  if (link !== undefined) text += `,"l":${JSON.stringify(link)}`;
  if (major !== undefined) text += `,"M":${major}`;
  if (minor !== undefined) text += `,"n":${minor}`;
  if (xattrs !== undefined) text += `,"x":${JSON.stringify(sorted(xattrs))}`;
  if (digest !== undefined) text += `,"d":"${digest}"`;
  if (opaque) text += ',"o":1';
  return `${text}}`;
}

const sorted = (xattrs: Readonly<Record<string, string>>): Record<string, string> =>
  Object.fromEntries(Object.entries(xattrs).sort(([a], [b]) => (a < b ? -1 : 1)));

export function decodeRow(path: string, json: string): TocEntry {
  const row = rowOf(json);
  if (row.t === 'w') return { path, type: 'whiteout' };
  const type = typeOf[row.t];
  if (type === undefined) throw damaged(`an entry of type "${row.t}"`);
  return {
    path,
    type,
    mode: row.m,
    uid: row.u ?? 0,
    gid: row.g ?? 0,
    size: row.s ?? 0,
    mtime: row.T,
    ...(row.l !== undefined && { link: row.l }),
    ...(row.M !== undefined && { major: row.M }),
    ...(row.n !== undefined && { minor: row.n }),
    ...(row.x !== undefined && { xattrs: row.x }),
    ...(row.d !== undefined && { digest: row.d as Digest }),
    ...(row.o !== undefined && { opaque: true as const }),
  };
}

function rowOf(json: string): Row {
  try {
    const row = JSON.parse(json) as Row | null;
    if (row !== null) return row;
  } catch {
    // As below.
  }
  throw damaged('a record');
}

export const damaged = (why: string): SlipwayError =>
  new SlipwayError('INVALID_DOCUMENT', `a layer's table of contents is damaged: ${why}`, {
    hint: 'It is made again when its record is removed.',
  });
