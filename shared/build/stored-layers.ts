// The executor's LayerStore on what is stored: blobs, layer records, and the threads that compress.
import type { CompressPool } from '../layer/compress-pool.ts';
import type { LayerRecords } from '../layer/record.ts';
import type { LayerBlobs } from '../layer/write.ts';
import { mediaType } from '../oci/media-type.ts';
import type { LayerFiles } from './layer-bodies.ts';
import type { LayerStore } from './ports.ts';

export interface StoredLayersOptions extends LayerFiles {
  readonly blobs: LayerFiles['blobs'] & LayerBlobs;
  readonly records: LayerRecords;
  /** Opened when the first layer is written. */
  readonly pool: CompressPool | (() => Promise<CompressPool>);
}

/** Bytes of the tar from which on the member index is kept. */
const worthIndex = 4 * 1024 * 1024;

/** Layers are written as gzip members: what every client can read. */
export function storedLayers(options: StoredLayersOptions): LayerStore {
  const { blobs, records, pool } = options;
  return {
    find: (diffId) => records.find(diffId),
    tree: (layers, signal) => records.tree(layers, { signal }),
    async write(entries, like, { epoch, signal }) {
      const reuse = like === undefined ? undefined : await records.reusable(like, mediaType.ociLayerGzip, { signal });
      const { writeLayer } = await import('../layer/write.ts');
      const written = await writeLayer(entries, {
        blobs,
        compression: 'gzip',
        pool: typeof pool === 'function' ? await pool() : pool,
        signal,
        ...(epoch === undefined ? {} : { epoch }),
        ...(reuse === undefined ? {} : { reuse }),
      });
      // A small layer is made again, or read whole, sooner than its index is stored.
      const { members, ...rest } = written;
      await records.save(written.uncompressedSize < worthIndex ? rest : { ...rest, members }, { signal });
      return { descriptor: written.descriptor, diffId: written.diffId };
    },
    async withBodies(layers, tree, wanted, use, signal) {
      const { layerBodies } = await import('./layer-bodies.ts');
      return layerBodies(options, layers, tree, wanted, use, signal);
    },
  };
}
