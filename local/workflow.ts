// Drives builds in this process: plan, then every stage whose needs are met, side by side, then the tags. What Step Functions does in an
// account, with the same functions.
import type { StepLog } from '../shared/build/events.ts';
import { executeStage } from '../shared/build/executor.ts';
import { type Finished, finishBuild } from '../shared/build/finish.ts';
import type { Plan, PlannedStage } from '../shared/build/plan.ts';
import type { ContextSource, StagePorts } from '../shared/build/ports.ts';
import { type PreparedBuild, prepareBuild } from '../shared/build/prepare.ts';
import type { BuildRequest } from '../shared/build/request.ts';
import type { StageImage } from '../shared/build/stage-image.ts';
import { isCode, SlipwayError } from '../shared/errors.ts';
import type { Catalog } from '../shared/store/catalog.ts';
import { failureOf } from './build-failure.ts';

export interface WorkflowPorts extends Omit<StagePorts, 'log' | 'context' | 'noCache' | 'signal'> {
  readonly catalog: Catalog;
  /** Fetches an image into the home: for a base that is not here, or with `--pull`. */
  readonly pull: (name: string, platform: Plan['platform'], signal: AbortSignal) => Promise<void>;
  /** Whether who started the build may read a repository; everything without it. */
  readonly mayRead?: (repository: string) => boolean;
  /** Opens the build's context, restricted to what the plan can touch. */
  readonly openContext: (
    request: BuildRequest,
    needed: readonly string[],
    log: StepLog,
    signal: AbortSignal,
  ) => Promise<ContextSource>;
}

/** One build from request to tags. `stop` ends it. */
export async function runBuild(
  request: BuildRequest,
  ports: WorkflowPorts,
  log: StepLog,
  stop: AbortController,
): Promise<Finished> {
  if (request.budget !== undefined) {
    throw new SlipwayError('UNSUPPORTED', 'a budget: in this home nothing is counted that anybody charges for', {
      hint: 'Leave --budget out; it is for builds in an account.',
    });
  }
  const { signal } = stop;
  const { catalog, blobs, pull, mayRead } = ports;
  const build = await prepareBuild(request, { catalog, blobs, pull, log, signal, ...(mayRead && { mayRead }) });
  for (const warning of build.plan.warnings) log.warning(warning);
  let context: Promise<ContextSource> | undefined;
  const stagePorts: StagePorts = {
    ...ports,
    log,
    signal,
    storeBehind: true,
    noCache: request.noCache,
    ...(request.context.kind === 'none'
      ? {}
      : {
          context: () => {
            context ??= ports.openContext(request, build.contextPaths, log, signal);
            return context;
          },
        }),
  };
  // Read while the first stages are at work. A failure shows where it is needed.
  if (build.contextPaths.length > 0) stagePorts.context?.().catch(() => undefined);
  const attempt = async (): Promise<Finished> => {
    const image = await runStages(build, stagePorts, stop, request.noCacheFilter ?? []);
    return finishBuild(build, image, { blobs: ports.blobs, catalog: ports.catalog, log, signal });
  };
  try {
    return await attempt();
  } catch (error) {
    // Somebody removed an image whose layers this build had found in the cache. They are looked up again, and made where they are gone.
    if (!isCode(error, 'NOT_FOUND') || error.details?.missing === undefined) throw error;
    return attempt();
  }
}

/** The first failure stops the stages that are still running, and is the one that is reported. */
async function runStages(
  build: PreparedBuild,
  ports: StagePorts,
  stop: AbortController,
  uncached: readonly string[],
): Promise<StageImage> {
  const { plan } = build;
  const finished = new Map<number, Promise<StageImage>>();
  for (const stage of plan.stages) {
    // Each stage comes after all it needs, so their promises are there.
    const needs = stage.needs.map(async (index) => [index, await (finished.get(index) as Promise<StageImage>)] as const);
    const done = (async () => {
      const ready = new Map<number | string, StageImage>([...build.images, ...(await Promise.all(needs))]);
      const start =
        stage.base.kind === 'stage'
          ? build.startFrom(ready.get(stage.base.stage) as StageImage)
          : (build.starts.get(stage.index) as StageImage);
      return executeStage({ plan, stage, start, sources: ready }, isNamed(stage, uncached) ? { ...ports, noCache: true } : ports);
    })();
    done.catch((error: unknown) => stop.abort(error));
    finished.set(stage.index, done);
  }
  await Promise.allSettled(finished.values());
  // Kept by the first that aborted: what failed after it failed because of it, or no longer matters.
  if (stop.signal.aborted) throw failureOf(stop.signal.reason, stop.signal);
  return finished.get(plan.target) as Promise<StageImage>;
}

const isNamed = (stage: PlannedStage, names: readonly string[]): boolean =>
  names.some((name) => name.toLowerCase() === stage.name?.toLowerCase() || name === String(stage.index));
