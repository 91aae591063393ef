// Blobs that no repository links and that are needed all the same: what is noted of layers that are. Without them a COPY onto a base
// image would have to read the base (N03).
import { layerRecordOf } from '../layer/record.ts';
import type { Options } from '../store/blobs.ts';
import { mapBounded } from '../store/bounded.ts';
import { layerKeys } from '../store/keys.ts';
import { DigestSet } from './digest-set.ts';
import { pagesOf } from './pages.ts';
import type { CollectionParts } from './parts.ts';

/**
 * Tables of contents and member indexes of all layers that are stored and not marked to go themselves. Taken once, before blobs are
 * looked at: what comes afterwards has no mark, and cannot be dropped.
 */
export async function layerNotes({ table, blobs }: CollectionParts, options?: Options): Promise<DigestSet> {
  const notes = new DigestSet();
  for (const partition of layerKeys.partitions) {
    for await (const records of pagesOf(table, partition, options)) {
      await mapBounded(records, async (record) => {
        const { toc, forms = [] } = layerRecordOf(record) ?? {};
        let alive = false;
        for (const { descriptor, members } of forms) {
          const found = await blobs.fading.look(descriptor.digest, options);
          if (found === undefined || found.since !== undefined) continue;
          alive = true;
          if (members !== undefined) notes.add(members);
        }
        if (alive && toc !== undefined) notes.add(toc);
      });
    }
  }
  return notes;
}
