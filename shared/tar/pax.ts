// The records of a pax extended header (POSIX.1-2001, "pax Header Block").
import { SlipwayError } from '../errors.ts';
import { xattrPrefix } from './format.ts';
import { decodeName } from './name.ts';

/** What we take from pax headers. `null` undoes a global value. */
export interface PaxFields {
  path?: string;
  link?: string;
  size?: number;
  uid?: number;
  gid?: number;
  mtime?: number;
  xattrs?: Record<string, string>;
}

/** Adds the records in `bytes` to `fields`. INVALID_ARCHIVE for what is no record, for numbers that are none, for sparse files. */
export function readPax(bytes: Uint8Array, fields: PaxFields, what: string): void {
  const data = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
  for (let at = 0; at < data.length; ) {
    const space = data.indexOf(0x20, at);
    const digits = space < 0 || space - at > 8 ? '' : data.toString('latin1', at, space);
    const length = /^[1-9]\d*$/.test(digits) ? Number(digits) : 0;
    const end = at + length;
    const equals = data.indexOf(0x3d, space);
    if (length === 0 || end > data.length || data[end - 1] !== 0x0a || equals < 0 || equals >= end || equals === space + 1) {
      throw new SlipwayError('INVALID_ARCHIVE', `${what}: a pax header holds something that is no record`);
    }
    setField(fields, data.toString('utf8', space + 1, equals), data.subarray(equals + 1, end - 1), what);
    at = end;
  }
}

function setField(fields: PaxFields, keyword: string, value: Buffer, what: string): void {
  const empty = value.length === 0;
  switch (keyword) {
    case 'path':
      // An empty value takes back what a global header said.
      if (empty) delete fields.path;
      else fields.path = decodeName(value);
      return;
    case 'linkpath':
      if (empty) delete fields.link;
      else fields.link = decodeName(value);
      return;
    case 'size':
    case 'uid':
    case 'gid':
      if (empty) delete fields[keyword];
      else fields[keyword] = wholeNumber(value.toString('latin1'), keyword, what);
      return;
    case 'mtime':
      if (empty) delete fields.mtime;
      else fields.mtime = time(value.toString('latin1'), what);
      return;
  }
  if (keyword.startsWith('GNU.sparse.')) {
    throw new SlipwayError('INVALID_ARCHIVE', `${what}: sparse files (${keyword}) are not supported`, {
      hint: 'Make the archive again without --sparse.',
    });
  }
  if (keyword.startsWith(xattrPrefix)) {
    fields.xattrs ??= {};
    Object.defineProperty(fields.xattrs, keyword.slice(xattrPrefix.length), {
      value: value.toString('base64'),
      enumerable: true,
      configurable: true,
      writable: true,
    });
  }
}

function wholeNumber(text: string, keyword: string, what: string): number {
  const value = /^\d{1,16}$/.test(text) ? Number(text) : Number.NaN;
  if (!Number.isSafeInteger(value))
    throw new SlipwayError('INVALID_ARCHIVE', `${what}: impossible ${keyword} "${text.slice(0, 40)}" in a pax header`);
  return value;
}

/** Seconds with an optional fraction, rounded down as Go's Unix() does. */
function time(text: string, what: string): number {
  const value = /^-?\d{1,15}(?:\.\d*)?$/.test(text) ? Math.floor(Number(text)) : Number.NaN;
  if (!Number.isSafeInteger(value))
    throw new SlipwayError('INVALID_ARCHIVE', `${what}: impossible mtime "${text.slice(0, 40)}" in a pax header`);
  return value;
}
