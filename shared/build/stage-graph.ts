// Which stages the target needs (F96), with what their bases bring along: images are looked up, ONBUILD triggers unfolded, COPY --from
// resolved. Images of stages that are not needed are never asked for.
import { dockerfileError, shown } from '../dockerfile/failure.ts';
import type { Copy, StageInstruction } from '../dockerfile/instructions.ts';
import { parseTrigger } from '../dockerfile/parse.ts';
import type { Word } from '../dockerfile/source.ts';
import { didYouMean } from '../dockerfile/suggest.ts';
import { expand } from '../dockerfile/words.ts';
import { SlipwayError, type SourceRange } from '../errors.ts';
import type { ImageConfig } from '../oci/config.ts';
import type { Digest } from '../oci/digest.ts';
import type { Platform } from '../oci/platform.ts';
import type { CopySource, StageBase } from './plan.ts';
import { type PlanBudget, stepOverhead } from './plan-budget.ts';
import { imageProblem, type StageHeader } from './stage-headers.ts';

export interface ResolvedImage {
  /** As the catalog knows it. */
  readonly name: string;
  /** Of a manifest, never an index. */
  readonly digest: Digest;
  readonly config: ImageConfig;
}

/** Finds an image, here or at its registry. Errors need no `where`: it is added. */
export type ResolveImage = (name: string, platform: Platform, where: SourceRange) => Promise<ResolvedImage>;

export interface NeededStage {
  readonly header: StageHeader;
  readonly base: StageBase;
  /** Of an image base. */
  readonly baseConfig?: ImageConfig;
  /** Triggers of the base, to run before the stage's own instructions. */
  readonly triggers: readonly StageInstruction[];
  /** Where each COPY --from takes from. */
  readonly sources: ReadonlyMap<Copy, CopySource>;
  /** Stages it needs, each with the place that says so. */
  readonly needs: ReadonlyMap<number, SourceRange>;
}

/** The stage `--target` names: by name, then by index; the last one for undefined. @throws SlipwayError DOCKERFILE */
export function findTarget(headers: readonly StageHeader[], target: string | undefined): number {
  if (target === undefined || target === '') return headers.length - 1;
  const named = headers.findLast(({ stage }) => stage.from.name === target.toLowerCase());
  if (named !== undefined) return named.stage.index;
  if (/^\d+$/.test(target) && Number(target) < headers.length) return Number(target);
  const names = headers.map(({ stage }) => stage.from.name).filter((name) => name !== undefined);
  const hint = names.length > 0 ? `stages: ${shown(names.join(', '), 400)}` : 'no stage of this Dockerfile has a name';
  const message = `target stage ${JSON.stringify(target)} could not be found${didYouMean(target, names)}`;
  throw dockerfileError(message, headers[0]!.stage.from.where, hint);
}

/** Every stage that `target` needs, each after all it needs. @throws SlipwayError DOCKERFILE, UNSUPPORTED, or what the resolver throws */
export async function neededStages(
  headers: readonly StageHeader[],
  target: number,
  platform: Platform,
  resolveImage: ResolveImage,
  budget: PlanBudget,
): Promise<NeededStage[]> {
  const graph = new Graph(headers, platform, resolveImage, budget);
  const found = new Map<number, NeededStage>();
  for (let frontier = [target]; frontier.length > 0; ) {
    const settled = await Promise.allSettled(frontier.map((index) => graph.stage(index)));
    // the first failure in the order of the file, however the look-ups ended
    for (const result of settled) if (result.status === 'rejected') throw result.reason;
    const next = new Set<number>();
    for (const result of settled) {
      if (result.status !== 'fulfilled') continue;
      found.set(result.value.header.stage.index, result.value);
      for (const need of result.value.needs.keys()) next.add(need);
    }
    frontier = [...next].filter((index) => !found.has(index)).sort((a, b) => a - b);
  }
  return inOrder(found, target);
}

class Graph {
  readonly #headers: readonly StageHeader[];
  readonly #platform: Platform;
  readonly #resolve: ResolveImage;
  readonly #budget: PlanBudget;
  readonly #images = new Map<string, Promise<ResolvedImage>>();
  readonly #byName = new Map<string, number[]>();

  constructor(headers: readonly StageHeader[], platform: Platform, resolve: ResolveImage, budget: PlanBudget) {
    this.#budget = budget;
    this.#headers = headers;
    this.#platform = platform;
    this.#resolve = resolve;
    for (const { stage } of headers) {
      const { name } = stage.from;
      if (name === undefined) continue;
      const same = this.#byName.get(name);
      if (same === undefined) this.#byName.set(name, [stage.index]);
      else same.push(stage.index);
    }
  }

  async stage(index: number): Promise<NeededStage> {
    const header = this.#headers[index]!;
    if (header.refusal !== undefined) throw header.refusal;
    const { base, stage } = header;
    const image = base.kind === 'image' ? await this.#image(base.name, stage.from.image.where) : undefined;
    const triggers = this.#triggers(header, image?.config);
    const needs = new Map<number, SourceRange>();
    if (base.kind === 'stage') needs.set(base.stage, stage.from.where);
    const sources = new Map<Copy, CopySource>();
    for (const instructions of [triggers, stage.instructions]) {
      for (const instruction of instructions) {
        if ((instruction.kind !== 'copy' && instruction.kind !== 'add') || instruction.from === undefined) continue;
        const source = await this.#copySource(instruction.from, index);
        sources.set(instruction, source);
        if (source.kind === 'stage' && !needs.has(source.stage)) needs.set(source.stage, instruction.from.where);
      }
    }
    const pinned = image ? { kind: 'image' as const, name: image.name, digest: image.digest } : (base as StageBase);
    return { header, base: pinned, ...(image && { baseConfig: image.config }), triggers, sources, needs };
  }

  #triggers({ base, stage }: StageHeader, config: ImageConfig | undefined): StageInstruction[] {
    if (base.kind === 'scratch') return [];
    const texts =
      base.kind === 'image'
        ? (config?.config?.OnBuild ?? [])
        : this.#headers[base.stage]!.stage.instructions.filter((one) => one.kind === 'onbuild').map(({ trigger }) => trigger);
    return texts.map((text) => {
      this.#budget.charge(stepOverhead + text.length, stage.from.where);
      return parseTrigger(text, stage.from);
    });
  }

  #image(name: string, where: SourceRange): Promise<ResolvedImage> {
    let found = this.#images.get(name);
    if (found === undefined) {
      found = this.#resolve(name, this.#platform, where).catch((error: unknown) => {
        throw error instanceof SlipwayError && error.where === undefined ? placed(error, where) : error;
      });
      this.#images.set(name, found);
    }
    return found;
  }

  async #copySource(from: Word, index: number): Promise<CopySource> {
    const { where, text } = from;
    const { text: expanded } = expand(text, { lookup: () => undefined, where });
    if (expanded !== text)
      throw dockerfileError(
        'variable expansion is not supported for --from, define a new stage with FROM using ARG from global scope as a workaround',
        where,
      );
    if (/^[-+]?\d+$/.test(text)) {
      const stage = Number(text);
      if (stage < 0 || stage >= this.#headers.length)
        throw dockerfileError(
          `invalid stage index ${stage}`,
          where,
          `the stages are numbered from 0 to ${this.#headers.length - 1}`,
        );
      return { kind: 'stage', stage };
    }
    const stages = this.#byName.get(text.toLowerCase());
    // of several stages of one name the nearest before this one, else the first after it
    if (stages !== undefined) return { kind: 'stage', stage: stages.findLast((stage) => stage < index) ?? stages[0]! };
    if (text === 'scratch') throw dockerfileError('nothing can be copied from scratch', where);
    const problem = imageProblem(text);
    if (problem !== undefined)
      throw dockerfileError(
        `failed to parse stage name ${JSON.stringify(text)}: ${problem.message}${didYouMean(text, this.#byName.keys())}`,
        where,
      );
    const { name, digest } = await this.#image(text, where);
    return { kind: 'image', name, digest };
  }
}

function placed(error: SlipwayError, where: SourceRange): SlipwayError {
  const { hint, details } = error;
  const facts = { where, cause: error, ...(hint !== undefined && { hint }), ...(details !== undefined && { details }) };
  return new SlipwayError(error.code, error.message, facts);
}

/** Depth first with a stack of its own: chains of stages may be long. @throws SlipwayError DOCKERFILE on a cycle */
function inOrder(found: ReadonlyMap<number, NeededStage>, target: number): NeededStage[] {
  const state = new Map<number, 'open' | 'done'>();
  const order: NeededStage[] = [];
  const stack: { index: number; rest: number[] }[] = [];
  const open = (index: number): void => {
    state.set(index, 'open');
    stack.push({ index, rest: [...found.get(index)!.needs.keys()].sort((a, b) => b - a) });
  };
  open(target);
  for (let top = stack.at(-1); top !== undefined; top = stack.at(-1)) {
    const next = top.rest.pop();
    if (next === undefined) {
      state.set(top.index, 'done');
      order.push(found.get(top.index)!);
      stack.pop();
    } else if (state.get(next) === 'open') {
      const { name } = found.get(next)!.header.stage.from;
      throw dockerfileError(
        `circular dependency detected on stage: ${name ?? next}`,
        found.get(top.index)!.needs.get(next)!,
        'a stage cannot take from a stage that is built from it, or from itself',
      );
    } else if (state.get(next) === undefined) open(next);
  }
  const byIndex = order.toSorted((a, b) => a.header.stage.index - b.header.stage.index);
  const plain = byIndex.every(({ header, needs }) => [...needs.keys()].every((need) => need < header.stage.index));
  return plain ? byIndex : order;
}
