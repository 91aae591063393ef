// A partition of the table, page by page.
import type { Options } from '../store/blobs.ts';
import type { Table, TableRecord } from '../store/table.ts';

const pageSize = 500;

/** One page; `next` is where the following one starts, if there can be one. */
export async function pageOf(
  table: Table,
  partition: string,
  after: string | undefined,
  options?: Options,
): Promise<{ readonly records: readonly TableRecord[]; readonly next?: string }> {
  const records = await table.query(partition, { limit: pageSize, ...(after === undefined ? {} : { after }) }, options);
  return records.length < pageSize ? { records } : { records, next: records.at(-1)!.sort };
}

export async function* pagesOf(table: Table, partition: string, options?: Options): AsyncGenerator<readonly TableRecord[]> {
  for (let after: string | undefined; ; ) {
    const { records, next } = await pageOf(table, partition, after, options);
    yield records;
    if (next === undefined) return;
    after = next;
  }
}
