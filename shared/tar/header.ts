// One 512-byte header, read: ustar, pax, GNU and the old format before them.
import { SlipwayError } from '../errors.ts';
import { blockSize, field } from './format.ts';
import { decodeName } from './name.ts';

export interface RawHeader {
  /** With the ustar prefix joined on. */
  readonly name: string;
  readonly link: string;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly size: number;
  readonly mtime: number;
  readonly typeflag: string;
  readonly major: number;
  readonly minor: number;
}

export const isZeroBlock = (block: Buffer): boolean => block[0] === 0 && block.equals(zeros);
const zeros = Buffer.alloc(blockSize);

/** INVALID_ARCHIVE when the checksum or a number is wrong; `where` says which header. */
export function readHeader(block: Buffer, where: string): RawHeader {
  checkSum(block, where);
  const posix = block.toString('latin1', 257, 262) === 'ustar';
  const gnu = posix && block[262] === 0x20;
  const name = text(block, field.name);
  const prefix = posix && !gnu ? text(block, field.prefix) : '';
  const full = prefix === '' ? name : `${prefix}/${name}`;
  const shown = `${where} (${JSON.stringify(full.slice(0, 200))})`;
  const number = (part: readonly [number, number], label: string) => numeric(block, part, label, shown);
  const typeflag = String.fromCharCode(block[field.typeflag[0]] ?? 0);
  const device = typeflag === '3' || typeflag === '4';
  const size = number(field.size, 'size');
  if (size < 0) throw new SlipwayError('INVALID_ARCHIVE', `${shown}: negative size`);
  return {
    name: full,
    link: text(block, field.link),
    mode: number(field.mode, 'mode') & 0o7777,
    uid: owner(number(field.uid, 'uid'), 'uid', shown),
    gid: owner(number(field.gid, 'gid'), 'gid', shown),
    size,
    mtime: number(field.mtime, 'mtime'),
    typeflag,
    major: device && posix ? owner(number(field.major, 'device number'), 'device number', shown) : 0,
    minor: device && posix ? owner(number(field.minor, 'device number'), 'device number', shown) : 0,
  };
}

const owner = (value: number, label: string, where: string): number => {
  if (value < 0 || value > 0xffffffff) throw new SlipwayError('INVALID_ARCHIVE', `${where}: impossible ${label} ${value}`);
  return value;
};

function checkSum(block: Buffer, where: string): void {
  const stated = octal(block.toString('latin1', 148, 156));
  let unsigned = 8 * 0x20;
  for (let at = 0; at < blockSize; at++) if (at < 148 || at >= 156) unsigned += block[at]!;
  if (stated === unsigned) return;
  // Some old tars added the bytes as signed numbers.
  let signed = 8 * 0x20;
  for (let at = 0; at < blockSize; at++) if (at < 148 || at >= 156) signed += (block[at]! << 24) >> 24;
  if (stated !== signed)
    throw new SlipwayError('INVALID_ARCHIVE', `${where}: the header's checksum is wrong: no tar, or a damaged one`);
}

function text(block: Buffer, [offset, length]: readonly [number, number]): string {
  let end = block.indexOf(0, offset);
  if (end < 0 || end > offset + length) end = offset + length;
  // The quick way for what nearly all names are; decodeName for the rest.
  for (let at = offset; at < end; at++) if (block[at]! > 0x7f) return decodeName(block.subarray(offset, end));
  return block.toString('latin1', offset, end);
}

function numeric(block: Buffer, [offset, length]: readonly [number, number], label: string, where: string): number {
  const first = block[offset]!;
  const value = first & 0x80 ? base256(block, offset, length) : octal(block.toString('latin1', offset, offset + length));
  if (value === undefined || !Number.isSafeInteger(value))
    throw new SlipwayError('INVALID_ARCHIVE', `${where}: impossible ${label}`);
  return value;
}

/** Octal digits with spaces or NULs around them; nothing at all is 0. */
function octal(text: string): number | undefined {
  const digits = /^[ \u0000]*([0-7]*)[ \u0000]*/.exec(text);
  if (digits === null) return undefined;
  const rest = text.slice(digits[0].length);
  if (rest !== '' && !/[ \u0000]$/.test(digits[0])) return undefined;
  return digits[1] === '' ? (rest === '' ? 0 : undefined) : Number.parseInt(digits[1]!, 8);
}

/** GNU's binary numbers: two's complement, big-endian, the highest bit of the field set as the mark. */
function base256(block: Buffer, offset: number, length: number): number {
  const negative = (block[offset]! & 0x40) !== 0;
  let value = 0n;
  for (let at = 0; at < length; at++) value = (value << 8n) | BigInt(at === 0 ? block[offset]! & 0x7f : block[offset + at]!);
  const bits = BigInt(length * 8 - 1);
  return Number(negative ? value - (1n << bits) : value);
}
