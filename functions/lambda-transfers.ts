// Transfers of an account: a record, and a function of its own that carries it out, invoked asynchronously. Lambda delivers such an event
// at least once; the record is claimed once.
import { InvokeCommand, type LambdaClient } from '@aws-sdk/client-lambda';
import { type FollowTimes, followLog } from '../shared/build/follow.ts';
import type { FollowOptions } from '../shared/build/service.ts';
import { SlipwayError } from '../shared/errors.ts';
import {
  hasEnded,
  isLast,
  type NumberedTransferEvent,
  type StartTransfer,
  type TransferFacts,
  type TransferService,
} from '../shared/transfer/service.ts';
import type { Login, TransferRequest, Verb } from '../shared/transfer/transfer.ts';
import { factsOf, type TransferRecords } from '../shared/transfer/transfer-records.ts';

/** What the function is invoked with. The login is nowhere else: neither in the table nor in a log. */
export interface TransferOrder {
  readonly transfer: string;
  readonly login: Login;
}

export interface LambdaTransfersOptions {
  readonly client: Pick<LambdaClient, 'send'>;
  /** Name or ARN of the function. */
  readonly function: string;
  readonly records: TransferRecords;
  readonly times?: FollowTimes;
}

/** Of a gateway that passes on whole answers after 29 seconds at most, of which looking twice for a sign of life may take ten. */
const gatewayTimes: FollowTimes = { least: 250, most: 1000, limit: 18_000, gather: 250 };

export class LambdaTransfers implements TransferService {
  readonly #options: LambdaTransfersOptions;

  constructor(options: LambdaTransfersOptions) {
    this.#options = options;
  }

  async start(verb: Verb, request: TransferRequest, { login, ...who }: StartTransfer): Promise<string> {
    const { client, records } = this.#options;
    const { id, state } = await records.create(verb, request, who);
    // Also when the token was used before: whoever created the record may have died before it came to this.
    if (state !== 'queued') return id;
    const order: TransferOrder = { transfer: id, login };
    try {
      await client.send(
        new InvokeCommand({
          FunctionName: this.#options.function,
          InvocationType: 'Event',
          Payload: Buffer.from(JSON.stringify(order)),
        }),
      );
    } catch (error) {
      const message = `the ${verb} could not be started: ${error instanceof Error ? error.message : String(error)}`;
      await records.fail(id, { code: 'STORE', message });
      throw new SlipwayError('STORE', message, {
        cause: error,
        hint: 'Try again; when it happens again, see the stack’s alarms.',
      });
    }
    return id;
  }

  async get(id: string): Promise<TransferFacts> {
    return factsOf(await this.#options.records.settled(id));
  }

  async *events(id: string, options: FollowOptions = {}): AsyncGenerator<NumberedTransferEvent> {
    const { records, times = gatewayTimes } = this.#options;
    await records.settled(id);
    const log = {
      events: (page: { readonly after: number; readonly limit: number }) => records.events(id, page),
      isLast,
      hasEnded: async () => hasEnded((await records.settled(id)).state),
    };
    yield* followLog<NumberedTransferEvent>(log, options, times);
  }

  async cancel(id: string): Promise<void> {
    const { records } = this.#options;
    await records.requestCancel(id);
    // One whose function has died meanwhile is over at once.
    await records.settled(id);
  }
}
