// Builds of a process that starts them and follows them itself: `slipway build` in the embedded home. They are kept in memory only.
// Nobody could follow them after the process has ended, and a record would cost a cached build a tenth of its time (docs/decisions).
import { randomUUID } from 'node:crypto';
import type { BuildRecord } from '../shared/build/build-records.ts';
import { Channel } from '../shared/build/channel.ts';
import { type BuildEvent, eventLog } from '../shared/build/events.ts';
import type { BuildRequest } from '../shared/build/request.ts';
import type { BuildDetails, BuildService, FollowOptions } from '../shared/build/service.ts';
import type { NumberedEvent } from '../shared/build/stored-log.ts';
import { errorDocument, SlipwayError } from '../shared/errors.ts';
import type { Digest } from '../shared/oci/digest.ts';
import { failureOf, stoppedByUser } from './build-failure.ts';
import { runBuild, type WorkflowPorts } from './workflow.ts';

interface Running {
  build: Omit<BuildRecord, 'request'>;
  readonly events: Channel<BuildEvent>;
  readonly stop: AbortController;
  followed: boolean;
}

/** No document of the request is stored for such a build. */
const noRequest = `sha256:${'0'.repeat(64)}` as Digest;

export class ProcessBuilds implements BuildService {
  readonly #ports: WorkflowPorts;
  readonly #running = new Map<string, Running>();
  readonly #tokens = new Map<string, string>();

  constructor(ports: WorkflowPorts) {
    this.#ports = ports;
  }

  async start(request: BuildRequest, { clientToken }: { readonly clientToken?: string } = {}): Promise<string> {
    const known = clientToken === undefined ? undefined : this.#tokens.get(clientToken);
    if (known !== undefined) return known;
    const id = randomUUID();
    if (clientToken !== undefined) this.#tokens.set(clientToken, id);
    const now = this.#ports.clock();
    const running: Running = {
      build: { id, state: 'running', created: now, started: now, tags: request.tags, dockerfile: request.dockerfile.name },
      events: new Channel(),
      stop: new AbortController(),
      followed: false,
    };
    this.#running.set(id, running);
    void this.#run(request, running);
    return id;
  }

  async list({ after, limit }: { readonly after?: string; readonly limit: number }): Promise<readonly BuildRecord[]> {
    const all = [...this.#running.values()].reverse().map(({ build }) => ({ ...build, request: noRequest }));
    const from = after === undefined ? 0 : all.findIndex((build) => build.id === after) + 1;
    return all.slice(from, from + limit);
  }

  async get(id: string): Promise<BuildDetails> {
    return { ...this.#find(id).build, request: noRequest };
  }

  #find(id: string): Running {
    const running = this.#running.get(id);
    if (running === undefined) throw new SlipwayError('NOT_FOUND', `there is no build ${id}`);
    return running;
  }

  async *events(id: string, { after = 0 }: FollowOptions = {}): AsyncGenerator<NumberedEvent> {
    const running = this.#find(id);
    if (running.followed || after !== 0) {
      throw new SlipwayError('UNSUPPORTED', `build ${id} can be followed once, from its first event on`, {
        hint: 'Builds of one command are not kept. A home that is served keeps them.',
      });
    }
    running.followed = true;
    let number = 0;
    for await (const event of running.events.read()) yield { number: ++number, event };
  }

  async page(id: string): Promise<readonly NumberedEvent[]> {
    this.#find(id);
    throw new SlipwayError('UNSUPPORTED', 'builds of one command are not kept: follow them');
  }

  async cancel(id: string): Promise<void> {
    this.#running.get(id)?.stop.abort(stoppedByUser);
  }

  async #run(request: BuildRequest, running: Running): Promise<void> {
    const { clock } = this.#ports;
    const { events, stop } = running;
    const log = eventLog((event) => events.push(event), clock);
    try {
      const { digest, tags } = await runBuild(request, this.#ports, log, stop);
      const at = clock();
      running.build = { ...running.build, state: 'succeeded', ended: at, image: digest };
      await events.push({ type: 'result', digest, tags, at });
    } catch (error) {
      const failure = errorDocument(failureOf(error, stop.signal));
      const at = clock();
      running.build = { ...running.build, state: failure.code === 'CANCELLED' ? 'cancelled' : 'failed', ended: at, failure };
      await events.push({ type: 'error', failure, at });
    }
    events.end();
  }
}
