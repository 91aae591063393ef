import { join } from 'node:path';
import { DiskBlobs } from '../../shared/store/disk-blobs.ts';
import { SqliteTable } from '../../shared/store/sqlite-table.ts';
import { tempFolder } from '../support/temp.ts';
import { racesContract } from './catalog-races-suite.ts';
import { removalContract } from './catalog-removal-suite.ts';
import { catalogContract } from './catalog-suite.ts';

const open = async () => {
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
};
catalogContract('SqliteTable and DiskBlobs', open);
removalContract('SqliteTable and DiskBlobs', open);
racesContract('SqliteTable and DiskBlobs', open);
