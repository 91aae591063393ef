// Headers, byte-stable: the same entry always gives the same bytes. ustar when everything fits in it, pax only when it does not, as
// Go's archive/tar (and so docker) does; never a user or group name, never a time but mtime.
import { SlipwayError } from '../errors.ts';
import type { Entry, EntryType } from '../layer/entry.ts';
import { blockSize, field, padding, ustarMagic, xattrPrefix } from './format.ts';
import { encodeName } from './name.ts';

const typeflags: Readonly<Record<EntryType, string>> = {
  file: '0',
  hardlink: '1',
  symlink: '2',
  char: '3',
  block: '4',
  dir: '5',
  fifo: '6',
};

/** The two zero blocks every archive ends with. */
export const endOfArchive: Uint8Array = new Uint8Array(2 * blockSize);

const largest = { octal7: 0o7777777, octal11: 0o77777777777 };

/**
 * The header of an entry: 512 bytes, or a pax header before them. The content of `entry.size` bytes and zeros to the next block
 * follow it. A name that no archive can hold is UNSAFE_PATH, a number INVALID_ARCHIVE.
 */
export function encodeHeader(entry: Entry): Buffer {
  const short = shortHeader(entry);
  if (short !== undefined) return short;
  return paxHeader(entry);
}

/** Bytes `entry` takes in the archive: header, content and padding. */
export const paddedSize = (header: Uint8Array, entry: Entry): number => header.length + entry.size + padding(entry.size);

const isAscii = (text: string): boolean => {
  for (let at = 0; at < text.length; at++) {
    const unit = text.charCodeAt(at);
    if (unit > 0x7f || unit === 0) return false;
  }
  return true;
};

const nameOf = (entry: Entry): string => {
  if (entry.type !== 'dir') return entry.path;
  return entry.path === '' ? './' : `${entry.path}/`;
};

const fits = (value: number, most: number): boolean => value >= 0 && value <= most;

/** The ustar header, or undefined when a field does not fit. */
function shortHeader(entry: Entry): Buffer | undefined {
  const name = nameOf(entry);
  const link = entry.link ?? '';
  if (entry.xattrs !== undefined && Object.keys(entry.xattrs).length > 0) return undefined;
  if (link.length > 100 || name.length > 256 || !isAscii(name) || !isAscii(link)) return undefined;
  if (!fits(entry.uid, largest.octal7) || !fits(entry.gid, largest.octal7)) return undefined;
  if (!fits(entry.size, largest.octal11) || !fits(entry.mtime, largest.octal11)) return undefined;
  if ((entry.major ?? 0) > largest.octal7 || (entry.minor ?? 0) > largest.octal7) return undefined;
  const split = splitName(name);
  if (split === undefined) return undefined;
  const header = Buffer.alloc(blockSize);
  fill(header, entry, split.name, link);
  header.write(split.prefix, field.prefix[0], field.prefix[1], 'latin1');
  return sealed(header);
}

/** Go's splitUSTARPath: as much as possible into the prefix, at a slash. */
function splitName(name: string): { prefix: string; name: string } | undefined {
  if (name.length <= 100) return { prefix: '', name };
  let length = Math.min(name.length, 156);
  if (name[length - 1] === '/' && length === name.length) length--;
  const slash = name.lastIndexOf('/', length - 1);
  const rest = name.length - slash - 1;
  if (slash <= 0 || rest > 100 || rest === 0) return undefined;
  return { prefix: name.slice(0, slash), name: name.slice(slash + 1) };
}

function fill(header: Buffer, entry: Entry, name: string, link: string): void {
  header.write(name, field.name[0], field.name[1], 'latin1');
  octal(header, field.mode, entry.mode & 0o7777);
  octal(header, field.uid, fits(entry.uid, largest.octal7) ? entry.uid : 0);
  octal(header, field.gid, fits(entry.gid, largest.octal7) ? entry.gid : 0);
  octal(header, field.size, fits(entry.size, largest.octal11) ? entry.size : 0);
  octal(header, field.mtime, fits(entry.mtime, largest.octal11) ? entry.mtime : 0);
  header.write(typeflags[entry.type], field.typeflag[0], 1, 'latin1');
  header.write(link, field.link[0], field.link[1], 'latin1');
  header.write(ustarMagic, field.magic[0], field.magic[1], 'latin1');
  octal(header, field.major, entry.major ?? 0);
  octal(header, field.minor, entry.minor ?? 0);
}

function octal(header: Buffer, [offset, length]: readonly [number, number], value: number): void {
  if (!Number.isSafeInteger(value) || value < 0) throw new SlipwayError('INVALID_ARCHIVE', `${value} fits in no tar header`);
  header.write(value.toString(8).padStart(length - 1, '0'), offset, length - 1, 'latin1');
}

function sealed(header: Buffer): Buffer {
  let sum = 8 * 0x20;
  for (let at = 0; at < blockSize; at++) sum += header[at]!;
  header.write(`${sum.toString(8).padStart(6, '0')}\u0000 `, field.checksum[0], field.checksum[1], 'latin1');
  return header;
}

/** A pax header with what does not fit, sorted by keyword, then the header itself with what does. */
function paxHeader(entry: Entry): Buffer {
  const name = nameOf(entry);
  const link = entry.link ?? '';
  const records = new Map<string, Uint8Array>();
  const addText = (keyword: string, text: string) => {
    const bytes = encodeName(text);
    if (bytes.includes(0)) throw new SlipwayError('UNSAFE_PATH', `${JSON.stringify(entry.path)}: a NUL in its ${keyword}`);
    records.set(keyword, bytes);
  };
  const addNumber = (keyword: string, value: number, most: number) => {
    if (fits(value, most)) return;
    if (!Number.isSafeInteger(value) || (value < 0 && keyword !== 'mtime')) {
      throw new SlipwayError('INVALID_ARCHIVE', `${entry.path}: ${keyword} ${value} cannot be written to a tar`);
    }
    records.set(keyword, Buffer.from(String(value)));
  };
  const split = isAscii(name) ? splitName(name) : undefined;
  if (split === undefined) addText('path', name);
  if (link.length > 100 || !isAscii(link)) addText('linkpath', link);
  addNumber('uid', entry.uid, largest.octal7);
  addNumber('gid', entry.gid, largest.octal7);
  addNumber('size', entry.size, largest.octal11);
  addNumber('mtime', entry.mtime, largest.octal11);
  for (const [key, value] of Object.entries(entry.xattrs ?? {})) {
    if (key === '' || key.includes('=') || key.includes('\u0000')) {
      throw new SlipwayError(
        'INVALID_ARCHIVE',
        `${entry.path}: the extended attribute ${JSON.stringify(key)} cannot be written to a tar`,
      );
    }
    records.set(xattrPrefix + key, Buffer.from(value, 'base64'));
  }
  const body = encodeRecords(records);
  const pax = Buffer.alloc(blockSize + body.length + padding(body.length));
  const bytes = ascii(name);
  const slash = bytes.lastIndexOf('/', bytes.length - 2);
  const holder = `${bytes.slice(0, slash + 1)}PaxHeaders.0/${bytes.slice(slash + 1).replace(/\/$/, '')}`;
  pax.write(holder.slice(0, 100), field.name[0], field.name[1], 'latin1');
  for (const part of [field.mode, field.uid, field.gid, field.mtime, field.major, field.minor]) octal(pax, part, 0);
  octal(pax, field.size, body.length);
  pax.write('x', field.typeflag[0], 1, 'latin1');
  pax.write(ustarMagic, field.magic[0], field.magic[1], 'latin1');
  sealed(pax);
  body.copy(pax, blockSize);
  const header = Buffer.alloc(blockSize);
  fill(header, entry, (split?.name ?? bytes).slice(0, 100), ascii(link).slice(0, 100));
  if (split !== undefined) header.write(split.prefix, field.prefix[0], field.prefix[1], 'latin1');
  return Buffer.concat([pax, sealed(header)]);
}

/** What is left of a name for readers that know no pax. */
const ascii = (text: string): string => text.replace(/[^\u0001-\u007f]/g, '');

function encodeRecords(records: ReadonlyMap<string, Uint8Array>): Buffer {
  const keywords = [...records.keys()].sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)));
  return Buffer.concat(
    keywords.map((keyword) => {
      const rest = Buffer.concat([Buffer.from(` ${keyword}=`), records.get(keyword)!, Buffer.from('\n')]);
      // The length counts its own digits.
      let length = rest.length + String(rest.length).length;
      if (String(length).length !== String(rest.length).length) length = rest.length + String(length).length;
      return Buffer.concat([Buffer.from(String(length)), rest]);
    }),
  );
}
