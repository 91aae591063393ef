// Dockerfile and arguments to plan: parse, check, expand, look up bases, prune to the target. No clock, no file, no network but the
// resolver that is passed in: the same input gives the same plan.
import { dockerfileError } from '../dockerfile/failure.ts';
import { lintFile, lintStage } from '../dockerfile/lint.ts';
import { type Dockerfile, parseDockerfile } from '../dockerfile/parse.ts';
import { Findings } from '../dockerfile/rules.ts';
import type { SourceRange } from '../errors.ts';
import type { ImageConfig } from '../oci/config.ts';
import { formatPlatform, normalizePlatform, type Platform } from '../oci/platform.ts';
import { isPredefined, platformArgs } from './builtin-args.ts';
import { startConfig } from './config-edit.ts';
import type { Plan, PlannedStage, Step } from './plan.ts';
import { PlanBudget } from './plan-budget.ts';
import { planStage, type StageScope, scopeOf } from './plan-stage.ts';
import { findTarget, type NeededStage, neededStages, type ResolveImage } from './stage-graph.ts';
import { readHeaders } from './stage-headers.ts';

export interface PlanInput {
  /** `name` is what messages call the file. */
  readonly dockerfile: { readonly name: string; readonly text: string };
  readonly buildArgs: Readonly<Record<string, string>>;
  /** A stage's name, or its index. Default: the last stage. */
  readonly target?: string;
  /** What is built for. */
  readonly platform: Platform;
  /** What is built on (BUILDPLATFORM). Default: `platform`. */
  readonly buildPlatform?: Platform;
  /** `--label`: set last, on the target. */
  readonly labels?: Readonly<Record<string, string>>;
  /** Seconds. A build argument SOURCE_DATE_EPOCH goes before it. */
  readonly epoch?: number;
  /** For RUN without `--network`. Default `host`. */
  readonly network?: 'host' | 'none';
  /** False when the build was given no context: COPY from it is then refused at its line. Default true. */
  readonly hasContext?: boolean;
}

export interface PlanPorts {
  readonly resolveImage: ResolveImage;
}

export interface PlannedBuild extends Plan {
  /** By stage index, for stages whose base is an image or scratch: the config they start from (see `startConfig`). */
  readonly stageConfigs: Readonly<Record<number, ImageConfig>>;
}

/**
 * Plans a build.
 * @throws SlipwayError DOCKERFILE or UNSUPPORTED with the place in the file, TOO_LARGE for what outgrows its bounds, DENIED, CONTEXT, and
 * whatever the resolver throws, with the place of the FROM or COPY that asked for the image
 */
export async function planBuild(input: PlanInput, ports: PlanPorts): Promise<PlannedBuild> {
  const { platform, labels = {} } = input;
  const { name, text } = input.dockerfile;
  const dockerfile = parseDockerfile(name, text);
  const findings = new Findings(dockerfile.directives);
  const buildArgs = argumentsOf(input);
  checkSyntax(dockerfile, buildArgs, findings);
  lintFile(dockerfile, findings);

  const budget = new PlanBudget();
  const stageName = input.target || dockerfile.stages.at(-1)!.from.name || 'default';
  const predefined = platformArgs(input.buildPlatform ?? platform, platform, stageName);
  const { headers, globals } = readHeaders({ dockerfile, buildArgs, platform, predefined, findings, budget });
  const epoch = epochOf(buildArgs, globals, dockerfile.stages[0]!.from.where);
  const target = findTarget(headers, input.target);
  const needed = await neededStages(headers, target, platform, ports.resolveImage, budget);

  const scopes = new Map<number, StageScope>();
  const stageConfigs: Record<number, ImageConfig> = {};
  const stages: PlannedStage[] = [];
  for (const stage of needed) {
    const { index, from, instructions } = stage.header.stage;
    lintStage([...stage.triggers, ...instructions], findings);
    if (stage.base.kind !== 'stage') stageConfigs[index] = startConfig(stage.baseConfig, platform);
    basePlatform(stage, platform, findings);
    const base = stage.base.kind === 'stage' ? scopes.get(stage.base.stage)! : scopeOf(stageConfigs[index]!.config ?? {});
    const { steps, scope } = planStage({
      needed: stage,
      scope: base,
      globals,
      buildArgs,
      network: input.network ?? 'host',
      escapeChar: dockerfile.escapeChar,
      findings,
      budget,
    });
    scopes.set(index, scope);
    if (input.hasContext === false) refuseContext(steps);
    if (index === target && Object.keys(labels).length > 0) steps.push(labelStep(labels, from.where));
    stages.push({
      index,
      ...(from.name !== undefined && { name: from.name }),
      where: from.where,
      base: stage.base,
      steps,
      needs: [...stage.needs.keys()].sort((a, b) => a - b),
    });
  }
  unconsumed(input.buildArgs, dockerfile, needed, predefined, findings);
  findings.enforce();
  return {
    version: 1,
    platform,
    stages,
    target,
    warnings: findings.list.toSorted((a, b) => a.where.start.line - b.where.start.line),
    ...(epoch !== undefined && { epoch }),
    stageConfigs,
  };
}

/** The build arguments, with an epoch given otherwise among them, as the docker command line does. */
function argumentsOf({ buildArgs, epoch }: PlanInput): Readonly<Record<string, string>> {
  if (epoch === undefined || Object.hasOwn(buildArgs, 'SOURCE_DATE_EPOCH')) return buildArgs;
  return { ...buildArgs, SOURCE_DATE_EPOCH: `${epoch}` };
}

function epochOf(
  buildArgs: PlanInput['buildArgs'],
  globals: ReadonlyMap<string, string>,
  where: SourceRange,
): number | undefined {
  const name = 'SOURCE_DATE_EPOCH';
  const text = Object.hasOwn(buildArgs, name) ? buildArgs[name] : globals.get(name);
  if (!text) return undefined;
  const seconds = Number(text);
  if (/^\d+$/.test(text) && seconds <= 253402300799) return seconds;
  throw dockerfileError(
    `invalid SOURCE_DATE_EPOCH: ${text.slice(0, 100)}`,
    where,
    'give whole seconds since 1970, as date +%s prints',
  );
}

/** A lone manifest may be for another machine than its index would have chosen. */
function basePlatform({ header, baseConfig }: NeededStage, platform: Platform, findings: Findings): void {
  const { base, stage } = header;
  if (baseConfig === undefined || base.kind !== 'image') return;
  const [actual, expected] = [normalizePlatform(baseConfig), normalizePlatform(platform)];
  if (actual.os === expected.os && actual.architecture === expected.architecture) return;
  const shown = formatPlatform(actual);
  const message = `Base image ${base.name} was pulled with platform "${shown}", expected "${formatPlatform(expected)}" for current build`;
  findings.report('InvalidBaseImagePlatform', message, stage.from.where, stage.from.comments);
}

/** B01: docker/dockerfile is built in; no other frontend is ever fetched and run. */
function checkSyntax(dockerfile: Dockerfile, buildArgs: PlanInput['buildArgs'], findings: Findings): void {
  const builtIn = /^(?:docker\.io\/)?docker\/dockerfile(?:-upstream)?(?:[:@]|$)/;
  const directive = dockerfile.directives.find(({ name }) => name === 'syntax');
  const forced = Object.hasOwn(buildArgs, 'BUILDKIT_SYNTAX') ? buildArgs.BUILDKIT_SYNTAX : undefined;
  const wanted = forced || directive?.value.split(' ')[0];
  if (!wanted || wanted === 'dockerfile.v0' || builtIn.test(wanted)) return;
  const message = `Syntax ${wanted.slice(0, 200)} is not run: the built-in docker/dockerfile syntax is used instead`;
  findings.report('UnknownSyntax', message, directive?.where ?? dockerfile.stages[0]!.from.where);
}

function refuseContext(steps: readonly Step[]): void {
  for (const { operation, where } of steps)
    if (operation.kind === 'copy' && operation.from.kind === 'context' && operation.sources.length > 0)
      throw dockerfileError(
        'nothing can be copied from the context: this build has none',
        where,
        'give a folder instead of -, as in slipway build .',
      );
}

function labelStep(labels: Readonly<Record<string, string>>, where: SourceRange): Step {
  const pairs = Object.entries(labels).sort(([a], [b]) => (a < b ? -1 : 1));
  const display = `LABEL ${pairs.map(([name, value]) => `${name}=${value}`).join(' ')}`;
  return { operation: { kind: 'config', edit: { labels: pairs } }, where, display, createdBy: '' };
}

function unconsumed(
  buildArgs: PlanInput['buildArgs'],
  dockerfile: Dockerfile,
  needed: readonly NeededStage[],
  predefined: ReadonlyMap<string, string>,
  findings: Findings,
): void {
  const declared = new Set<string>(predefined.keys());
  const lists = [
    dockerfile.metaArgs,
    ...dockerfile.stages.map(({ instructions }) => instructions),
    ...needed.map(({ triggers }) => triggers),
  ];
  for (const list of lists) for (const one of list) if (one.kind === 'arg') for (const { name } of one.args) declared.add(name);
  const unused = Object.keys(buildArgs)
    .filter((name) => !declared.has(name) && !isPredefined(name))
    .sort();
  if (unused.length === 0) return;
  const message = `One or more build-args [${unused.join(' ')}] were not consumed`;
  findings.report('UnconsumedBuildArgs', message, dockerfile.stages[0]!.from.where);
}
