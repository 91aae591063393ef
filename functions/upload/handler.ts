// The upload host: an HTTP server, as a Lambda Web Function (AWS_LAMBDA_HTTP_ENDPOINT says where to listen), in a container of the team's, or
// on this machine (SLIPWAY_LISTEN). It takes request bodies of any size, which API Gateway does not.
import { randomUUID } from 'node:crypto';
import { startServer } from '../../shared/registry/node-server.ts';
import { createUploadHost } from '../../shared/registry/upload-host.ts';
import { TableCatalog } from '../../shared/store/catalog-table.ts';
import { required } from '../environment.ts';
import { logFault } from '../log.ts';
import { openBlobs, openTable } from '../stores.ts';
import { uploadTickets } from '../token-keys.ts';

const { env } = process;
const keys = uploadTickets(env, () => Date.now() / 1000);
const table = openTable(env);

/** `host:port`, or a URL with both. */
function listenOn(): { readonly host: string; readonly port: number } {
  const text = env.SLIPWAY_LISTEN || required(env, 'AWS_LAMBDA_HTTP_ENDPOINT');
  const { hostname, port } = new URL(text.includes('://') ? text : `http://${text}`);
  return { host: hostname, port: Number(port || 80) };
}

async function main(): Promise<void> {
  const blobs = await openBlobs(env, table);
  const catalog = new TableCatalog({ table, blobs, clock: Date.now });
  const registryUrl = required(env, 'SLIPWAY_URL');
  const server = await startServer({
    ...listenOn(),
    // Made for each call: the secret may have changed.
    handle: async (call) =>
      createUploadHost({ blobs, catalog, tickets: await keys(), registryUrl, requestId: randomUUID, onFault: logFault })(call),
    onError: (error) => process.stderr.write(`${error instanceof Error ? error.stack : String(error)}\n`),
  });
  process.stdout.write(`${JSON.stringify({ listening: `${server.host}:${server.port}` })}\n`);
  process.once('SIGTERM', () => void server.stop());
}

main().catch((error: unknown) => {
  process.stderr.write(`${error instanceof Error ? error.stack : String(error)}\n`);
  process.exit(1);
});
