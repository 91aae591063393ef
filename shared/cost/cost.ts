// What a build's usage costs at given prices: an estimate, in whole numbers. Computed anew whenever it is asked for, from what is kept.
import { type PriceTable, picoDollars, priced } from './prices.ts';
import { mergedSteps, type RunnerUse, type StepUsage, stepKey, sumOf, type Usage, type UsagePart } from './usage.ts';

export interface StepCost {
  readonly stage?: number;
  readonly name: string;
  /** That it took, over all machines and attempts. */
  readonly milliseconds: number;
  readonly nanoDollars: number;
}

export interface Cost {
  /** In all; billionths of a dollar. An estimate. */
  readonly nanoDollars: number;
  readonly prices: { readonly date: string; readonly region: string; readonly source: string };
  /** Where it was built, when that is another Region than the prices'. */
  readonly region?: string;
  /** Nano-dollars by service. */
  readonly services: Readonly<Record<string, number>>;
  readonly steps: readonly StepCost[];
  /** Nano-dollars that are no single step's: planning, starting machines, following the log. */
  readonly rest: number;
  /** What was counted but has no price in the table. */
  readonly unpriced: readonly string[];
  /** What is not counted at all. */
  readonly notCounted: readonly string[];
}

/** Known to be charged, and in no counter. */
export const notCounted: readonly string[] = [
  'sending the context',
  'CloudFront requests and the authorizer',
  'reading the snapshot of a MicroVM',
  'CloudWatch logs, metrics and traces',
  'requests of functions to KMS and Secrets Manager',
  'disk of functions above 512 MiB',
  'storage, and traffic out of AWS',
];

const services: readonly (readonly [prefix: string, service: string])[] = [
  ['lambda', 'lambda'],
  ['microvm', 'microvm'],
  ['codebuild', 'codebuild'],
  ['s3', 's3'],
  ['dynamodb', 'dynamodb'],
  ['state', 'stepFunctions'],
  ['api', 'apiGateway'],
];

/** Halves are the smallest that is counted (units of DynamoDB). */
const halves = 2n;

/** Pico-dollars of `amount`, rounded to the nearest; `undefined` when it has no price, 0 when it costs nothing. */
function picoOf(name: string, amount: number, table: PriceTable): bigint | undefined {
  if (!(name in priced)) return name.startsWith('codebuild') && amount > 0 ? undefined : 0n;
  const { price, unit } = priced[name as keyof typeof priced];
  const text = table.prices[price];
  const each = text === undefined ? undefined : picoDollars(text);
  if (each === undefined) return amount > 0 ? undefined : 0n;
  const divisor = unit * halves;
  return (each * BigInt(Math.round(amount * Number(halves))) + divisor / 2n) / divisor;
}

const totalOf = (usage: Usage, table: PriceTable): bigint =>
  Object.entries(usage).reduce((sum, [name, amount]) => sum + (picoOf(name, amount, table) ?? 0n), 0n);

const second = 1000;
const minute = 60 * second;

/** What a runner used from its start to its stop, rounded as it is billed: seconds of a MicroVM, minutes of CodeBuild. */
export function runnerUsage(runner: RunnerUse, until: number): Usage {
  const runnerMs = Math.max(0, (runner.ended ?? until) - runner.started);
  if (runner.kind === 'codebuild') {
    return { runnerMs, [`codebuild${runner.size ?? 'Unknown'}Minutes`]: Math.ceil(runnerMs / minute) };
  }
  const billed = Math.ceil(runnerMs / second) * second;
  return {
    runnerMs,
    microvmMilliVcpuMs: (runner.milliVcpu ?? 0) * billed,
    microvmMibMs: (runner.mib ?? 0) * billed,
  };
}

export interface BuildCost {
  /** Sum of all parts. */
  readonly usage: Usage;
  readonly cost: Cost;
}

/**
 * Sum and price of a build's parts. `until`: milliseconds since 1970 to which a runner counts that has not been stopped.
 * A step's share of a runner is its time on it; what the runner took beyond its steps (starting, waiting to be stopped) is `rest`.
 */
export function costOf(parts: readonly UsagePart[], table: PriceTable, until: number, region?: string): BuildCost {
  const runners = parts.flatMap(({ runner }) => (runner === undefined ? [] : [{ runner, used: runnerUsage(runner, until) }]));
  const usage = sumOf([...parts.map((part) => part.usage), ...runners.map(({ used }) => used)]);
  const steps = inOrder(mergedSteps(parts.flatMap((part) => part.steps ?? [])));
  const pico = new Map(steps.map((step) => [stepKey(step), totalOf(step.usage, table)]));
  for (const { job, steps: done = [] } of parts) {
    const machine = runners.find(({ runner }) => runner.stage === job?.stage && runner.attempt === job?.attempt);
    if (machine === undefined) continue;
    const spent = done.reduce((sum, { ms }) => sum + ms, 0);
    const whole = BigInt(Math.max(machine.used.runnerMs ?? 0, spent, 1));
    const price = totalOf(machine.used, table);
    for (const step of done) {
      const key = stepKey(step);
      pico.set(key, (pico.get(key) ?? 0n) + (price * BigInt(step.ms)) / whole);
    }
  }
  const total = totalOf(usage, table);
  const nanoDollars = Number((total + 500n) / 1000n);
  const stepCosts = steps.map(({ stage, name, ms }): StepCost => {
    const key = stepKey(stage === undefined ? { name } : { stage, name });
    const share = Number((pico.get(key) ?? 0n) / 1000n);
    return { ...(stage === undefined ? {} : { stage }), name, milliseconds: ms, nanoDollars: share };
  });
  const { date, region: of, source } = table;
  return {
    usage,
    cost: {
      nanoDollars,
      prices: { date, region: of, source },
      ...(region === undefined || region === of ? {} : { region }),
      services: byService(usage, table),
      steps: stepCosts,
      rest: Math.max(0, nanoDollars - stepCosts.reduce((sum, step) => sum + step.nanoDollars, 0)),
      unpriced: Object.entries(usage).flatMap(([name, amount]) => (picoOf(name, amount, table) === undefined ? [name] : [])),
      notCounted,
    },
  };
}

/** The steps of stages by stage, among the others where they were. */
function inOrder(steps: readonly StepUsage[]): readonly StepUsage[] {
  const staged = steps.filter(({ stage }) => stage !== undefined).toSorted((a, b) => a.stage! - b.stage!);
  return steps.map((step) => (step.stage === undefined ? step : staged.shift()!));
}

function byService(usage: Usage, table: PriceTable): Readonly<Record<string, number>> {
  const found: Record<string, number> = {};
  for (const [prefix, service] of services) {
    const own = Object.entries(usage).filter(([name]) => name.startsWith(prefix));
    const pico = totalOf(Object.fromEntries(own), table);
    if (own.some(([, amount]) => amount > 0)) found[service] = Number((pico + 500n) / 1000n);
  }
  return found;
}
