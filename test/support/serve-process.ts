// A registry on a folder, in a process of its own, for tests that measure or kill it: `node serve-process.ts FOLDER [PORT]` prints its
// port. The folder is a home as local/home.ts lays it out: blobs beside a table.
import { join } from 'node:path';
import { createRegistry } from '../../shared/registry/app.ts';
import { startServer } from '../../shared/registry/node-server.ts';
import { TableCatalog } from '../../shared/store/catalog-table.ts';
import { DiskBlobs } from '../../shared/store/disk-blobs.ts';
import { SqliteTable } from '../../shared/store/sqlite-table.ts';

const [folder = '', port = '0'] = process.argv.slice(2);
const blobs = await DiskBlobs.open(folder);
const table = SqliteTable.open(join(folder, 'table.db'));
const catalog = new TableCatalog({ table, blobs, clock: () => Date.now() });
const registry = createRegistry({
  blobs,
  catalog,
  openMount: true,
  requestId: () => 'test',
  onFault: ({ call, error }) => console.error(call.method, call.path, error),
});
const server = await startServer({
  handle: registry.handle,
  host: '127.0.0.1',
  port: Number(port),
  onError: (e) => console.error(e),
});
console.log(server.port);
process.on('SIGTERM', () => {
  void server.stop().then(() => {
    table.close();
    process.exit(0);
  });
});
process.stdin.resume();
process.stdin.on('end', () => process.exit(0));
