// From a request to a build that can be run: the Dockerfile planned, bases resolved (and fetched when they are not here), start images
// loaded, the context's share named. Nothing of the build has run yet, and everything wrong with the Dockerfile has been said.

import { findLocal } from '../client/local-image.ts';
import { isCode, SlipwayError } from '../errors.ts';
import { chainIds } from '../oci/chain.ts';
import type { Digest } from '../oci/digest.ts';
import { hostPlatform, type Platform, parsePlatform } from '../oci/platform.ts';
import { parseReference, parseTarget, type Reference, withDefaultTag, withoutHost } from '../oci/reference.ts';
import type { Blobs } from '../store/blobs.ts';
import type { Catalog } from '../store/catalog.ts';
import { loadStageImage } from './base-image.ts';
import { startConfig } from './config-edit.ts';
import type { StepLog } from './events.ts';
import type { Plan, PlannedStage } from './plan.ts';
import { planBuild } from './planner.ts';
import type { BuildRequest } from './request.ts';
import type { StageImage } from './stage-image.ts';

export interface PreparePorts {
  readonly catalog: Catalog;
  readonly blobs: Blobs;
  readonly pull: (name: string, platform: Platform, signal: AbortSignal) => Promise<void>;
  readonly log: StepLog;
  readonly signal: AbortSignal;
  /** What is built on, and for when no platform is asked for. Default: this machine. */
  readonly host?: Platform;
  /** By which others reach this home: bases with this host before them are its own, and fetched from nowhere. */
  readonly ownHost?: string;
  /** Whether who started the build may read this repository; everything without it. */
  readonly mayRead?: (repository: string) => boolean;
}

export interface PreparedBuild {
  readonly plan: Plan;
  /** By stage index: what stages on an image or on scratch start from. */
  readonly starts: ReadonlyMap<number, StageImage>;
  /** Images that COPY --from reads, by manifest digest. */
  readonly images: ReadonlyMap<string, StageImage>;
  /** What a stage on another stage starts from. */
  readonly startFrom: (image: StageImage) => StageImage;
  /** Sources of COPY and ADD from the context, as written. */
  readonly contextPaths: readonly string[];
  readonly tags: readonly (Reference & { readonly tag: string })[];
}

export async function prepareBuild(request: BuildRequest, ports: PreparePorts): Promise<PreparedBuild> {
  // F42: tags are checked before any work starts.
  const tags = request.tags.map(parseTarget);
  const host = ports.host ?? hostPlatform();
  const platform = request.platform === undefined ? host : parsePlatform(request.platform, host);
  const loaded = new Map<Digest, StageImage>();
  const definition = ports.log.start(`[internal] load build definition from ${request.dockerfile.name}`);
  definition.done();
  const plan = await planBuild(
    {
      dockerfile: request.dockerfile,
      buildArgs: request.buildArgs,
      labels: request.labels,
      platform,
      buildPlatform: host,
      hasContext: request.context.kind !== 'none',
      ...(request.target === undefined ? {} : { target: request.target }),
      ...(request.network === undefined ? {} : { network: networkOf(request.network) }),
    },
    {
      resolveImage: async (name, wanted) => {
        const image = await resolveBase(name, wanted, request.pull, ports);
        loaded.set(image.digest, image.image);
        return { name, digest: image.digest, config: image.image.config };
      },
    },
  );
  const starts = new Map<number, StageImage>();
  for (const stage of plan.stages) {
    if (stage.base.kind === 'stage') continue;
    const config = plan.stageConfigs[stage.index];
    if (config === undefined) throw new SlipwayError('INTERNAL', `stage ${stage.index} has no config to start from`);
    const base = stage.base.kind === 'image' ? loaded.get(stage.base.digest) : undefined;
    starts.set(stage.index, {
      config,
      layers: base?.layers ?? [],
      chain: base?.chain ?? chainIds([]).at(-1) ?? '',
      time: base?.time,
    });
  }
  return {
    plan,
    starts,
    images: new Map(loaded),
    startFrom: (image) => ({ ...image, config: startConfig(image.config, plan.platform) }),
    contextPaths: plan.stages.flatMap(contextPathsOf),
    tags,
  };
}

function contextPathsOf(stage: PlannedStage): readonly string[] {
  return stage.steps.flatMap(({ operation }) =>
    operation.kind === 'copy' && operation.from.kind === 'context' ? operation.sources : [],
  );
}

function networkOf(text: string): 'host' | 'none' {
  if (text === 'none') return 'none';
  if (text === 'host' || text === 'default') return 'host';
  throw new SlipwayError('UNSUPPORTED', `network "${text}" is not supported`, {
    hint: 'RUN steps use the machine’s network (default, host) or none',
  });
}

/** The image here, or fetched: locally present names are not looked up elsewhere unless `--pull` asks for it. */
async function resolveBase(
  name: string,
  platform: Platform,
  always: boolean,
  ports: PreparePorts,
): Promise<{ digest: Digest; image: StageImage }> {
  const here = withoutHost(name, ports.ownHost);
  const own = here !== name;
  const reference = withDefaultTag(parseReference(here));
  if (ports.mayRead?.(reference.repository) === false) {
    throw new SlipwayError('DENIED', `${name}: who started this build may not pull ${reference.repository}`, {
      hint: `Start it with a token that covers repository:${reference.repository}:pull.`,
      details: { scope: `repository:${reference.repository}:pull` },
    });
  }
  const report = ports.log.start(
    `[internal] load metadata for ${reference.repository}${reference.tag === undefined ? '' : `:${reference.tag}`}`,
  );
  try {
    const find = () => findLocal(ports, reference, platform);
    let record = await find();
    if ((record === undefined || always) && !own) {
      await fetchBase(name, platform, record !== undefined, ports);
      record = await find();
    }
    if (record === undefined) throw new SlipwayError('NOT_FOUND', `${name}: not found`);
    const image = await loadStageImage(ports.blobs, record.digest, platform, ports.signal);
    report.done();
    return image;
  } catch (error) {
    report.failed(error);
    throw error;
  }
}

/** Pulls the base; what fails is told as what it means for this build. */
async function fetchBase(name: string, platform: Platform, here: boolean, ports: PreparePorts): Promise<void> {
  try {
    await ports.pull(name, platform, ports.signal);
  } catch (error) {
    if (!isCode(error, 'UPSTREAM', 'NOT_FOUND', 'UNAUTHORIZED', 'DENIED')) throw error;
    const next = here
      ? 'There is one in the home: leave --pull out to use it.'
      : `There is none in the home either: check the name, or bring it in with slipway pull, load or import.`;
    throw new SlipwayError(error.code, `${name}: failed to resolve source metadata: ${error.message}`, {
      cause: error,
      hint: error.hint === undefined ? next : `${error.hint}\n  ${next}`,
      ...(error.details === undefined ? {} : { details: error.details }),
    });
  }
}
