// What the invocations of a function use, kept with the build that they work for. A part of a build's usage is one function in one process
// of Lambda's: invocations add to it, and it is stored again as they end, and every few seconds while they last. So a process that dies
// loses at most what it used since then; one that is started in its place is a part of its own; and nothing is counted twice.
import { randomBytes } from 'node:crypto';
import type { UsageRecords } from '../shared/build/usage-records.ts';
import { Meter, type MeterReading, metered } from '../shared/cost/meter.ts';
import { mergedSteps, sumOf, type Usage, type UsagePart } from '../shared/cost/usage.ts';
import type { Environment } from './environment.ts';
import { logUncounted } from './log.ts';

export interface MeteringOptions {
  /** Of the function, as its folder is called. */
  readonly name: string;
  readonly env: Environment;
  /** Milliseconds; only differences count. */
  readonly clock?: () => number;
  /** Milliseconds since 1970. */
  readonly now?: () => number;
  /** Milliseconds that the process took to load; what has passed when this is made, unless told otherwise. */
  readonly loaded?: number;
  /** Milliseconds between reports of an invocation that lasts. */
  readonly interval?: number;
  /** Told what could not be kept; writes a line of the function's log unless given. */
  readonly onFault?: (what: { readonly function: string; readonly build: string; readonly error: unknown }) => void;
}

/** An invocation that is counted. */
export interface MeteredCall {
  /** Whose it is; may become known while it is worked on. What belongs to no build is not kept. */
  build: string | undefined;
  readonly meter: Meter;
  /** Keeps what was used so far: for what must be known before the invocation ends. */
  report(): Promise<void>;
}

export interface CallOptions {
  /** Counted with the invocation itself, e.g. `{apiRequests: 1}`. */
  readonly counts?: Usage;
  /** Whether its end is reported in any case; otherwise when the last report is some seconds old. True unless told otherwise. */
  readonly always?: boolean;
}

/** What this process has done for one build. */
interface Account {
  /** Of invocations that have ended. */
  done: MeterReading;
  readonly live: Set<Meter>;
  /** What keeping the reports used. */
  own: Usage;
  version: string | undefined;
  at: number;
  reported: number | undefined;
  /** The report under way: one after the other. */
  last: Promise<void>;
}

const interval = 5000;
/** Builds remembered; a process that comes back to an older one starts another part. */
const remembered = 16;
const nothing: MeterReading = { usage: {}, steps: [] };

const together = (readings: readonly MeterReading[]): MeterReading => ({
  usage: sumOf(readings.map(({ usage }) => usage)),
  steps: mergedSteps(readings.flatMap(({ steps }) => steps)),
});

export class Metering {
  readonly #name: string;
  readonly #clock: () => number;
  readonly #now: () => number;
  readonly #interval: number;
  readonly #rate: Usage;
  readonly #onFault: NonNullable<MeteringOptions['onFault']>;
  /** Of the process's start; the first invocation has it. */
  #loaded: number;
  readonly #accounts = new Map<string, { readonly part: string; readonly account: Account }>();

  constructor({ name, env, clock = () => performance.now(), now = Date.now, ...options }: MeteringOptions) {
    this.#name = name;
    this.#clock = clock;
    this.#now = now;
    this.#interval = options.interval ?? interval;
    this.#onFault = options.onFault ?? logUncounted;
    const memory = Number(env.AWS_LAMBDA_FUNCTION_MEMORY_SIZE);
    const counter = process.arch === 'arm64' ? 'lambdaArm64MibMs' : 'lambdaX64MibMs';
    this.#rate = memory > 0 ? { [counter]: memory } : {};
    // Lambda bills the loading of a process since August 2025, but for one that was ordered beforehand.
    const ordered = env.AWS_LAMBDA_INITIALIZATION_TYPE === 'provisioned-concurrency';
    this.#loaded = ordered ? 0 : (options.loaded ?? performance.now());
  }

  /** Runs `work` as an invocation for `build`, counted. What cannot be kept is logged: it is no reason for a build to fail. */
  async run<T>(
    build: string | undefined,
    usages: UsageRecords,
    { counts = {}, always = true }: CallOptions,
    work: (call: MeteredCall) => Promise<T>,
  ): Promise<T> {
    const meter = new Meter({ clock: this.#clock, rate: this.#rate, before: this.#loaded });
    this.#loaded = 0;
    meter.add({ lambdaRequests: 1, ...counts });
    const report = (): Promise<void> => (call.build === undefined ? Promise.resolve() : this.#report(call.build, usages, meter));
    const call: MeteredCall = { build, meter, report };
    const timer = setInterval(() => void report(), this.#interval);
    timer.unref();
    try {
      return await metered(meter, () => work(call));
    } finally {
      clearInterval(timer);
      meter.stop();
      if (call.build !== undefined) {
        const { account } = this.#accountOf(call.build);
        await account.last;
        account.live.delete(meter);
        account.done = together([account.done, meter.read()]);
        const due = account.reported === undefined || this.#clock() - account.reported >= this.#interval;
        if (always || due) await this.#report(call.build, usages);
      }
    }
  }

  #accountOf(build: string) {
    const known = this.#accounts.get(build);
    if (known !== undefined) return known;
    const account: Account = {
      done: nothing,
      live: new Set(),
      own: {},
      version: undefined,
      at: 0,
      reported: undefined,
      last: Promise.resolve(),
    };
    const made = { part: `${this.#name}.${randomBytes(6).toString('hex')}`, account };
    this.#accounts.set(build, made);
    for (const oldest of this.#accounts.keys()) {
      if (this.#accounts.size <= remembered) break;
      this.#accounts.delete(oldest);
    }
    return made;
  }

  /** Never fails. */
  #report(build: string, usages: UsageRecords, live?: Meter): Promise<void> {
    const { part, account } = this.#accountOf(build);
    if (live !== undefined) account.live.add(live);
    account.last = account.last.then(() =>
      // Keeping the numbers is counted by the numbers that are kept.
      metered(undefined, () => this.#keep(build, part, account, usages)).catch((error: unknown) =>
        this.#onFault({ function: this.#name, build, error }),
      ),
    );
    return account.last;
  }

  async #keep(build: string, part: string, account: Account, usages: UsageRecords): Promise<void> {
    const { usage, steps } = together([account.done, ...[...account.live].map((meter) => meter.read())]);
    account.at = Math.max(this.#now(), account.at + 1);
    account.reported = this.#clock();
    const document = (own: Usage): UsagePart => ({
      at: account.at,
      usage: sumOf([usage, own]),
      ...(steps.length === 0 ? {} : { steps }),
    });
    account.own = sumOf([account.own, writeOf(document(account.own))]);
    account.version = await usages.save(build, part, document(account.own), account.version);
  }
}

/** What storing it uses: one request, and a unit for each KB, with room for key, version and the numbers that this adds. */
function writeOf(document: UsagePart): Usage {
  const bytes = Buffer.byteLength(JSON.stringify(document)) + 200;
  return { dynamodbRequests: 1, dynamodbWriteUnits: Math.ceil(bytes / 1024) };
}
