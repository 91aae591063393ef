// A build as steps over stored state: what the states of the account's state machine do. Each loads what it needs by the build's id and
// leaves its result behind; run again, it finds the result and changes nothing. Nothing but ids passes between them.

import { type BuildRecord, type BuildRecords, hasEnded } from '../build/build-records.ts';
import { eventLog, type StepLog } from '../build/events.ts';
import { executeStage, type StageInput } from '../build/executor.ts';
import { finishBuild } from '../build/finish.ts';
import { meteredLog } from '../build/metered-log.ts';
import type { PlannedStage } from '../build/plan.ts';
import type { ContextSource, Download, LayerStore, ScratchFolder } from '../build/ports.ts';
import { type PreparedBuild, prepareBuild } from '../build/prepare.ts';
import type { BuildRequest } from '../build/request.ts';
import type { StageImage } from '../build/stage-image.ts';
import { type PlanDocument, planDocument, preparedBuild } from '../build/stored-plan.ts';
import type { ImageStore } from '../client/local-image.ts';
import type { ArchiveObjects } from '../context/archive-object.ts';
import { type ErrorDocument, errorDocument, isCode, isErrorCode, SlipwayError } from '../errors.ts';
import type { LayerRecords } from '../layer/record.ts';
import { formatPlatform, type Platform } from '../oci/platform.ts';
import type { Blobs } from '../store/blobs.ts';
import type { Catalog } from '../store/catalog.ts';
import { jobKeys } from '../store/keys.ts';
import type { Table } from '../store/table.ts';
import { provenStore } from '../transfer/proven-store.ts';
import { isOverBudget, mustStop } from './budget.ts';
import { ScopedCache } from './build-cache.ts';
import { type Codecs, codecWarning, homeCodec, ownCodec } from './codec-check.ts';
import { settleClaim } from './settle.ts';
import { asKnown, failureOf, isPassing, isRunnerNeeded, openLog } from './source-log.ts';

export interface WorkflowPorts {
  readonly records: BuildRecords;
  readonly blobs: Blobs;
  readonly table: Table;
  readonly catalog: Catalog;
  readonly layers: LayerStore;
  readonly layerRecords: LayerRecords;
  readonly scratch: () => Promise<ScratchFolder>;
  readonly download: Download;
  /** Fetches an image into the home: into `store`, which is as much of it as whoever started the build may use. */
  readonly pull: (name: string, platform: Platform, signal: AbortSignal, store: ImageStore) => Promise<void>;
  /** Opens the context of a request that has one. */
  readonly context: (request: BuildRequest, signal: AbortSignal) => Promise<ContextSource>;
  /** Archives in the home's bucket. Absent: none are taken. */
  readonly archives?: ArchiveObjects;
  /** By which others reach this home: the host in the names of its own images. */
  readonly ownHost?: string;
  /** What is built on when the request names no platform. */
  readonly host: Platform;
  /** Milliseconds since 1970. */
  readonly clock: () => number;
  /** How this process and the embedded home compress; found out unless told. */
  readonly codecs?: Codecs;
  /** Done before the build ends, while who follows it cannot know yet. */
  readonly ending?: () => Promise<void>;
  /** Milliseconds between looks at whether the build was cancelled; 2000 unless told otherwise. */
  readonly cancelCheck?: number;
}

/** Seconds for which what is under way is kept: far longer than a build can run. */
const workLife = 30 * 24 * 3600;
/** Milliseconds for taking over what a failed stage did. */
const settleTime = 120_000;

export const expiresOf =
  ({ clock }: Pick<WorkflowPorts, 'clock'>) =>
  (): number =>
    Math.floor(clock() / 1000) + workLife;

/** @throws CANCELLED when it has ended or somebody asked for that; NOT_FOUND */
async function running(id: string, { records }: WorkflowPorts): Promise<BuildRecord> {
  const build = await records.get(id);
  if (build === undefined) throw new SlipwayError('NOT_FOUND', `there is no build ${id.slice(0, 80)}`);
  if (build.state !== 'running' || build.cancelRequested !== undefined) throw new SlipwayError('CANCELLED', 'cancelled');
  return build;
}

/** @throws CANCELLED after the build has ended for its cost */
async function withinBudget(build: BuildRecord, ports: WorkflowPorts): Promise<void> {
  if (await isOverBudget(build, ports)) throw new SlipwayError('CANCELLED', 'the build has cost more than it may');
}

/**
 * Runs `work` with a signal that fires when the build is cancelled, and with the log of `source`. What it fails with is kept beside the
 * log, unless it may pass: then the state is tried again, and where that does not help, the state machine itself tells why. Where what it
 * fails with cannot be kept, the state fails with the store's error, so that it is tried again and fails where it can be told.
 */
async function logged<T>(
  id: string,
  source: string,
  ports: WorkflowPorts,
  work: (log: StepLog, signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const { records, table, clock } = ports;
  const stop = new AbortController();
  const watch = setInterval(() => {
    // A failed look is no reason to stop: the next one tells.
    mustStop(id, ports).then(
      (cancelled) => cancelled && stop.abort(),
      () => undefined,
    );
  }, ports.cancelCheck ?? 2000);
  try {
    const log = await openLog(records, { table, expires: expiresOf(ports) }, id, source, clock);
    let result: T;
    try {
      result = await work(log.log, stop.signal);
    } catch (error) {
      const why = isRunnerNeeded(error) || isPassing(error) ? undefined : { failure: errorDocument(asKnown(error)), at: clock() };
      await log.close(why).catch((unkept: unknown) => {
        // The state is tried again for what it failed with first, which may have been in the way of this, too.
        if (isPassing(error)) throw error;
        const { code, message } = asKnown(unkept);
        throw why === undefined
          ? unkept
          : new SlipwayError(code, `${message}; it was to keep: ${why.failure.message}`, { cause: error });
      });
      throw error;
    }
    await log.close();
    return result;
  } finally {
    clearInterval(watch);
  }
}

/** Plans the build, fetching bases that are missing. Afterwards it has a plan. */
export async function planBuildStep(id: string, ports: WorkflowPorts): Promise<void> {
  const { records } = ports;
  await records.start(id);
  const { plan, reads } = await running(id, ports);
  if (plan !== undefined) return;
  const asked = await records.request(id);
  await logged(id, 'plan', ports, async (log, signal) => {
    const request = asked.context.kind === 'archive' ? await unpacked(id, asked, ports, log, signal) : asked;
    if (request.context.kind === 'directory') {
      throw new SlipwayError('UNSUPPORTED', 'a folder of the client cannot be read here', {
        hint: 'send the context first: POST /api/v1/contexts, then name it by its id',
      });
    }
    const mayRead = reads === undefined ? {} : { mayRead: (name: string) => reads.includes(name) };
    const store = reads === undefined ? ports : provenStore(ports, reads);
    const pull = (name: string, platform: Platform) => ports.pull(name, platform, signal, store);
    const build = await prepareBuild(request, { ...ports, ...mayRead, pull, log: meteredLog(log), signal });
    for (const warning of build.plan.warnings) log.warning(warning);
    await records.savePlan(id, planDocument(build, request.tags));
  });
}

async function unpacked(
  id: string,
  request: BuildRequest,
  { records, blobs, table, archives }: WorkflowPorts,
  log: StepLog,
  signal: AbortSignal,
): Promise<BuildRequest> {
  const url = request.context.kind === 'archive' ? request.context.url : '';
  const report = log.start(`[internal] load build context from ${url}`);
  try {
    if (archives === undefined) throw new SlipwayError('UNSUPPORTED', 'this home takes no archives from a bucket');
    const { unpackArchive } = await import('../build/archive-context.ts');
    const { request: plain, bytes, files } = await unpackArchive(request, { blobs, table, archives, signal });
    report.note(`${files} files, ${bytes} bytes read`);
    report.done();
    return await records.saveUnpacked(id, plain);
  } catch (error) {
    report.failed(error);
    throw error;
  }
}

export async function planOf(id: string, { records }: Pick<WorkflowPorts, 'records'>): Promise<PreparedBuild> {
  const plan = (await records.plan(id)) as PlanDocument | undefined;
  if (plan === undefined) throw new SlipwayError('INTERNAL', `build ${id} has no plan yet`);
  return preparedBuild(plan);
}

export interface ReadyStages {
  /** Indices of the stages that can be run now, in order. */
  readonly stages: readonly number[];
  /** Whether the target is finished. */
  readonly done: boolean;
}

/** Which stages can be run: those that are not finished and whose needs are. */
export async function readyStages(id: string, ports: WorkflowPorts): Promise<ReadyStages> {
  await withinBudget(await running(id, ports), ports);
  const { plan } = await planOf(id, ports);
  const finished = new Set(await ports.records.finishedStages(id));
  const stages = plan.stages
    .filter(({ index, needs }) => !finished.has(index) && needs.every((need) => finished.has(need)))
    .map(({ index }) => index);
  return { stages: finished.has(plan.target) ? [] : stages, done: finished.has(plan.target) };
}

/** What executing one stage takes, from what is stored. */
export async function stageInput(id: string, index: number, stored: PreparedBuild, records: BuildRecords): Promise<StageInput> {
  const { plan } = stored;
  const stage = plan.stages.find((one) => one.index === index);
  if (stage === undefined) throw new SlipwayError('INTERNAL', `build ${id} has no stage ${index}`);
  const needed = await records.stages(id, new Set(stage.needs));
  const sources = new Map<number | string, StageImage>([...stored.images, ...needed]);
  return { plan, stage, start: startOf(stage, stored, sources), sources };
}

function startOf(stage: PlannedStage, build: PreparedBuild, sources: ReadonlyMap<number | string, StageImage>): StageImage {
  const start = stage.base.kind === 'stage' ? sources.get(stage.base.stage) : build.starts.get(stage.index);
  if (start === undefined) throw new SlipwayError('INTERNAL', `stage ${stage.index} has nothing to start from`);
  return stage.base.kind === 'stage' ? build.startFrom(start) : start;
}

export type StageOutcome =
  | { readonly status: 'done' }
  /** A RUN is not in the cache: a runner for this platform has to do it. Afterwards this step is taken again. */
  | { readonly status: 'runner'; readonly platform: string };

export const stageSource = (index: number): string => `stage-${index}`;

/** The cache as this build's stage sees it. */
export function cacheOf(
  id: string,
  input: Pick<StageInput, 'plan' | 'stage'>,
  request: Pick<BuildRequest, 'noCache' | 'noCacheFilter'>,
  ports: Pick<WorkflowPorts, 'table' | 'clock'>,
  settle?: ConstructorParameters<typeof ScopedCache>[0]['settle'],
): ScopedCache {
  const { index, name } = input.stage;
  const filtered = (request.noCacheFilter ?? []).some(
    (wanted) => wanted === String(index) || (name !== undefined && wanted.toLowerCase() === name.toLowerCase()),
  );
  const noCache = request.noCache || filtered;
  const { table } = ports;
  return new ScopedCache({ table, build: id, noCache, expires: expiresOf(ports), ...(settle === undefined ? {} : { settle }) });
}

/**
 * Executes a stage here, up to its first RUN that nobody has done yet. What a runner says it did is checked and taken into the cache on
 * the way, so the image that is kept was put together here, from plan, cache and checked layers only.
 */
export async function runStageStep(id: string, index: number, ports: WorkflowPorts): Promise<StageOutcome> {
  const { records } = ports;
  await withinBudget(await running(id, ports), ports);
  if ((await records.finishedStages(id)).includes(index)) return { status: 'done' };
  const [stored, request] = await Promise.all([planOf(id, ports), records.request(id)]);
  const input = await stageInput(id, index, stored, records);
  try {
    await logged(id, stageSource(index), ports, async (log, signal) => {
      await warnOfCodec(id, input.stage, ports, log);
      const image = await executeHere(id, input, request, ports, log, signal);
      await records.saveStage(id, index, image);
    });
  } catch (error) {
    if (!isRunnerNeeded(error)) throw error;
    return { status: 'runner', platform: formatPlatform(input.plan.platform) };
  }
  return { status: 'done' };
}

/** Once a build, whichever of its stages is first. */
async function warnOfCodec(id: string, { where }: PlannedStage, ports: WorkflowPorts, log: StepLog): Promise<void> {
  const warning = codecWarning('function', ports.codecs ?? { own: ownCodec(), home: homeCodec() }, where);
  if (warning === undefined) return;
  try {
    await ports.table.put(jobKeys.codecTold(id), {}, { condition: { ifAbsent: true }, expires: expiresOf(ports)() });
  } catch (error) {
    if (isCode(error, 'STORE_CONFLICT')) return;
    throw error;
  }
  log.warning(warning);
}

/** @throws what `isRunnerNeeded` knows, at the first RUN that nobody has done */
function executeHere(
  id: string,
  input: StageInput,
  request: BuildRequest,
  ports: WorkflowPorts,
  log: StepLog,
  signal: AbortSignal,
): Promise<StageImage> {
  const { plan, stage } = input;
  let context: Promise<ContextSource> | undefined;
  return executeStage(input, {
    blobs: ports.blobs,
    layers: ports.layers,
    clock: ports.clock,
    scratch: ports.scratch,
    download: ports.download,
    cache: cacheOf(id, input, request, ports, (key) => settleClaim(id, stage.index, key, plan.epoch, ports, signal)),
    log: meteredLog(log, stage.index),
    signal,
    // The cache itself sees to it, because a stage may be gone through several times.
    noCache: false,
    roots: () =>
      Promise.reject(
        new SlipwayError('SANDBOX_UNAVAILABLE', 'RUN is not executed in a function', { details: { runner: 'needed' } }),
      ),
    ...(request.context.kind === 'none'
      ? {}
      : {
          context: () => {
            context ??= ports.context(request, signal);
            return context;
          },
        }),
  });
}

/**
 * After a stage has failed: takes what its runner did before that into the cache (F75). The stage is gone through again, silently, up to
 * where it failed. That this may fail too changes nothing for the build, which has its reason already.
 */
async function keepWhatWasDone(id: string, ports: WorkflowPorts): Promise<void> {
  const { records, table } = ports;
  if ((await records.get(id))?.plan === undefined) return;
  const stored = await planOf(id, ports);
  const finished = new Set(await records.finishedStages(id));
  const request = await records.request(id);
  for (const { index, needs } of stored.plan.stages) {
    if (finished.has(index) || !needs.every((need) => finished.has(need))) continue;
    if ((await table.get(jobKeys.job(id, index))) === undefined) continue;
    const input = await stageInput(id, index, stored, records);
    const silent = eventLog(() => undefined, ports.clock);
    await executeHere(id, input, request, ports, silent, AbortSignal.timeout(settleTime)).catch(() => undefined);
  }
}

/** Stores config and manifest, moves the tags, ends the build. Answers its record. */
export async function finishStep(id: string, ports: WorkflowPorts): Promise<BuildRecord> {
  const { records } = ports;
  const build = await records.get(id);
  if (build !== undefined && build.state === 'succeeded') return build;
  await running(id, ports);
  const stored = await planOf(id, ports);
  const image = (await records.stages(id, new Set([stored.plan.target]))).get(stored.plan.target);
  if (image === undefined)
    throw new SlipwayError('INTERNAL', `build ${id} is not finished: stage ${stored.plan.target} is missing`);
  const result = await logged(id, 'finish', ports, (log, signal) =>
    finishBuild(stored, image, { ...ports, log: meteredLog(log), signal }),
  );
  await ports.ending?.();
  return records.succeed(id, result);
}

/** What the state machine was told of a failure: the name of an error, and its cause, which for a function is a JSON text. */
export interface Told {
  readonly error?: string | undefined;
  readonly cause?: string | undefined;
}

/**
 * Ends the build as failed: with what its parts left behind, else with what the state machine was told. A build that somebody cancelled
 * ends as cancelled. One that has ended stays as it is. What was done before is in the cache then.
 */
export async function failStep(id: string, told: Told, ports: WorkflowPorts): Promise<BuildRecord> {
  const build = await ports.records.get(id);
  if (build === undefined) throw new SlipwayError('NOT_FOUND', `there is no build ${id.slice(0, 80)}`);
  const stopped = build.state === 'cancelled' || build.failure?.code === 'BUDGET';
  if (hasEnded(build.state) && !stopped) return build;
  // The build has its reason already, whatever this comes to.
  await keepWhatWasDone(id, ports).catch(() => undefined);
  return endBuild(id, told, ports);
}

/** As `failStep`, in no time: what runners have handed in is not looked at. */
export async function endBuild(
  id: string,
  told: Told,
  ports: Pick<WorkflowPorts, 'records' | 'table' | 'ending'>,
): Promise<BuildRecord> {
  const { records } = ports;
  const build = await records.get(id);
  if (build === undefined) throw new SlipwayError('NOT_FOUND', `there is no build ${id.slice(0, 80)}`);
  await ports.ending?.();
  if (build.cancelRequested !== undefined) return records.fail(id, { code: 'CANCELLED', message: 'cancelled' });
  return records.fail(id, (await failureOf(ports, id)) ?? failureToldOf(told));
}

const timeouts: ReadonlySet<string> = new Set(['States.Timeout', 'Sandbox.Timedout', 'TIMED_OUT']);

function failureToldOf({ error = '', cause = '' }: Told): ErrorDocument {
  if (timeouts.has(error)) {
    return {
      code: 'INTERNAL',
      message: 'a part of the build took longer than it may',
      hint: 'Planning and stages without RUN have 15 minutes a step, a stage with RUN 4 hours, the build 6 hours. What was done is in the cache: try again, or split the step.',
    };
  }
  let message = cause || error || 'no reason was given';
  let code = error;
  try {
    const { errorType, errorMessage } = JSON.parse(cause) as { readonly errorType?: unknown; readonly errorMessage?: unknown };
    if (typeof errorMessage === 'string') message = errorMessage;
    if (typeof errorType === 'string') code = errorType;
  } catch {
    // It is a plain text.
  }
  return { code: isErrorCode(code) ? code : 'INTERNAL', message: `the build stopped: ${message.slice(0, 2000)}` };
}
