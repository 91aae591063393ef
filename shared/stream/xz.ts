// xz through xz-decompress: xz-embedded as WebAssembly, streaming, 40 KB, loaded only when an .xz comes. It reads one stream a call and
// stops quietly where its input is cut off, so the footer is checked here (xz file format 1.1.0, section 2.1.2).
import * as xz from 'xz-decompress';
import type { Bytes } from '../store/blobs.ts';
import { fromReadableStream, toReadableStream } from './web.ts';

// A CommonJS module whose names Node cannot see: run as it is they are in `default`, bundled they are in the namespace too.
const { XzReadableStream } = (xz as typeof xz & { readonly default?: typeof xz }).default ?? xz;

/** The decompressed bytes. Plain errors: decompress.ts names them. */
export async function* unxz(source: Bytes): AsyncGenerator<Uint8Array, void, undefined> {
  let tail = new Uint8Array(0);
  let sourceEnded = false;
  async function* watched() {
    for await (const chunk of source) {
      tail = Uint8Array.from(chunk.length >= 2 ? chunk.subarray(-2) : [...tail, ...chunk].slice(-2));
      yield chunk;
    }
    sourceEnded = true;
  }
  yield* fromReadableStream(new XzReadableStream(toReadableStream(watched())));
  if (sourceEnded && !(tail[0] === 0x59 && tail[1] === 0x5a)) throw new Error('unexpected end of data');
}
