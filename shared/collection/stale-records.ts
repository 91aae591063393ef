// Records of what is no longer stored: cached steps and layers whose blobs are gone, context files whose packs are, facts of images that
// are. They would do no harm, because everybody who reads one looks whether the blob is there; but they would never end.
import { layerRecordOf } from '../layer/record.ts';
import { type Digest, isDigest } from '../oci/digest.ts';
import type { Options } from '../store/blobs.ts';
import { mapBounded } from '../store/bounded.ts';
import { cacheKeys, contextKeys, imageKeys, layerKeys } from '../store/keys.ts';
import { ignoreConflict } from '../store/removal.ts';
import type { TableRecord } from '../store/table.ts';
import { pageOf, pagesOf } from './pages.ts';
import type { CollectionParts } from './parts.ts';

type Kind = 'layer' | 'step' | 'body' | 'named';

/** The partitions that hold such records, in the order in which they are gone through: layers before what names them. */
export async function recordPartitions({ table }: CollectionParts, options?: Options): Promise<ReadonlyMap<string, Kind>> {
  const partitions = new Map<string, Kind>();
  for (const partition of layerKeys.partitions) partitions.set(partition, 'layer');
  for (const partition of cacheKeys.partitions) partitions.set(partition, 'step');
  for (const partition of imageKeys.partitions) partitions.set(partition, 'named');
  for await (const projects of pagesOf(table, contextKeys.projects, options)) {
    for (const { sort: project } of projects) {
      for (const partition of contextKeys.bodies(project)) partitions.set(partition, 'body');
      partitions.set(contextKeys.lists(project), 'named');
    }
  }
  return partitions;
}

/** Removes the stale records of one page of a partition. */
export async function collectRecords(
  parts: CollectionParts,
  partition: string,
  kind: Kind,
  after: string | undefined,
  options?: Options,
): Promise<{ readonly next?: string; readonly seen: number; readonly records: number }> {
  const { table, blobs } = parts;
  const { records, next } = await pageOf(table, partition, after, options);
  // Many files of a context are in one pack.
  const looked = new Map<Digest, Promise<boolean>>();
  const isThere = (digest: Digest): Promise<boolean> => {
    const known = looked.get(digest) ?? blobs.fading.look(digest, options).then((found) => found !== undefined);
    looked.set(digest, known);
    return known;
  };
  let removed = 0;
  await mapBounded(records, async (record) => {
    if (!(await isStale(parts, kind, record, isThere, options))) return;
    try {
      // If it is still the one that was read: what it names may have been made again.
      const condition = { ifVersion: record.version };
      if (await table.delete({ partition: record.partition, sort: record.sort }, { condition }, options)) removed++;
    } catch (error) {
      ignoreConflict(error);
    }
  });
  return { ...(next === undefined ? {} : { next }), seen: records.length, records: removed };
}

async function isStale(
  { table }: CollectionParts,
  kind: Kind,
  record: TableRecord,
  isThere: (digest: Digest) => Promise<boolean>,
  options?: Options,
): Promise<boolean> {
  switch (kind) {
    case 'layer':
      return isLayerGone(record, isThere);
    case 'step': {
      const { diffId } = (record.value ?? {}) as { readonly diffId?: unknown };
      if (typeof diffId !== 'string' || !isDigest(diffId)) return true;
      const layer = await table.get(layerKeys.record(diffId), options);
      return layer === undefined || isLayerGone(layer, isThere);
    }
    case 'body': {
      const { blob } = (record.value ?? {}) as { readonly blob?: unknown };
      return typeof blob !== 'string' || !isDigest(blob) || !(await isThere(blob));
    }
    case 'named':
      return !isDigest(record.sort) || !(await isThere(record.sort));
  }
}

async function isLayerGone(record: TableRecord, isThere: (digest: Digest) => Promise<boolean>): Promise<boolean> {
  for (const { descriptor } of layerRecordOf(record)?.forms ?? []) if (await isThere(descriptor.digest)) return false;
  return true;
}
