// Whatever compression archives and layers come in, told by their first bytes, never by a name or a media type.
import { createGunzip } from 'node:zlib';
import { SlipwayError, throwIfCancelled } from '../errors.ts';
import type { Bytes } from '../store/blobs.ts';
import { chunkSize } from './chunk-size.ts';
import { limited } from './limited.ts';
import { through } from './through.ts';

export type StreamFormat = 'none' | 'gzip' | 'zstd' | 'bzip2' | 'xz';

/** Enough bytes to tell every format. */
const magicLength = 6;

/** What `start`, the first bytes of a stream, says it is. */
export function formatOf(start: Uint8Array): StreamFormat {
  const [a, b, c, d, e, f] = start;
  if (a === 0x1f && b === 0x8b) return 'gzip';
  if (a === 0x28 && b === 0xb5 && c === 0x2f && d === 0xfd) return 'zstd';
  // A skippable frame (RFC 8878, 3.1.2) may stand before the first real one.
  if (a !== undefined && (a & 0xf0) === 0x50 && b === 0x2a && c === 0x4d && d === 0x18) return 'zstd';
  if (a === 0x42 && b === 0x5a && c === 0x68 && d !== undefined && d >= 0x31 && d <= 0x39) return 'bzip2';
  if (a === 0xfd && b === 0x37 && c === 0x7a && d === 0x58 && e === 0x5a && f === 0x00) return 'xz';
  return 'none';
}

/** Looks at the first bytes without losing them. */
export async function sniff(
  source: Bytes,
): Promise<{ readonly format: StreamFormat; readonly bytes: AsyncGenerator<Uint8Array> }> {
  const iterator = source[Symbol.asyncIterator]();
  const held: Uint8Array[] = [];
  let start = new Uint8Array(0);
  while (start.length < magicLength) {
    const { done, value } = await iterator.next();
    if (done) break;
    held.push(value);
    start =
      held.length === 1
        ? new Uint8Array(value.subarray(0, magicLength))
        : new Uint8Array(Buffer.concat(held).subarray(0, magicLength));
  }
  async function* all() {
    try {
      yield* held.splice(0);
      for (;;) {
        const { done, value } = await iterator.next();
        if (done) return;
        yield value;
      }
    } finally {
      await iterator.return?.();
    }
  }
  return { format: formatOf(start), bytes: all() };
}

export interface DecompressOptions {
  /** TOO_LARGE past this many bytes of output: the defence against bombs. */
  readonly limit?: number;
  /** Names the stream in errors. */
  readonly what?: string;
  readonly signal?: AbortSignal;
}

/**
 * The decompressed bytes of a stream in any known format, or the bytes themselves. gzip may have several members, zstd several frames,
 * bzip2 and xz several streams. Broken or cut off data is INVALID_ARCHIVE; an error of the source itself is passed on untouched.
 */
export async function* decompress(source: Bytes, options: DecompressOptions = {}): AsyncGenerator<Uint8Array, void, undefined> {
  const { what = 'compressed data', limit, signal } = options;
  const { format, bytes } = await sniff(source);
  const plain = decoded(format, bytes, what);
  for await (const chunk of limit === undefined ? plain : limited(plain, limit, `${what}, unpacked,`)) {
    throwIfCancelled(signal);
    yield chunk;
  }
}

async function* decoded(format: StreamFormat, source: AsyncGenerator<Uint8Array>, what: string): AsyncGenerator<Uint8Array> {
  let sourceError: unknown;
  async function* watched() {
    try {
      yield* source;
    } catch (error) {
      sourceError = error;
      throw error;
    }
  }
  // Loaded before anything is read: that a decoder is missing is no fault of the data.
  const decode = await decoderOf(format);
  try {
    yield* decode(format === 'none' ? source : watched());
  } catch (error) {
    if (error === sourceError || error instanceof SlipwayError) throw error;
    throw new SlipwayError(
      'INVALID_ARCHIVE',
      `${what}: broken ${format} data: ${error instanceof Error ? error.message : String(error)}`,
      {
        cause: error,
      },
    );
  }
}

type Decoder = (source: AsyncGenerator<Uint8Array>) => AsyncIterable<Uint8Array>;

async function decoderOf(format: StreamFormat): Promise<Decoder> {
  switch (format) {
    case 'none':
      return (source) => source;
    case 'gzip':
      return (source) => through(source, createGunzip({ chunkSize }));
    case 'zstd':
      return (await import('./zstd.ts')).unzstd;
    case 'bzip2':
      return (await import('./bzip2.ts')).bunzip2;
    case 'xz':
      return (await import('./xz.ts')).unxz;
  }
}
