// Builds of a home that is served: started by one request, followed by others, remembered. The process that took the request does the
// work; any process of the home can list, follow and cancel.
import type { BuildRecord, BuildRecords } from '../shared/build/build-records.ts';
import type { BuildEvent } from '../shared/build/events.ts';
import { followEvents } from '../shared/build/follow.ts';
import { LogWriter } from '../shared/build/log-writer.ts';
import type { BuildRequest } from '../shared/build/request.ts';
import type { BuildDetails, BuildService, FollowOptions, StartOptions } from '../shared/build/service.ts';
import type { NumberedEvent } from '../shared/build/stored-log.ts';
import { errorDocument, SlipwayError } from '../shared/errors.ts';
import { failureOf, stoppedByUser } from './build-failure.ts';
import { runBuild, type WorkflowPorts } from './workflow.ts';

/** Milliseconds between looks for a cancel that came to another process. */
const lookEvery = 1000;

export class StoredBuilds implements BuildService, AsyncDisposable {
  readonly #ports: WorkflowPorts;
  readonly #records: BuildRecords;
  readonly #running = new Map<string, { readonly stop: AbortController; readonly done: Promise<void> }>();

  constructor(ports: WorkflowPorts, records: BuildRecords) {
    this.#ports = ports;
    this.#records = records;
  }

  async start(request: BuildRequest, options: StartOptions = {}): Promise<string> {
    const { build, fresh } = await this.#records.create(request, options);
    if (fresh) {
      const stop = new AbortController();
      const done = this.#run(build.id, request, stop).finally(() => this.#running.delete(build.id));
      this.#running.set(build.id, { stop, done });
    }
    return build.id;
  }

  list(page: { readonly after?: string; readonly limit: number }): Promise<readonly BuildRecord[]> {
    return this.#records.list(page);
  }

  async get(id: string): Promise<BuildDetails> {
    const build = await this.#records.get(id);
    if (build === undefined) throw new SlipwayError('NOT_FOUND', `there is no build ${id.slice(0, 80)}`);
    return build;
  }

  events(id: string, options: FollowOptions = {}): AsyncIterable<NumberedEvent> {
    return followEvents(this.#records, id, options, { least: 20, most: 200 });
  }

  page(id: string, page: { readonly after: number; readonly limit: number }): Promise<readonly NumberedEvent[]> {
    return this.#records.events(id, page);
  }

  async cancel(id: string): Promise<void> {
    await this.#records.requestCancel(id);
    this.#running.get(id)?.stop.abort(stoppedByUser);
  }

  /** Never rejects: whatever goes wrong is the end of the build. */
  async #run(id: string, request: BuildRequest, stop: AbortController): Promise<void> {
    const { clock } = this.#ports;
    const records = this.#records;
    const watch = setInterval(() => {
      records.isCancelled(id).then(
        (cancelled) => cancelled && stop.abort(stoppedByUser),
        // The next look, or the end of the build, will meet it again.
        () => undefined,
      );
    }, lookEvery);
    try {
      const { state, reads } = await records.start(id);
      // Cancelled before it began.
      if (state !== 'running') return;
      const append = (first: number, events: readonly BuildEvent[]) =>
        records.append(id, { name: 'build', attempt: 1, first }, events);
      const writer = new LogWriter({ append, clock, gather: 50 });
      try {
        const finished = await runBuild(
          request,
          { ...this.#ports, ...(reads && { mayRead: (name) => reads.includes(name) }) },
          writer.log,
          stop,
        );
        await writer.flush();
        await records.succeed(id, finished);
      } catch (error) {
        await writer.flush();
        throw error;
      }
    } catch (error) {
      await records.fail(id, errorDocument(failureOf(error, stop.signal))).catch((lost: unknown) => this.#lost(id, lost));
    } finally {
      clearInterval(watch);
    }
  }

  /** The store is gone, so nobody can be told by way of it. */
  #lost(id: string, error: unknown): void {
    process.emitWarning(`the end of build ${id} could not be stored: ${error instanceof Error ? error.message : String(error)}`);
  }

  /** Stops what runs, and waits for it. */
  async [Symbol.asyncDispose](): Promise<void> {
    for (const { stop } of this.#running.values()) stop.abort(stoppedByUser);
    await Promise.all(Array.from(this.#running.values(), ({ done }) => done));
  }
}
