// Records of builds that ended long ago: with their logs, stages and what they used. What they made is in the catalog and stays.
import { type BuildRecord, hasEnded } from '../build/build-records.ts';
import type { Options } from '../store/blobs.ts';
import { buildKeys } from '../store/keys.ts';
import { ignoreConflict } from '../store/removal.ts';
import type { Write } from '../store/table.ts';
import { transactionLimit } from '../store/table-rules.ts';
import { pageOf, pagesOf } from './pages.ts';
import type { CollectionParts } from './parts.ts';

/** Removes those of one page that were created before `before` (milliseconds since 1970), oldest first. */
export async function collectBuilds(
  { table }: CollectionParts,
  before: number,
  after: string | undefined,
  options?: Options,
): Promise<{ readonly next?: string; readonly builds: number }> {
  const { records, next } = await pageOf(table, buildKeys.builds, after, options);
  let builds = 0;
  for (const record of records) {
    const { id, created, state } = record.value as unknown as BuildRecord;
    // Ids sort by time: the rest is younger.
    if (created >= before) return { builds };
    if (!hasEnded(state)) continue;
    // The record last: while it is there, this is done again.
    for await (const page of pagesOf(table, buildKeys.partition(id), options)) {
      for (let at = 0; at < page.length; at += transactionLimit) {
        const writes = page
          .slice(at, at + transactionLimit)
          .map(({ partition, sort }): Write => ({ kind: 'delete', key: { partition, sort } }));
        await table.transact(writes, options);
      }
    }
    try {
      await table.delete(buildKeys.record(id), { condition: { ifVersion: record.version } }, options);
      builds++;
    } catch (error) {
      ignoreConflict(error);
    }
  }
  return { ...(next === undefined ? {} : { next }), builds };
}
