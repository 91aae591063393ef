// File names are bytes; ours are strings. Names that are UTF-8 (nearly all) are what they look like. In others each byte that is no part
// of UTF-8 becomes a lone surrogate U+DC80..U+DCFF, as Python's "surrogateescape" does, so every name comes back byte for byte, passes
// through JSON, and never collides with a name that is UTF-8.
import { isUtf8 } from 'node:buffer';
import { SlipwayError } from '../errors.ts';

/** The name that `bytes` spell. */
export function decodeName(bytes: Uint8Array): string {
  return isUtf8(bytes) ? Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('utf8') : escaped(bytes);
}

function escaped(bytes: Uint8Array): string {
  let text = '';
  let good = 0;
  for (let at = 0; at < bytes.length; ) {
    const length = sequenceLength(bytes, at);
    if (length > 0) {
      at += length;
      continue;
    }
    text += Buffer.from(bytes.subarray(good, at)).toString('utf8') + String.fromCharCode(0xdc00 + bytes[at]!);
    good = ++at;
  }
  return text + Buffer.from(bytes.subarray(good)).toString('utf8');
}

/** Length of the valid UTF-8 sequence at `at`, 0 when there is none (Unicode, table 3-7). */
function sequenceLength(bytes: Uint8Array, at: number): number {
  const first = bytes[at]!;
  if (first < 0x80) return 1;
  const second = bytes[at + 1] ?? 0;
  const tail = (offset: number) => ((bytes[at + offset] ?? 0) & 0xc0) === 0x80;
  if (first >= 0xc2 && first <= 0xdf) return tail(1) ? 2 : 0;
  if (first >= 0xe0 && first <= 0xef) {
    const low = first === 0xe0 ? 0xa0 : 0x80;
    const high = first === 0xed ? 0x9f : 0xbf;
    return second >= low && second <= high && tail(2) ? 3 : 0;
  }
  if (first >= 0xf0 && first <= 0xf4) {
    const low = first === 0xf0 ? 0x90 : 0x80;
    const high = first === 0xf4 ? 0x8f : 0xbf;
    return second >= low && second <= high && tail(2) && tail(3) ? 4 : 0;
  }
  return 0;
}

/** The bytes of a name: the inverse of `decodeName`. A lone surrogate that stands for no byte is UNSAFE_PATH. */
export function encodeName(name: string): Buffer {
  if (name.isWellFormed()) return Buffer.from(name, 'utf8');
  const parts: Buffer[] = [];
  let good = 0;
  for (let at = 0; at < name.length; at++) {
    const unit = name.charCodeAt(at);
    if (unit < 0xd800 || unit > 0xdfff) continue;
    if (unit < 0xdc00 && (name.charCodeAt(at + 1) & 0xfc00) === 0xdc00) {
      at++;
      continue;
    }
    if (unit < 0xdc80 || unit > 0xdcff)
      throw new SlipwayError('UNSAFE_PATH', `${JSON.stringify(name)} is no file name: half a character`);
    parts.push(Buffer.from(name.slice(good, at), 'utf8'), Buffer.from([unit - 0xdc00]));
    good = at + 1;
  }
  return Buffer.concat([...parts, Buffer.from(name.slice(good), 'utf8')]);
}

/** What Node's fs functions must be given for a path: the string, or its bytes where a string would not arrive unchanged. */
export const fsPath = (path: string): string | Buffer => (path.isWellFormed() ? path : encodeName(path));

/** Orders paths by their bytes, which is the order of every list of entries. Negative, zero or positive. */
export function comparePaths(a: string, b: string): number {
  const length = Math.min(a.length, b.length);
  for (let at = 0; at < length; at++) {
    const left = a.charCodeAt(at);
    const right = b.charCodeAt(at);
    if (left === right) continue;
    // UTF-16 and UTF-8 order alike below the surrogates.
    return left < 0xd800 && right < 0xd800 ? left - right : Buffer.compare(encodeName(a), encodeName(b));
  }
  return a.length - b.length;
}
