// The builds under way of a home that keeps records of them.
import { type BuildRecord, hasEnded } from '../build/build-records.ts';
import type { Options } from '../store/blobs.ts';
import { buildKeys } from '../store/keys.ts';
import type { Table } from '../store/table.ts';

const pageSize = 500;
/** Milliseconds after which a build whose end was never written is taken for dead. */
const longest = 7 * 24 * 3600_000;

/** When the oldest of them was created: milliseconds since 1970, `undefined` when none is under way. Ids sort by time. */
export async function oldestBuild(table: Table, now: number, options?: Options): Promise<number | undefined> {
  let oldest: number | undefined;
  for (let after: string | undefined; ; ) {
    const query = { limit: pageSize, reverse: true, ...(after === undefined ? {} : { after }) };
    const page = await table.query(buildKeys.builds, query, options);
    for (const { value } of page) {
      const { created, state } = value as unknown as BuildRecord;
      if (created < now - longest) return oldest;
      if (!hasEnded(state)) oldest = created;
    }
    if (page.length < pageSize) return oldest;
    after = page.at(-1)!.sort;
  }
}
