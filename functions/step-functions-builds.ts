// Builds of an account: records and log on the two ports, the work by a state machine. An execution has its build's id for a name, so that
// a build is never carried out twice.
import {
  DescribeExecutionCommand,
  type DescribeExecutionCommandOutput,
  type SFNClient,
  StartExecutionCommand,
  StopExecutionCommand,
} from '@aws-sdk/client-sfn';
import { buildCost } from '../shared/build/build-cost.ts';
import { type BuildRecord, type BuildRecords, hasEnded } from '../shared/build/build-records.ts';
import { followEvents } from '../shared/build/follow.ts';
import type { BuildRequest } from '../shared/build/request.ts';
import type { BuildDetails, BuildService, FollowOptions } from '../shared/build/service.ts';
import type { NumberedEvent } from '../shared/build/stored-log.ts';
import { SlipwayError } from '../shared/errors.ts';

export interface StepFunctionsBuildsOptions {
  readonly client: Pick<SFNClient, 'send'>;
  /** ARN of the state machine. */
  readonly machine: string;
  readonly records: BuildRecords;
  /** Milliseconds for which following a build holds its request open; after that the client asks again. */
  readonly followFor?: number;
}

const nameOf = (error: unknown): string => (error instanceof Error ? error.name : '');

export class StepFunctionsBuilds implements BuildService {
  readonly #options: StepFunctionsBuildsOptions;

  constructor(options: StepFunctionsBuildsOptions) {
    this.#options = options;
  }

  async start(request: BuildRequest, options: { readonly clientToken?: string; readonly by?: string } = {}): Promise<string> {
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

  async get(id: string): Promise<BuildDetails> {
    const { records } = this.#options;
    const build = await this.#settled(id);
    return { ...build, ...(await buildCost(records, build, Date.now())) };
  }

  async *events(id: string, options: FollowOptions = {}): AsyncGenerator<NumberedEvent> {
    const { records, followFor = 25_000 } = this.#options;
    await this.#settled(id);
    yield* followEvents(records, id, options, { least: 250, most: 1000, limit: followFor });
  }

  page(id: string, page: { readonly after: number; readonly limit: number }): Promise<readonly NumberedEvent[]> {
    return this.#options.records.events(id, page);
  }

  /** The record says so first, so that every state and every runner sees it; then nothing more is started. */
  async cancel(id: string): Promise<void> {
    const { client, records } = this.#options;
    const build = await records.requestCancel(id);
    if (hasEnded(build.state)) return;
    try {
      await client.send(new StopExecutionCommand({ executionArn: this.#execution(id), error: 'CANCELLED', cause: 'cancelled' }));
    } catch (error) {
      if (nameOf(error) !== 'ExecutionDoesNotExist') throw error;
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
      // Not started yet, or Step Functions cannot be asked now: the record is what there is to tell.
      if (['ExecutionDoesNotExist', 'ThrottlingException', 'ServiceUnavailable'].includes(nameOf(error))) return build;
      throw error;
    }
    if (execution.status === 'RUNNING' || execution.status === 'PENDING_REDRIVE' || execution.status === 'SUCCEEDED')
      return build;
    const why = execution.cause ?? execution.error ?? execution.status ?? 'it ended';
    return records.fail(id, { code: 'INTERNAL', message: `the execution of this build was ended: ${why}`.slice(0, 2000) });
  }

  #execution(id: string): string {
    return `${this.#options.machine.replace(':stateMachine:', ':execution:')}:${id}`;
  }
}
