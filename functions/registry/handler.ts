// The registry, behind API Gateway. The authorizer has let the call's token pass; what the token covers is decided here.
import { randomUUID } from 'node:crypto';
import { createRegistry } from '../../shared/registry/app.ts';
import { tokenGuard } from '../../shared/registry/token-guard.ts';
import { uploadUrl } from '../../shared/registry/upload-host.ts';
import type { UploadTickets } from '../../shared/registry/upload-tickets.ts';
import { TableCatalog } from '../../shared/store/catalog-table.ts';
import { required } from '../environment.ts';
import { chunkLimit, gatewayHandler } from '../gateway.ts';
import { logFault } from '../log.ts';
import { openBlobs, openTable } from '../stores.ts';
import { tokenKeys, uploadTickets } from '../token-keys.ts';

const seconds = (): number => Date.now() / 1000;
const audience = required(process.env, 'SLIPWAY_AUDIENCE');
const keys = tokenKeys(process.env, seconds);
const table = openTable(process.env);

// Where an upload host is deployed, uploads go on there in requests of any size; else clients are told what the gateway takes.
const uploads = process.env.SLIPWAY_UPLOAD_URL ? uploadTickets(process.env, seconds) : undefined;
let tickets: UploadTickets | undefined;
const large =
  uploads === undefined
    ? { chunkLimit }
    : {
        uploadLocation: (repository: string, id: string) =>
          uploadUrl(required(process.env, 'SLIPWAY_UPLOAD_URL'), tickets as UploadTickets)(repository, id),
      };

const ready = openBlobs(process.env, table).then((blobs) => {
  const registry = createRegistry({
    blobs,
    catalog: new TableCatalog({ table, blobs, clock: Date.now }),
    ...tokenGuard(async (token) => (await keys()).verify(token, { kind: 'access', audience, now: seconds() })),
    ...large,
    requestId: randomUUID,
    onFault: logFault,
  });
  return gatewayHandler(registry.handle);
});

export const handler: ReturnType<typeof gatewayHandler> = async (event) => {
  // The secret may have changed.
  tickets = await uploads?.();
  return (await ready)(event);
};
