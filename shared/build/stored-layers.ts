// The executor's LayerStore on what is stored: blobs, layer records, and the threads that compress.
import { MergedTree } from '../layer/merged.ts';
import type { CompressPool } from '../layer/compress-pool.ts';
import type { Body, Entry } from '../layer/entry.ts';
import type { Layer } from '../layer/layer.ts';
import type { LayerRecords } from '../layer/record.ts';
import type { LayerBlobs } from '../layer/write.ts';
import type { Blobs } from '../store/blobs.ts';
import type { LayerStore, ScratchFolder } from './ports.ts';

export interface StoredLayersOptions {
  readonly blobs: Blobs & LayerBlobs;
  readonly records: LayerRecords;
  readonly pool: () => Promise<CompressPool>;
  readonly scratch: () => Promise<ScratchFolder>;
  /** The directory of a layer that is unpacked already, or undefined: the cheapest place to read files from. */
  readonly unpacked?: (layer: Layer) => string | undefined;
}
