// What a runner does with a job: takes it, executes the stage, hands over what RUN made, says how it ended. Everything it holds is in one
// folder; everything it knows of the home is the job's ticket.

import { randomBytes } from 'node:crypto';
import { mkdirSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { downloads } from '../build/downloads.ts';
import { executeStage } from '../build/executor.ts';
import { meteredLog } from '../build/metered-log.ts';
import { overlayRoots } from '../build/overlay-roots.ts';
import type { Plan } from '../build/plan.ts';
import type { ContextSource, RunRoots, ScratchFolder } from '../build/ports.ts';
import type { StageImage } from '../build/stage-image.ts';
import { storedLayers } from '../build/stored-layers.ts';
import { HttpClient } from '../client/http.ts';
import { ContextStore } from '../context/context-store.ts';
import { Meter, metered } from '../cost/meter.ts';
import { errnoOf, errorDocument, isCode, SlipwayError } from '../errors.ts';
import { CompressPool } from '../layer/compress-pool.ts';
import { LayerRecords } from '../layer/record.ts';
import { UnpackedLayers } from '../layer/unpacked.ts';
import type { Digest } from '../oci/digest.ts';
import { fullDisk, moreRoom } from '../sandbox/exhaustion.ts';
import type { Sandbox } from '../sandbox/sandbox.ts';
import type { Blobs } from '../store/blobs.ts';
import { contextKeys } from '../store/keys.ts';
import { SqliteTable } from '../store/sqlite-table.ts';
import { codecWarning, ownCodec } from './codec-check.ts';
import type { JobDocument, JobTicket } from './job.ts';
import { JobClient } from './job-client.ts';
import { knowBodies, knowLayer, RemoteBlobs, RemoteCache } from './remote-ports.ts';
import { asKnown, SourceLog } from './source-log.ts';

export interface RunnerOptions {
  /** An empty folder of its own, on a filesystem that can hold overlays. */
  readonly root: string;
  readonly sandbox: () => Promise<Sandbox>;
  readonly overlayXattrs: 'trusted' | 'user';
  readonly version: string;
  /** `codecVersion` of this process unless told otherwise. */
  readonly codec?: string;
  /** Milliseconds since 1970. */
  readonly clock: () => number;
  /** Stops the job, e.g. because the machine is going away. */
  readonly signal?: AbortSignal;
  /** Threads that compress; one a core unless told otherwise. */
  readonly threads?: number;
  /** Milliseconds between heartbeats; what the home asks for unless told otherwise. */
  readonly beat?: number;
  /** Milliseconds after which a home that does not answer is given up, and the job with it. */
  readonly patience?: number;
  /** Milliseconds before the second, third, ... of the tries at one call. */
  readonly delays?: readonly number[];
  /** Counts what the machine uses while the job lasts. */
  readonly watch?: (meter: Meter) => Disposable;
}

/** Less than the state machine waits for a sign of life (infra/build-definition.ts): then the job is another runner's. */
const usualPatience = 9 * 60_000;
/** A beat is worth nothing when it comes late; and how long a job that has ended may take to say so. */
const beatTime = 20_000;
const lastWords = 60_000;
/** The same, for a job that ended because nobody answers. */
const lastTry = 5_000;

export type JobEnd = { readonly state: 'done' } | { readonly state: 'failed' | 'lost'; readonly error: SlipwayError };

/** Executes a job. Never rejects: how it ended is answered here, and told to the home where that can be reached. */
export async function runJob(ticket: JobTicket, options: RunnerOptions): Promise<JobEnd> {
  const patience = options.patience ?? usualPatience;
  const { version, clock, delays } = options;
  using client = new JobClient(ticket, { version, clock, patience, ...(delays === undefined ? {} : { delays }) });
  const meter = new Meter({ clock: () => performance.now() });
  using _ = options.watch?.(meter);
  let log: SourceLog | undefined;
  const stop = new AbortController();
  const over = new AbortController();
  const signal = options.signal === undefined ? stop.signal : AbortSignal.any([stop.signal, options.signal]);
  let beating: NodeJS.Timeout | undefined;
  try {
    const job = await client.ask<JobDocument>('claim', {}, signal);
    const append = (first: number, events: readonly unknown[]) =>
      client.ask<{ readonly closed: boolean }>('log', { first, events }, over.signal);
    log = new SourceLog({ append, place: job.log, clock: options.clock });
    const heart = { client, stop, clock: options.clock, patience, heard: options.clock(), missed: 0, busy: false };
    beating = setInterval(() => void beat(heart), options.beat ?? job.beat * 1000);
    const writer = log;
    const differs = codecWarning('runner', { own: options.codec ?? ownCodec(), home: job.codec }, job.stage.where);
    if (differs !== undefined) writer.log.warning(differs);
    await metered(meter, () => execute(job, client, writer, signal, options));
    await log.flush();
    await client.ask('complete', { place: placeOf(log), used: meter.read() });
    return { state: 'done' };
  } catch (error) {
    const known = asRunners(stop.signal.aborted ? stop.signal.reason : error, options.root);
    // Whoever stops a machine waits for it only so long.
    const last = AbortSignal.timeout(isCode(stop.signal.reason, 'UPSTREAM') ? lastTry : lastWords);
    try {
      await Promise.race([log?.flush(), aborted(last)]);
      const place = log === undefined ? { next: 0, started: 0, done: 0 } : placeOf(log);
      await client.askOnce('fail', { failure: errorDocument(known), place, used: meter.read() }, last);
      return { state: 'failed', error: known };
    } catch (unheard) {
      return {
        state: 'lost',
        error: new SlipwayError('UPSTREAM', `${known.message}; and the home was not told`, { cause: unheard }),
      };
    }
  } finally {
    clearInterval(beating);
    over.abort();
  }
}

const placeOf = ({ place: { next, started, done } }: SourceLog) => ({ next, started, done });

const aborted = (signal: AbortSignal): Promise<never> =>
  new Promise((_, reject) => {
    signal.addEventListener('abort', () => reject(signal.reason), { once: true });
  });

interface Heart {
  readonly client: JobClient;
  readonly stop: AbortController;
  readonly clock: () => number;
  readonly patience: number;
  /** When the home last answered. */
  heard: number;
  /** Beats since then. */
  missed: number;
  busy: boolean;
}

/**
 * A beat that is not heard is no reason to stop; one that is refused, or answered with "cancelled", is. So are many that nobody hears:
 * the home has long given this runner up. A machine that was suspended has been deaf for long, too, and has missed none.
 */
async function beat(heart: Heart): Promise<void> {
  const { client, stop, clock } = heart;
  if (heart.busy || stop.signal.aborted) return;
  heart.busy = true;
  try {
    const { cancelled } = await client.askOnce<{ readonly cancelled: boolean }>(
      'heartbeat',
      {},
      AbortSignal.timeout(beatTime),
      false,
    );
    heart.heard = clock();
    heart.missed = 0;
    if (cancelled) stop.abort(new SlipwayError('CANCELLED', 'cancelled'));
  } catch (error) {
    heart.missed += 1;
    const silence = clock() - heart.heard;
    if (isCode(error, 'DENIED', 'CONFLICT', 'UNAUTHORIZED', 'NOT_FOUND')) stop.abort(error);
    else if (heart.missed >= 3 && silence > heart.patience) {
      const message = `the home has not answered for ${Math.round(silence / 1000)} s`;
      stop.abort(new SlipwayError('UPSTREAM', message, { cause: error }));
    }
  } finally {
    heart.busy = false;
  }
}

/** A full disk is this machine's, which its user cannot tidy up: what helps is a larger one. */
function asRunners(error: unknown, folder: string): SlipwayError {
  const full = isCode(error, 'DISK_FULL') || ['ENOSPC', 'EDQUOT'].includes(errnoOf(error) ?? '');
  if (!full) return asKnown(error);
  const message = `the disk of the runner is full (${fullDisk(folder) ?? 'its quota is used up'}): ${asKnown(error).message}`;
  return new SlipwayError('DISK_FULL', message, { cause: error, hint: moreRoom });
}

async function execute(
  job: JobDocument,
  client: JobClient,
  log: SourceLog,
  signal: AbortSignal,
  options: RunnerOptions,
): Promise<void> {
  const { root, clock } = options;
  for (const folder of ['blobs', 'run', 'unpacked']) mkdirSync(join(root, folder), { recursive: true, mode: 0o700 });
  const remote = await RemoteBlobs.open(join(root, 'blobs'), client);
  // A runner uses of Blobs what RemoteBlobs has: uploads, lists and deletes are the home's affair.
  const blobs = remote as unknown as Blobs & RemoteBlobs;
  const table = SqliteTable.open(join(root, 'runner.db'), { now: () => clock() / 1000 });
  await using pool = new CompressPool(options.threads);
  // Nothing of a runner's own machine is for a Dockerfile: the server of its hooks is there.
  using web = new HttpClient({ userAgent: `slipway/${options.version}`, thisMachine: false });
  try {
    const records = new LayerRecords(table, blobs);
    const sources = new Map<number | string, StageImage>(
      job.sources.map(([name, image]) => [name, { ...image, time: image.time }]),
    );
    for (const image of [job.start, ...sources.values()]) {
      for (const { diffId, descriptor } of image.layers) {
        remote.know(descriptor);
        await knowLayer(table, diffId, descriptor, job.tocs[diffId]);
      }
    }
    const newId = (): string => randomBytes(8).toString('hex');
    const scratch = async (): Promise<ScratchFolder> => {
      const path = join(root, 'run', newId());
      mkdirSync(path, { mode: 0o700 });
      return { path, [Symbol.asyncDispose]: () => rm(path, { recursive: true, force: true }) };
    };
    const unpacked = new UnpackedLayers({
      root: join(root, 'unpacked'),
      blobs,
      owners: true,
      overlayXattrs: options.overlayXattrs,
      newId,
    });
    const layers = storedLayers({ blobs, records, pool, scratch, unpacked: (layer) => unpacked.path(layer.diffId) });
    let roots: Promise<RunRoots> | undefined;
    let context: Promise<ContextSource> | undefined;
    const plan: Plan = { ...job.plan, warnings: [], stages: Array.from({ length: job.stages }, () => job.stage) };
    await executeStage(
      { plan, stage: job.stage, start: { ...job.start, time: job.start.time }, sources },
      {
        blobs,
        layers,
        clock,
        scratch,
        download: downloads(web),
        signal,
        log: meteredLog(log.log),
        cache: new RemoteCache({ client, blobs: remote, records, table }),
        noCache: false,
        roots() {
          roots ??= options.sandbox().then((sandbox) => overlayRoots({ sandbox, records, unpacked, scratch }));
          return roots;
        },
        ...(job.context === undefined
          ? {}
          : {
              context() {
                context ??= openContext(job.context as NonNullable<JobDocument['context']>, client, blobs, table, signal);
                return context;
              },
            }),
      },
    );
  } finally {
    table.close();
  }
}

async function openContext(
  { list: id, scope }: NonNullable<JobDocument['context']>,
  client: JobClient,
  blobs: Blobs,
  table: SqliteTable,
  signal: AbortSignal,
): Promise<ContextSource> {
  const store = new ContextStore({ blobs, table, project: scope });
  await table.put(contextKeys.list(scope, id), {});
  const list = await store.loadList(id, { signal });
  if (list === undefined) throw new SlipwayError('CONTEXT', `the context ${id} is gone`);
  const files = list.entries.flatMap(({ digest, size }) => (digest === undefined || size === 0 ? [] : [digest]));
  await knowBodies(client, table, scope, files as Digest[], signal);
  const bodies = await store.bodies(list.entries, { signal });
  return { list, body: (entry) => bodies.body(entry), scope };
}
