// The executor's LayerStore on what is stored: blobs, layer records, and the threads that compress.
import type { CompressPool } from '../layer/compress-pool.ts';
import type { LayerRecords } from '../layer/record.ts';
import { type LayerBlobs, writeLayer } from '../layer/write.ts';
import { mediaType } from '../oci/media-type.ts';
import { type LayerFiles, layerBodies } from './layer-bodies.ts';
import type { LayerStore } from './ports.ts';

export interface StoredLayersOptions extends LayerFiles {
  readonly blobs: LayerFiles['blobs'] & LayerBlobs;
  readonly records: LayerRecords;
  readonly pool: CompressPool;
}

/** Layers are written as gzip members: what every client can read. */
export function storedLayers(options: StoredLayersOptions): LayerStore {
  const { blobs, records, pool } = options;
  return {
    find: (diffId) => records.find(diffId),
    tree: (layers, signal) => records.tree(layers, { signal }),
    async write(entries, like, { epoch, signal }) {
      const reuse = like === undefined ? undefined : await records.reusable(like, mediaType.ociLayerGzip, { signal });
      const written = await writeLayer(entries, {
        blobs,
        compression: 'gzip',
        pool,
        signal,
        ...(epoch === undefined ? {} : { epoch }),
        ...(reuse === undefined ? {} : { reuse }),
      });
      await records.save(written, { signal });
      return { descriptor: written.descriptor, diffId: written.diffId };
    },
    withBodies: (layers, tree, wanted, use, signal) => layerBodies(options, layers, tree, wanted, use, signal),
  };
}
