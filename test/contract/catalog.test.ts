import { join } from 'node:path';
import { DiskBlobs } from '../../shared/store/disk-blobs.ts';
import { SqliteTable } from '../../shared/store/sqlite-table.ts';
import { tempFolder } from '../support/temp.ts';
import { catalogContract } from './catalog-suite.ts';

catalogContract('SqliteTable and DiskBlobs', async () => {
  const folder = await tempFolder();
  const table = SqliteTable.open(join(folder.path, 'table.db'));
  const blobs = await DiskBlobs.open(folder.path);
  return {
    table,
    blobs,
    async [Symbol.asyncDispose]() {
      table.close();
      await folder[Symbol.asyncDispose]();
    },
  };
});
