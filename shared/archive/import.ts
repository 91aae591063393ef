// Importing a root filesystem (F35): one tar becomes an image of one layer with an empty config. gzip and zstd are kept as they came,
// everything else is compressed with gzip.
import { createHash } from 'node:crypto';
import { createGzip } from 'node:zlib';
import { SlipwayError } from '../errors.ts';
import { type CommittedImage, commitImages, type Name } from '../image/commit.ts';
import type { ImageParts } from '../image/images.ts';
import { LayerRecords } from '../layer/record.ts';
import { TocHandler } from '../layer/toc-of-layer.ts';
import type { ImageConfig } from '../oci/config.ts';
import type { Digest } from '../oci/digest.ts';
import { mediaType } from '../oci/media-type.ts';
import type { Platform } from '../oci/platform.ts';
import type { BlobStat, Bytes, Options } from '../store/blobs.ts';
import { freeBlobs } from '../store/condemned.ts';
import { chunkSize } from '../stream/chunk-size.ts';
import { decompress, type StreamFormat, sniff } from '../stream/decompress.ts';
import { through } from '../stream/through.ts';
import { TarParser } from '../tar/parse.ts';
import { applyChanges, importChanges } from './changes.ts';

export interface ImportOptions extends Options {
  readonly names?: readonly Name[];
  /** Dockerfile instructions that edit the config. */
  readonly changes?: readonly string[];
  /** `comment` of the history. Default `Imported from SOURCE`. */
  readonly message?: string;
  /** What the comment calls the source. */
  readonly source: string;
  readonly platform: Platform;
  readonly by?: string;
}

/** @throws INVALID_ARCHIVE or UNSAFE_PATH for what is no tar of a root filesystem: nothing is kept then */
export async function importImage(parts: ImageParts, source: Bytes, options: ImportOptions): Promise<CommittedImage> {
  // Before anything is stored: a mistake in a change is found at once.
  const created = new Date(Math.floor(parts.clock() / 1000) * 1000).toISOString().replace('.000Z', 'Z');
  const empty: ImageConfig = {
    created,
    ...configPlatform(options.platform),
    config: {},
    rootfs: { type: 'layers', diff_ids: [] },
  };
  const config = await applyChanges(empty, options.changes ?? [], importChanges);
  const made: Digest[] = [];
  try {
    const layer = await storeLayer(parts, source, made, options);
    const whole: ImageConfig = {
      ...config,
      rootfs: { type: 'layers', diff_ids: [layer.diffId] },
      history: [{ created, comment: options.message || `Imported from ${options.source}` }],
    };
    const { names = [], by, signal } = options;
    const descriptor = { mediaType: layer.mediaType, digest: layer.stat.digest, size: layer.stat.size };
    const committed = await commitImages(parts, [{ config: whole, layers: [descriptor] }], {
      names,
      ...(by !== undefined && { by }),
      ...(signal && { signal }),
    });
    await new LayerRecords(parts.table, parts.blobs).save({ descriptor, diffId: layer.diffId, toc: layer.toc }, options);
    return committed;
  } finally {
    // After a commit the layer is linked and stays; without one it goes.
    await freeBlobs(parts, made, async () => false);
  }
}

const configPlatform = ({ os, architecture, variant }: Platform) => ({ architecture, os, ...(variant && { variant }) });

interface StoredLayer {
  readonly stat: BlobStat;
  readonly mediaType: string;
  readonly diffId: Digest;
  /** Its table of contents. */
  readonly toc: Uint8Array;
}

async function storeLayer({ blobs }: ImageParts, source: Bytes, made: Digest[], options: Options): Promise<StoredLayer> {
  const { format, bytes } = await sniff(source);
  const check = new TarCheck();
  if (format === 'gzip' || format === 'zstd') {
    const stat = await blobs.put(bytes, {}, options);
    made.push(stat.digest);
    const blob = await blobs.open(stat.digest, undefined, options);
    if (blob === undefined) throw new SlipwayError('STORE', `the layer ${stat.digest} has gone from the store`);
    for await (const _ of check.passing(unpacked(blob.body, options)));
    return { stat, mediaType: format === 'gzip' ? mediaType.ociLayerGzip : mediaType.ociLayerZstd, ...check.finish() };
  }
  const plain = format === ('none' satisfies StreamFormat) ? bytes : unpacked(bytes, options);
  const stat = await blobs.put(through(check.passing(plain), createGzip({ level: 1, chunkSize })), {}, options);
  made.push(stat.digest);
  return { stat, mediaType: mediaType.ociLayerGzip, ...check.finish() };
}

const unpacked = (source: Bytes, { signal }: Options): Bytes =>
  decompress(source, { what: 'the archive', ...(signal && { signal }) });

/** Hashes a tar, makes sure that it is one, and notes what is in it: builds on the image then need not read it. */
class TarCheck {
  readonly #hash = createHash('sha256');
  #members = 0;
  readonly #toc = new TocHandler();
  readonly #parser = new TarParser(
    {
      entry: (entry) => {
        this.#members++;
        this.#toc.entry(entry);
      },
      data: (slice) => this.#toc.data(slice),
      end: () => this.#toc.end(),
    },
    { what: 'the archive', absolute: 'strip' },
  );

  async *passing(source: Bytes): AsyncGenerator<Uint8Array> {
    for await (const chunk of source) {
      this.#parser.write(chunk);
      this.#hash.update(chunk);
      yield chunk;
    }
    this.#parser.finish();
    if (this.#members === 0) {
      throw new SlipwayError('INVALID_ARCHIVE', 'the archive is empty: there is nothing to import');
    }
  }

  finish(): Pick<StoredLayer, 'diffId' | 'toc'> {
    const diffId: Digest = `sha256:${this.#hash.digest('hex')}`;
    return { diffId, toc: this.#toc.builder.finish(diffId) };
  }
}
