// Counts what is used while something is done. Drivers count into the meter of whoever called them, found by the asynchronous context, so
// that nothing between them needs to know of it. Without a meter nothing is counted.
import { AsyncLocalStorage } from 'node:async_hooks';
import { type StepUsage, stepKey, sumOf, type Usage } from './usage.ts';

const meters = new AsyncLocalStorage<Meter>();

/** Runs `work` with what it uses counted by `meter`; without one, by nobody. */
export const metered = <T>(meter: Meter | undefined, work: () => T): T =>
  meter === undefined ? meters.exit(work) : meters.run(meter, work);

/** Whose work this is, if anybody counts it. */
export const currentMeter = (): Meter | undefined => meters.getStore();

/** Adds to the counter of whoever this is done for. */
export const count = (name: string, amount = 1): void => meters.getStore()?.count(name, amount);

export interface MeterOptions {
  /** Milliseconds; only differences count. */
  readonly clock: () => number;
  /** What each millisecond uses, e.g. `{lambdaArm64MibMs: 1769}`. */
  readonly rate?: Usage;
  /** Milliseconds used before the meter started. */
  readonly before?: number;
}

/** Steps told apart in one part; what further ones use counts for the build alone. Keeps a report well below a record's limit. */
const maxSteps = 200;
const maxName = 120;

interface CountedStep {
  readonly name: string;
  readonly stage: number | undefined;
  ms: number;
  readonly usage: Record<string, number>;
}

export interface MeterReading {
  readonly usage: Usage;
  readonly steps: readonly StepUsage[];
}

/** Starts when it is made. */
export class Meter {
  readonly #clock: () => number;
  readonly #rate: Usage;
  readonly #started: number;
  readonly #usage: Record<string, number> = {};
  readonly #steps = new Map<string, CountedStep>();
  /** One entry for each time that a step is under way. */
  readonly #open = new Set<CountedStep>();
  /** Until when time was given to steps. */
  #shared: number;
  #stopped: number | undefined;

  constructor({ clock, rate = {}, before = 0 }: MeterOptions) {
    this.#clock = clock;
    this.#rate = rate;
    this.#shared = clock();
    this.#started = this.#shared - before;
  }

  /** Counts for the step that is open, when it is one alone, and for the whole. */
  count(name: string, amount: number): void {
    this.#usage[name] = (this.#usage[name] ?? 0) + amount;
    if (this.#open.size !== 1) return;
    const [{ usage }] = this.#open as unknown as [CountedStep];
    usage[name] = (usage[name] ?? 0) + amount;
  }

  add(usage: Usage): void {
    for (const [name, amount] of Object.entries(usage)) this.count(name, amount);
  }

  /** Opens a step; the answer ends it. Several that are open share the time. */
  step(title: string, stage?: number): () => void {
    const name = title.length > maxName ? `${title.slice(0, maxName).toWellFormed()}...` : title;
    const key = stepKey(stage === undefined ? { name } : { name, stage });
    const known = this.#steps.get(key);
    if (known === undefined && this.#steps.size >= maxSteps) return () => undefined;
    const step = known ?? { name, stage, ms: 0, usage: {} };
    this.#steps.set(key, step);
    this.#share();
    this.#open.add(step);
    return () => {
      this.#share();
      this.#open.delete(step);
    };
  }

  /** Gives the time that has passed to the steps that were open. */
  #share(): void {
    const now = this.#stopped ?? this.#clock();
    for (const step of this.#open) step.ms += (now - this.#shared) / this.#open.size;
    this.#shared = now;
  }

  /** Time counts no more. */
  stop(): void {
    this.#stopped ??= this.#clock();
  }

  /** So far. Milliseconds are rounded up, as AWS bills them. */
  read(): MeterReading {
    const now = this.#stopped ?? this.#clock();
    this.#share();
    const steps = [...this.#steps.values()].map(({ name, stage, ms, usage }): StepUsage => {
      const took = Math.floor(ms);
      return { name, ...(stage === undefined ? {} : { stage }), ms: took, usage: sumOf([usage, this.#timed(took)]) };
    });
    return { usage: sumOf([this.#usage, this.#timed(Math.ceil(now - this.#started))]), steps };
  }

  #timed(ms: number): Usage {
    return Object.fromEntries(Object.entries(this.#rate).map(([name, rate]) => [name, rate * ms]));
  }
}
