// Node's transforms (zlib) as a step of a pulled stream.
import { type Duplex, pipeline, Readable } from 'node:stream';

/** Pulls `source` through one of Node's transforms; leaving early destroys both. */
export async function* through(
  source: AsyncIterable<Uint8Array>,
  transform: Duplex,
): AsyncGenerator<Uint8Array, void, undefined> {
  // The callback only keeps the pipeline's failure from being unhandled: the same error ends the iteration below.
  const out = pipeline(Readable.from(source, { objectMode: true, highWaterMark: 1 }), transform, () => undefined);
  for await (const chunk of out as AsyncIterable<Uint8Array>) yield chunk;
}
