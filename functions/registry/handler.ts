// The registry, behind API Gateway. The authorizer has let the call's token pass; what the token covers is decided here.
import { randomUUID } from 'node:crypto';
import { createRegistry } from '../../shared/registry/app.ts';
import { tokenGuard } from '../../shared/registry/token-guard.ts';
import { TableCatalog } from '../../shared/store/catalog-table.ts';
import { required } from '../environment.ts';
import { chunkLimit, gatewayHandler } from '../gateway.ts';
import { logFault } from '../log.ts';
import { openBlobs, openTable } from '../stores.ts';
import { tokenKeys } from '../token-keys.ts';

const seconds = (): number => Date.now() / 1000;
const audience = required(process.env, 'SLIPWAY_AUDIENCE');
const keys = tokenKeys(process.env, seconds);
const table = openTable(process.env);

const ready = openBlobs(process.env, table).then((blobs) => {
  const registry = createRegistry({
    blobs,
    catalog: new TableCatalog({ table, blobs, clock: Date.now }),
    ...tokenGuard(async (token) => (await keys()).verify(token, { kind: 'access', audience, now: seconds() })),
    chunkLimit,
    requestId: randomUUID,
    onFault: logFault,
  });
  return gatewayHandler(registry.handle);
});

export const handler: ReturnType<typeof gatewayHandler> = async (event) => (await ready)(event);
