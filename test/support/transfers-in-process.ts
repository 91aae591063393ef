// Transfers as an account has them, with this process for Lambda: events may be lost, held back, or delivered twice, and a function may die.
import { randomUUID } from 'node:crypto';
import type { InvokeCommand, LambdaClient } from '@aws-sdk/client-lambda';
import { LambdaTransfers, type TransferOrder } from '../../functions/lambda-transfers.ts';
import { openRemotes } from '../../shared/client/remotes.ts';
import { SlipwayError } from '../../shared/errors.ts';
import type { Blobs } from '../../shared/store/blobs.ts';
import { TableCatalog } from '../../shared/store/catalog-table.ts';
import type { Table } from '../../shared/store/table.ts';
import { provenStore } from '../../shared/transfer/proven-store.ts';
import { type RunOptions, runTransfer } from '../../shared/transfer/run-transfer.ts';
import { carryOut, transferOf } from '../../shared/transfer/transfer.ts';
import { type TransferRecord, TransferRecords } from '../../shared/transfer/transfer-records.ts';

export interface TransferStores {
  readonly blobs: Blobs;
  readonly table: Table;
}

export function transfersInProcess(
  stores: TransferStores,
  { clock = Date.now, times = {} }: { readonly clock?: () => number; readonly times?: RunOptions['times'] } = {},
) {
  const records = new TransferRecords({ table: stores.table, clock, secondLook: 150 });
  const remotes = openRemotes({ env: {}, now: Date.now, version: 'test' });
  const orders: TransferOrder[] = [];
  const runs: Promise<TransferRecord | undefined>[] = [];
  const state: { lambda: 'delivers' | 'delivers twice' | 'holds' | 'refuses'; within: number } = {
    lambda: 'delivers',
    within: 900_000,
  };
  /** A function's call. With other stores: of a process that they belong to. */
  const deliver = (order: TransferOrder, own: TransferStores = stores): Promise<TransferRecord | undefined> => {
    const run = runTransfer(order.transfer, {
      records: new TransferRecords({ table: own.table, clock }),
      run: randomUUID(),
      within: state.within,
      times: { gather: 20, beat: 40, ...times },
      async work({ verb, reads, ...asked }, tell, signal) {
        const parts = { ...own, catalog: new TableCatalog({ ...own, clock }) };
        const store = reads === undefined ? parts : provenStore(parts, reads);
        const transfer = transferOf(verb, asked);
        const client = remotes.registryFor(order.login === 'nobody' ? undefined : order.login, transfer.reference.host);
        await carryOut(
          { blobs: store.blobs, catalog: store.catalog, client, home: { os: 'linux', architecture: 'amd64' } },
          transfer,
          tell,
          signal,
        );
      },
    });
    runs.push(run);
    run.catch(() => undefined);
    return run;
  };
  const client = {
    async send({ input }: InvokeCommand) {
      if (input.InvocationType !== 'Event' || input.FunctionName !== 'transfer') throw new Error('not as the stack has it');
      if (state.lambda === 'refuses') throw new SlipwayError('UPSTREAM', 'no');
      const order = JSON.parse(Buffer.from(input.Payload as Uint8Array).toString('utf8')) as TransferOrder;
      orders.push(order);
      if (state.lambda === 'holds') return {};
      void deliver(order);
      if (state.lambda === 'delivers twice') void deliver(order);
      return {};
    },
  } as unknown as Pick<LambdaClient, 'send'>;
  const service = new LambdaTransfers({
    client,
    function: 'transfer',
    records,
    times: { least: 5, most: 20, limit: 2000, gather: 5 },
  });
  return {
    state,
    orders,
    runs,
    records,
    service,
    deliver,
    async [Symbol.asyncDispose]() {
      await Promise.allSettled(runs);
      remotes[Symbol.dispose]();
    },
  };
}
