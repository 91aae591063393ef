// A tar from entries, as a pulled stream: for exports and saves. Layers are written by layer/write.ts.
import { createReadStream } from 'node:fs';
import { SlipwayError, throwIfCancelled } from '../errors.ts';
import type { Body, EntryWithBody } from '../layer/entry.ts';
import type { Bytes } from '../store/blobs.ts';
import { chunkSize } from '../stream/chunk-size.ts';
import { encodeHeader, endOfArchive } from './encode.ts';
import { padding } from './format.ts';
import { fsPath } from './name.ts';

async function* one(bytes: Uint8Array) {
  yield bytes;
}

/** The bytes of a file body, wherever they come from. */
export async function openBody(body: Body, size: number, signal?: AbortSignal): Promise<Bytes> {
  switch (body.kind) {
    case 'bytes':
      return one(body.bytes);
    case 'file':
      return createReadStream(fsPath(body.path), { start: body.offset, end: body.offset + size - 1, highWaterMark: chunkSize });
    case 'open':
      return body.open(signal);
  }
}

/**
 * The archive, in the order given. A body that has not exactly its entry's size is CONTEXT_CHANGED: it was another when it was listed.
 */
export async function* writeTar(
  entries: Iterable<EntryWithBody> | AsyncIterable<EntryWithBody>,
  options: { readonly signal?: AbortSignal } = {},
): AsyncGenerator<Uint8Array, void, undefined> {
  for await (const { entry, body } of entries) {
    throwIfCancelled(options.signal);
    yield encodeHeader(entry);
    if (entry.size === 0) continue;
    if (body === undefined) throw new SlipwayError('INTERNAL', `${entry.path}: a file of ${entry.size} bytes without a body`);
    let seen = 0;
    for await (const chunk of await openBody(body, entry.size, options.signal)) {
      throwIfCancelled(options.signal);
      seen += chunk.length;
      if (seen > entry.size) break;
      yield chunk;
    }
    if (seen !== entry.size) {
      throw new SlipwayError(
        'CONTEXT_CHANGED',
        `${entry.path} had ${entry.size} bytes when it was listed and ${seen > entry.size ? 'more' : seen} when it was read`,
      );
    }
    const pad = padding(entry.size);
    if (pad > 0) yield endOfArchive.subarray(0, pad);
  }
  yield endOfArchive;
}
