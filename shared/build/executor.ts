// The stage executor: takes the steps of one stage in turn; each is looked up by its key, or done and kept. It knows nothing of where it
// runs: every effect goes through the ports.
import { isCode, SlipwayError, throwIfCancelled } from '../errors.ts';
import type { ChainId } from '../layer/layer.ts';
import { formatPlatform } from '../oci/platform.ts';
import { applyEdit } from './config-edit.ts';
import type { StepReport } from './events.ts';
import type { KeyParts, KeyStruct } from './key.ts';
import type { Operation, Plan, PlannedStage, Step } from './plan.ts';
import type { MadeLayer, StagePorts } from './ports.ts';
import { type StageImage, withConfig, withLayer } from './stage-image.ts';
import { stepTitle } from './titles.ts';

export interface StageInput {
  readonly plan: Plan;
  readonly stage: PlannedStage;
  /** What the stage starts from. */
  readonly start: StageImage;
  /** The finished image of each stage it needs, and of each image it copies from (by manifest digest). */
  readonly sources: ReadonlyMap<number | string, StageImage>;
}

/** A step made ready: its key, and how to do it when the key misses. */
export interface Prepared {
  readonly key: KeyParts;
  /** The chain the key is over; '' for what does not depend on its parent (--link). Default: the image so far. */
  readonly parent?: ChainId;
  make(report: StepReport): Promise<MadeLayer>;
  /** Gives back what was taken to compute the key. */
  close?(): Promise<void>;
}

export interface StepInput<K extends Operation['kind']> {
  readonly operation: Extract<Operation, { readonly kind: K }>;
  readonly step: Step;
  readonly image: StageImage;
  readonly input: StageInput;
  readonly ports: StagePorts;
  /** Resolves when the layers of the image so far can be read: what made one may be storing it still. */
  readonly stored: () => Promise<void>;
}

/** @throws SlipwayError with the place of the step that failed; CANCELLED when the ports' signal fires */
export async function executeStage(input: StageInput, ports: StagePorts): Promise<StageImage> {
  const { plan, stage } = input;
  let image = input.start;
  ports.log.start(stepTitle(plan, stage, 1, `FROM ${baseName(stage)}`)).done(true);
  let position = 1;
  const storing = new Storing();
  try {
    for (const step of stage.steps) {
      throwIfCancelled(ports.signal);
      if (step.operation.kind === 'config') {
        image = withConfig(image, applyEdit(image.config, step.operation.edit), step);
        continue;
      }
      position += 1;
      image = await layerStep(image, step, stepTitle(plan, stage, position, step.display), input, ports, storing);
    }
    await storing.all();
    return image;
  } finally {
    await storing.settled();
  }
}

/** What the steps of a stage made, and is on its way into the store. */
class Storing {
  readonly #pending: { readonly stored: Promise<void>; readonly unpacked: boolean }[] = [];

  /** `unpacked`: it is there as a directory already. */
  add(stored: Promise<void>, unpacked: boolean): void {
    stored.catch(() => undefined);
    this.#pending.push({ stored, unpacked });
  }

  /** Waits until no more than a few are under way; with `toUnpack`, until everything that is not a directory yet can be made one. */
  async room(toUnpack: boolean): Promise<void> {
    while (this.#pending.length > atOnce || (toUnpack && this.#pending.some(({ unpacked }) => !unpacked))) {
      await this.#pending[0]!.stored;
      this.#pending.shift();
    }
  }

  async all(): Promise<void> {
    for (const { stored } of this.#pending) await stored;
  }

  /** Nothing is under way any more, however it ended. */
  async settled(): Promise<void> {
    await Promise.allSettled(this.#pending.map(({ stored }) => stored));
  }
}

const atOnce = 4;

function baseName(stage: PlannedStage): string {
  const { base } = stage;
  if (base.kind === 'scratch') return 'scratch';
  return base.kind === 'image' ? `${base.name}@${base.digest}` : `stage ${base.stage}`;
}

async function layerStep(
  image: StageImage,
  step: Step,
  title: string,
  input: StageInput,
  ports: StagePorts,
  storing: Storing,
): Promise<StageImage> {
  const { plan } = input;
  const report = ports.log.start(title);
  try {
    await using stack = new AsyncDisposableStack();
    const prepared = await prepare(step, { image, input, ports, stored: () => storing.all() });
    if (prepared.close !== undefined) stack.defer(prepared.close);
    const struct: KeyStruct = {
      version: 1,
      parent: prepared.parent ?? image.chain,
      platform: formatPlatform(plan.platform),
      ...(plan.epoch === undefined ? {} : { epoch: plan.epoch }),
      operation: prepared.key,
    };
    const hit = ports.noCache ? undefined : await ports.cache.lookup(struct, ports.signal);
    const found = hit === undefined ? undefined : await ports.layers.find(hit.diffId);
    if (hit !== undefined && found !== undefined) {
      report.done(true);
      return afterStep(withLayer(image, found, step, hit.made), step);
    }
    const isRun = step.operation.kind === 'run';
    await storing.room(isRun);
    const { layer, stored } = await prepared.make(report);
    const made = plan.epoch ?? Math.floor(ports.clock() / 1000);
    // A step that has said it is done is kept, also when the build is stopped while it is being stored.
    const stop = ports.storeBehind ? undefined : ports.signal;
    const kept = stored.then(() => ports.cache.save(struct, { diffId: layer.diffId, made }, stop));
    if (ports.storeBehind) {
      const placed = kept.catch((error: unknown) => {
        throw atStep(asKnown(error, ports.signal), step);
      });
      storing.add(placed, isRun);
    } else await kept;
    report.done();
    return afterStep(withLayer(image, layer, step, made), step);
  } catch (error) {
    const known = asKnown(error, ports.signal);
    report.failed(known);
    throw atStep(known, step);
  }
}

const asKnown = (error: unknown, signal: AbortSignal): unknown =>
  signal.aborted && !isCode(error, 'STEP_FAILED') ? new SlipwayError('CANCELLED', 'cancelled', { cause: error }) : error;

/** WORKDIR is a layer and an edit in one. */
function afterStep(image: StageImage, step: Step): StageImage {
  if (step.operation.kind !== 'workdir') return image;
  return { ...image, config: applyEdit(image.config, { set: { WorkingDir: step.operation.path } }) };
}

/** Each kind of step is a module of its own, loaded when the first of the kind is met. */
async function prepare(step: Step, given: Omit<StepInput<'config'>, 'operation' | 'step'>): Promise<Prepared> {
  const { operation } = step;
  switch (operation.kind) {
    case 'run':
      return (await import('./step-run.ts')).prepareRun({ ...given, operation, step });
    case 'copy':
      return (await import('./step-copy.ts')).prepareCopy({ ...given, operation, step });
    case 'fetch':
      return (await import('./step-fetch.ts')).prepareFetch({ ...given, operation, step });
    case 'workdir':
      return (await import('./step-workdir.ts')).prepareWorkdir({ ...given, operation, step });
    case 'config':
      throw new SlipwayError('INTERNAL', 'a config edit makes no layer');
  }
}

/** The same error, with the step's place in the Dockerfile unless it has one. */
function atStep(error: unknown, step: Step): unknown {
  if (error instanceof SlipwayError) {
    if (error.where !== undefined || error.code === 'CANCELLED') return error;
    return new SlipwayError(error.code, error.message, {
      where: step.where,
      cause: error.cause ?? error,
      ...(error.hint === undefined ? {} : { hint: error.hint }),
      ...(error.details === undefined ? {} : { details: error.details }),
    });
  }
  return error;
}
