// zstd of several frames (RFC 8878, section 3.1). Node's decompressor stops silently after the first frame, so frames are told apart
// here, by their block headers, and each is given to a decompressor of its own.
import { createZstdDecompress } from 'node:zlib';
import type { Bytes } from '../store/blobs.ts';
import { ByteReader } from './byte-reader.ts';
import { chunkSize } from './chunk-size.ts';
import { through } from './through.ts';

const magic = 0xfd2fb528;
const truncated = () => new Error('unexpected end of data');

const uint32 = (bytes: Uint8Array): number => new DataView(bytes.buffer, bytes.byteOffset, 4).getUint32(0, true);

/** The decompressed bytes of all frames; skippable frames are skipped. Plain errors: decompress.ts names them. */
export async function* unzstd(source: Bytes): AsyncGenerator<Uint8Array, void, undefined> {
  const reader = new ByteReader(source);
  try {
    while (!(await reader.ended())) {
      const start = await exactly(reader, 4);
      const value = uint32(start);
      if (value === magic) yield* through(frame(reader, start), createZstdDecompress({ chunkSize }));
      else if (value >= 0x184d2a50 && value <= 0x184d2a5f) await skip(reader, uint32(await exactly(reader, 4)));
      else throw new Error('bytes after the last frame that are no frame');
    }
  } finally {
    await reader.close();
  }
}

/** The bytes of one frame whose magic was read already. */
async function* frame(reader: ByteReader, start: Uint8Array): AsyncGenerator<Uint8Array, void, undefined> {
  const descriptor = (await exactly(reader, 1))[0] ?? 0;
  const single = (descriptor & 0x20) !== 0;
  const contentSizeFlag = descriptor >> 6;
  const contentSizeBytes = contentSizeFlag === 0 ? (single ? 1 : 0) : 1 << contentSizeFlag;
  const dictionaryBytes = [0, 1, 2, 4][descriptor & 3] ?? 0;
  const rest = (single ? 0 : 1) + dictionaryBytes + contentSizeBytes;
  yield Buffer.concat([start, Uint8Array.of(descriptor), await exactly(reader, rest)]);
  for (let last = false; !last; ) {
    const head = await exactly(reader, 3);
    const bits = (head[0] ?? 0) | ((head[1] ?? 0) << 8) | ((head[2] ?? 0) << 16);
    last = (bits & 1) === 1;
    const type = (bits >> 1) & 3;
    if (type === 3) throw new Error('reserved block type');
    let left = type === 1 ? 1 : bits >> 3;
    yield head;
    while (left > 0) {
      const piece = await reader.some(left);
      if (piece === undefined) throw truncated();
      left -= piece.length;
      yield piece;
    }
  }
  if (descriptor & 4) yield await exactly(reader, 4);
}

async function exactly(reader: ByteReader, length: number): Promise<Uint8Array> {
  if (length === 0) return new Uint8Array(0);
  const bytes = await reader.upTo(length);
  if (bytes.length < length) throw truncated();
  return bytes;
}

async function skip(reader: ByteReader, length: number): Promise<void> {
  for (let left = length; left > 0; ) {
    const piece = await reader.some(left);
    if (piece === undefined) throw truncated();
    left -= piece.length;
  }
}
