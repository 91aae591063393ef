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
  const { blobs, records } = options;
  const pool = async () => (typeof options.pool === 'function' ? options.pool() : options.pool);
  return {
    find: (diffId) => records.find(diffId),
    tree: (layers, signal) => records.tree(layers, { signal }),
    async write(entries, like, { epoch, signal }) {
      const reuse = like === undefined ? undefined : await records.reusable(like, mediaType.ociLayerGzip, { signal });
      const { makeLayer } = await import('../layer/write.ts');
      const { layer, stored } = await makeLayer(entries, {
        blobs,
        compression: 'gzip',
        pool: await pool(),
        signal,
        ...(epoch === undefined ? {} : { epoch }),
        ...(reuse === undefined ? {} : { reuse }),
      });
      records.expect(layer.toc);
      // A small layer is made again, or read whole, sooner than its index is stored.
      const { members, ...rest } = layer;
      const record = layer.uncompressedSize < worthIndex ? rest : { ...rest, members };
      // Without the signal: what is made is kept, also by a build that is stopped now.
      const recorded = stored.then(() => records.save(record));
      recorded.catch(() => undefined);
      return { layer: { descriptor: layer.descriptor, diffId: layer.diffId }, stored: recorded };
    },
    warm() {
      // What fails here fails again, and is reported, where it is needed.
      void Promise.all([pool(), import('../layer/write.ts')]).then(
        ([threads]) => threads.warm(),
        () => undefined,
      );
    },
    async withBodies(layers, tree, wanted, use, signal) {
      const { layerBodies } = await import('./layer-bodies.ts');
      return layerBodies(options, layers, tree, wanted, use, signal);
    },
  };
}
