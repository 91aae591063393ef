// Builds of an account: records and log on the two ports, the work by a state machine. An execution has its build's id for a name, so that
// a build is never carried out twice.
//
// A build is not cancelled by stopping its execution, which would leave what the execution has started to nobody. The record says so
// first: then no state goes on, no runner is started any more, and those that work hear it at their next sign of life. The tasks that wait
// for runners are failed, so the machine stops the runners at once and comes to its end by its own way, with its own retries.
import {
  DescribeExecutionCommand,
  type DescribeExecutionCommandOutput,
  SendTaskFailureCommand,
  type SFNClient,
  StartExecutionCommand,
} from '@aws-sdk/client-sfn';
import { buildCost } from '../shared/build/build-cost.ts';
import { type BuildRecord, type BuildRecords, hasEnded } from '../shared/build/build-records.ts';
import { followEvents } from '../shared/build/follow.ts';
import type { BuildRequest } from '../shared/build/request.ts';
import type { BuildDetails, BuildService, FollowOptions, StartOptions } from '../shared/build/service.ts';
import type { NumberedEvent } from '../shared/build/stored-log.ts';
import { UsageRecords } from '../shared/build/usage-records.ts';
import { SlipwayError } from '../shared/errors.ts';
import type { Table } from '../shared/store/table.ts';
import { JobRecords } from '../shared/workflow/job-record.ts';

export interface StepFunctionsBuildsOptions {
  readonly client: Pick<SFNClient, 'send'>;
  /** ARN of the state machine. */
  readonly machine: string;
  readonly records: BuildRecords;
  /** The home's: where the jobs of runners are. */
  readonly table: Table;
  /**
   * Milliseconds for which following a build holds its request open; after that the client asks again. 20 s when absent: the 29 of a gateway
   * include the start of the function.
   */
  readonly followFor?: number;
  /** Milliseconds after the first event of an answer in which it ends. Absent: it goes on. For gateways that pass on whole answers only. */
  readonly gather?: number;
}

const nameOf = (error: unknown): string => (error instanceof Error ? error.name : '');

/** Step Functions cannot be asked now; it may be in a moment. */
const isPassing = (error: unknown): boolean => {
  const { $retryable, $metadata } = error as {
    readonly $retryable?: unknown;
    readonly $metadata?: { readonly httpStatusCode?: number };
  };
  // Of a Region's DescribeExecution there are 10 a second, for all who follow builds; that is a status of 400.
  if (nameOf(error) === 'ThrottlingException') return true;
  // Without an answer there is no status.
  return $retryable !== undefined || $metadata?.httpStatusCode === undefined || $metadata.httpStatusCode >= 500;
};

export class StepFunctionsBuilds implements BuildService {
  readonly #options: StepFunctionsBuildsOptions;

  constructor(options: StepFunctionsBuildsOptions) {
    this.#options = options;
  }

  async start(request: BuildRequest, options: StartOptions = {}): Promise<string> {
    const { client, machine, records } = this.#options;
    const { build } = await records.create(request, options);
    // Also when the token was used before: whoever created the record may have died before it came to this.
    if (build.state !== 'queued') return build.id;
    try {
      await client.send(
        new StartExecutionCommand({ stateMachineArn: machine, name: build.id, input: JSON.stringify({ build: build.id }) }),
      );
    } catch (error) {
      if (nameOf(error) === 'ExecutionAlreadyExists') return build.id;
      const message = `the build could not be started: ${error instanceof Error ? error.message : String(error)}`;
      await records.fail(build.id, { code: 'STORE', message });
      throw new SlipwayError('STORE', message, {
        cause: error,
        hint: 'Try again; when it happens again, see the stack’s alarms.',
      });
    }
    return build.id;
  }

  list(page: { readonly after?: string; readonly limit: number }): Promise<readonly BuildRecord[]> {
    return this.#options.records.list(page);
  }

  async get(id: string, { cost = true }: { readonly cost?: boolean } = {}): Promise<BuildDetails> {
    const { table } = this.#options;
    const build = await this.#settled(id);
    return !cost ? build : { ...build, ...(await buildCost(new UsageRecords(table), build, Date.now())) };
  }

  async *events(id: string, options: FollowOptions = {}): AsyncGenerator<NumberedEvent> {
    const { records, followFor = 20_000, gather } = this.#options;
    await this.#settled(id);
    const times = { least: 250, most: 1000, limit: followFor, ...(gather === undefined ? {} : { gather }) };
    yield* followEvents(records, id, options, times);
  }

  page(id: string, page: { readonly after: number; readonly limit: number }): Promise<readonly NumberedEvent[]> {
    return this.#options.records.events(id, page);
  }

  /** Done when the build has ended; its machines are gone some seconds after. Asked again, it goes on where it was. */
  async cancel(id: string): Promise<void> {
    const { client, records, table } = this.#options;
    await records.requestCancel(id);
    const jobs = new JobRecords(table);
    for (const stage of await jobs.stages(id)) {
      const job = await jobs.get(id, stage);
      if (job?.state !== 'open') continue;
      try {
        await client.send(new SendTaskFailureCommand({ taskToken: job.waiter, error: 'CANCELLED', cause: 'cancelled' }));
      } catch (error) {
        // Nobody waits for it any more.
        if (!['TaskTimedOut', 'TaskDoesNotExist', 'InvalidToken'].includes(nameOf(error))) throw error;
      }
    }
    await records.fail(id, { code: 'CANCELLED', message: 'cancelled' });
  }

  /** An execution that has ended without having told the record: stopped by hand, or beyond its limits. */
  async #settled(id: string): Promise<BuildRecord> {
    const { client, records } = this.#options;
    const build = await records.get(id);
    if (build === undefined) throw new SlipwayError('NOT_FOUND', `there is no build ${id.slice(0, 80)}`);
    if (hasEnded(build.state)) return build;
    let execution: DescribeExecutionCommandOutput;
    try {
      execution = await client.send(new DescribeExecutionCommand({ executionArn: this.#execution(id) }));
    } catch (error) {
      // Not started yet, or not to be asked: the record is what there is to tell.
      if (nameOf(error) === 'ExecutionDoesNotExist' || isPassing(error)) return build;
      throw error;
    }
    if (['RUNNING', 'PENDING_REDRIVE', 'SUCCEEDED'].includes(execution.status ?? '')) return build;
    if (build.cancelRequested !== undefined) return records.fail(id, { code: 'CANCELLED', message: 'cancelled' });
    const why = execution.cause ?? execution.error ?? execution.status ?? 'it ended';
    return records.fail(id, { code: 'INTERNAL', message: `the execution of this build was ended: ${why}`.slice(0, 2000) });
  }

  #execution(id: string): string {
    return `${this.#options.machine.replace(':stateMachine:', ':execution:')}:${id}`;
  }
}
