// Ranges of HTTP (RFC 9110 section 14) for downloads, and the bare `start-end` of the distribution spec for uploads.
import type { ByteRange } from '../store/blobs.ts';
import { OciError } from './errors.ts';

/**
 * The one range that `header` asks of a blob of `size` bytes. `undefined`: send all of it (no header, another unit, a malformed one, or
 * several ranges, all of which a server may ignore). `unsatisfiable`: 416.
 */
export function requestedRange(header: string | undefined, size: number): Required<ByteRange> | 'unsatisfiable' | undefined {
  if (header === undefined) return undefined;
  const match = /^bytes=(\d*)-(\d*)$/i.exec(header.trim());
  if (match === null) return undefined;
  const [, from = '', to = ''] = match;
  if (from === '') {
    if (to === '') return undefined;
    const length = Number(to);
    return length === 0 || size === 0 ? 'unsatisfiable' : { start: Math.max(0, size - length), end: size };
  }
  const start = Number(from);
  const last = to === '' ? size - 1 : Number(to);
  if (to !== '' && last < start) return undefined;
  return start >= size ? 'unsatisfiable' : { start, end: Math.min(last + 1, size) };
}

/** `Content-Range` of a chunk: `start-end`, end inclusive. Malformed is BLOB_UPLOAD_INVALID. */
export function chunkRange(header: string | undefined): { readonly start: number; readonly length: number } | undefined {
  if (header === undefined) return undefined;
  // RFC 9110's `bytes 0-9/*` is taken too: several clients send it.
  const match = /^(?:bytes[ =])?(\d{1,15})-(\d{1,15})(?:\/(?:\d{1,15}|\*))?$/.exec(header.trim());
  const start = Number(match?.[1]);
  const end = Number(match?.[2]);
  if (match === null || end < start) {
    throw new OciError('BLOB_UPLOAD_INVALID', `Content-Range "${header.slice(0, 100)}" is not START-END with END inclusive`);
  }
  return { start, length: end - start + 1 };
}

/** Content-Length as a number. Malformed is SIZE_INVALID. */
export function lengthOf(header: string | undefined): number | undefined {
  if (header === undefined) return undefined;
  if (!/^\d{1,15}$/.test(header)) throw new OciError('SIZE_INVALID', `Content-Length "${header.slice(0, 40)}" is not a length`);
  return Number(header);
}
