// The parts of an embedded home in a temporary folder: real table, real blobs, real catalog.
import { join } from 'node:path';
import { TableCatalog } from '../../shared/store/catalog-table.ts';
import { DiskBlobs } from '../../shared/store/disk-blobs.ts';
import { SqliteTable } from '../../shared/store/sqlite-table.ts';
import { tempFolder } from './temp.ts';

export async function storeHome(clock: () => number = Date.now) {
  const folder = await tempFolder();
  const table = SqliteTable.open(join(folder.path, 'table.db'));
  const blobs = await DiskBlobs.open(folder.path);
  return {
    root: folder.path,
    table,
    blobs,
    catalog: new TableCatalog({ table, blobs, clock }),
    clock,
    async [Symbol.asyncDispose]() {
      table.close();
      await folder[Symbol.asyncDispose]();
    },
  };
}

export type StoreHome = Awaited<ReturnType<typeof storeHome>>;

/** Digests of all blobs in the store. */
export const blobsOf = async (home: StoreHome): Promise<readonly string[]> =>
  (await home.blobs.list({ limit: 100_000 })).map(({ digest }) => digest);
