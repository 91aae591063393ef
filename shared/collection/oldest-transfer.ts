// The transfers under way of a home that keeps records of them.
import type { Options } from '../store/blobs.ts';
import { transferKeys } from '../store/keys.ts';
import type { Table } from '../store/table.ts';
import { hasEnded } from '../transfer/service.ts';
import { longest, type TransferRecord } from '../transfer/transfer-records.ts';

const pageSize = 100;

/** When the oldest of them was created: milliseconds since 1970, `undefined` when none is under way. Ids sort by time. */
export async function oldestTransfer(table: Table, now: number, options?: Options): Promise<number | undefined> {
  let oldest: number | undefined;
  for (let after: string | undefined; ; ) {
    const query = { limit: pageSize, reverse: true, ...(after === undefined ? {} : { after }) };
    const page = await table.query(transferKeys.transfers, query, options);
    for (const { value } of page) {
      const { created, state } = value as unknown as TransferRecord;
      // No function lives that long.
      if (created < now - longest) return oldest;
      if (!hasEnded(state)) oldest = created;
    }
    if (page.length < pageSize) return oldest;
    after = page.at(-1)!.sort;
  }
}
