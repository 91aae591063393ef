// Carries out one pull from another registry, or one push to one. Invoked asynchronously by the control API, with the transfer's id and
// the caller's login there.
import { randomUUID } from 'node:crypto';
import type { Context } from 'aws-lambda';
import { SlipwayError } from '../../shared/errors.ts';
import { parsePlatform } from '../../shared/oci/platform.ts';
import { TableCatalog } from '../../shared/store/catalog-table.ts';
import { provenStore } from '../../shared/transfer/proven-store.ts';
import { runTransfer } from '../../shared/transfer/run-transfer.ts';
import { carryOut, transferOf } from '../../shared/transfer/transfer.ts';
import { TransferRecords } from '../../shared/transfer/transfer-records.ts';
import type { TransferOrder } from '../lambda-transfers.ts';
import { writeLine } from '../log.ts';
import { openRemotesOf } from '../remotes.ts';
import { openBlobs, openTable } from '../stores.ts';

const { env } = process;
const clock = Date.now;
const table = openTable(env);
const records = new TransferRecords({ table, clock });
const remotes = openRemotesOf(env);
const home = parsePlatform(env.SLIPWAY_PLATFORM || 'linux/arm64');

export async function handler(
  order: TransferOrder,
  context: Pick<Context, 'getRemainingTimeInMillis'>,
): Promise<{ readonly transfer: string; readonly state: string }> {
  const id = order.transfer;
  const ended = await runTransfer(id, {
    records,
    run: randomUUID(),
    within: context.getRemainingTimeInMillis(),
    async work({ verb, reads, ...asked }, tell, signal) {
      const blobs = await openBlobs(env, table);
      const parts = { blobs, catalog: new TableCatalog({ table, blobs, clock }) };
      const store = reads === undefined ? parts : provenStore(parts, reads);
      const transfer = transferOf(verb, asked);
      const client = remotes.registryFor(order.login === 'nobody' ? undefined : order.login, transfer.reference.host);
      await carryOut({ ...store, client, home }, transfer, tell, signal);
    },
  });
  // Delivered again, or over before it was begun.
  if (ended === undefined) return { transfer: id, state: 'not ours' };
  const { failure } = ended;
  if (failure?.code === 'INTERNAL' || failure?.code === 'STORE') {
    writeLine({ level: 'error', transfer: id, failure });
    // Counted as an error of the function, which raises its alarm: it was not the caller's, nor the other registry's.
    throw new SlipwayError(failure.code, failure.message);
  }
  return { transfer: id, state: ended.state };
}
