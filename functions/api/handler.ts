// The control API, behind API Gateway: contexts, builds, images. The authorizer has let the call's token pass; here it is read again,
// because a gateway may be deployed without one.
import { LambdaClient } from '@aws-sdk/client-lambda';
import { SFNClient } from '@aws-sdk/client-sfn';
import { createApi } from '../../shared/api/app.ts';
import type { ApiFetch } from '../../shared/api/http.ts';
import type { ApiParts } from '../../shared/api/parts.ts';
import { tokenAccess } from '../../shared/api/token-access.ts';
import { BuildRecords } from '../../shared/build/build-records.ts';
import { oldestBuild } from '../../shared/collection/oldest-build.ts';
import { oldestTransfer } from '../../shared/collection/oldest-transfer.ts';
import { TableCatalog } from '../../shared/store/catalog-table.ts';
import { TransferRecords } from '../../shared/transfer/transfer-records.ts';
import { answerLimit, apiHandler } from '../api-gateway.ts';
import { countedBuild } from '../counted-calls.ts';
import { required } from '../environment.ts';
import { bodyLimit } from '../gateway.ts';
import { LambdaTransfers } from '../lambda-transfers.ts';
import { Metering } from '../metering.ts';
import { openRemotesOf } from '../remotes.ts';
import { StepFunctionsBuilds } from '../step-functions-builds.ts';
import { openArchives, openBlobs, openTable } from '../stores.ts';
import { tokenKeys } from '../token-keys.ts';

const { env } = process;
const clock = Date.now;
const table = openTable(env);
const seconds = (): number => Date.now() / 1000;
const audience = required(env, 'SLIPWAY_AUDIENCE');
const keys = tokenKeys(env, seconds);

/** One login is good for the registry and for this. */
const guard = tokenAccess(async (token) => (await keys()).verify(token, { kind: 'access', audience, now: seconds() }), {
  url: required(env, 'SLIPWAY_URL'),
  service: audience,
});

async function open(): Promise<ApiFetch> {
  const [blobs, archives] = await Promise.all([openBlobs(env, table), openArchives(env)]);
  const records = new BuildRecords({ table, blobs, clock });
  const builds = new StepFunctionsBuilds({
    client: new SFNClient({}),
    machine: required(env, 'SLIPWAY_MACHINE'),
    records,
    table,
    // The gateway hands an answer on when it is whole: what has come so far is told at once.
    gather: 250,
  });
  const transfers = new LambdaTransfers({
    client: new LambdaClient({}),
    function: required(env, 'SLIPWAY_TRANSFER_FUNCTION'),
    records: new TransferRecords({ table, clock }),
  });
  const parts: ApiParts = {
    blobs,
    table,
    catalog: new TableCatalog({ table, blobs, clock }),
    clock,
    remotes: async () => openRemotesOf(env),
    builds: async () => builds,
    transfers: async () => transfers,
    atWork: async () => ((await oldestBuild(table, clock())) ?? (await oldestTransfer(table, clock()))) !== undefined,
    archives,
    host: audience,
    limits: { request: bodyLimit, answer: answerLimit },
    contexts: async () => new (await import('../../shared/build/archive-context.ts')).StoredArchives({ blobs, table }),
  };
  return createApi(parts, { sameMachine: false, guard });
}

export const handler = apiHandler(open, countedBuild(new Metering({ name: 'api', env }), table));
