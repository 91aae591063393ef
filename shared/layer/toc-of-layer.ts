// The table of contents of a layer that was not written here: its blob is read once.
import { createHash } from 'node:crypto';
import { SlipwayError } from '../errors.ts';
import type { Digest } from '../oci/digest.ts';
import type { Bytes } from '../store/blobs.ts';
import { type DecompressOptions, decompress } from '../stream/decompress.ts';
import { type TarHandler, TarParser } from '../tar/parse.ts';
import type { Entry } from './entry.ts';
import { TocBuilder } from './toc-builder.ts';

/** Feeds a table of contents from a parser, hashing every file. */
export class TocHandler implements TarHandler {
  readonly builder = new TocBuilder();
  #file:
    | { readonly entry: Entry; readonly hash: ReturnType<typeof createHash>; readonly kept: Uint8Array[] | undefined }
    | undefined;

  entry(entry: Entry): void {
    if (entry.type === 'file' && entry.size > 0) {
      this.#file = { entry, hash: createHash('sha256'), kept: TocBuilder.keepsContent(entry) ? [] : undefined };
    } else this.builder.add(entry.type === 'file' ? { ...entry, digest: emptyDigest } : entry);
  }

  data(slice: Uint8Array): void {
    this.#file?.hash.update(slice);
    this.#file?.kept?.push(Uint8Array.from(slice));
  }

  end(): void {
    const { entry, hash, kept } = this.#file!;
    this.#file = undefined;
    this.builder.add({ ...entry, digest: `sha256:${hash.digest('hex')}` }, kept && Buffer.concat(kept));
  }
}

const emptyDigest: Digest = `sha256:${createHash('sha256').digest('hex')}`;

/**
 * The encoded table of contents of the layer whose blob (gzip, zstd or plain) is `blob`. DIGEST_MISMATCH unless its tar has the diffID;
 * INVALID_ARCHIVE and UNSAFE_PATH for what is no layer.
 */
export async function tocOfLayer(blob: Bytes, diffId: Digest, options: Omit<DecompressOptions, 'what'> = {}): Promise<Buffer> {
  const what = `layer ${diffId.slice(0, 19)}`;
  const handler = new TocHandler();
  const parser = new TarParser(handler, { what, absolute: 'strip' });
  const hash = createHash('sha256');
  for await (const chunk of decompress(blob, { ...options, what })) {
    hash.update(chunk);
    parser.write(chunk);
  }
  parser.finish();
  const actual = `sha256:${hash.digest('hex')}`;
  if (actual !== diffId) {
    throw new SlipwayError('DIGEST_MISMATCH', `${what} has diffID ${actual}, expected ${diffId}`, {
      details: { expected: diffId, actual },
    });
  }
  return handler.builder.finish(diffId);
}
