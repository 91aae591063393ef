// The log of one part of a build (planning, a stage, the finish), written by one process after another: a function begins a stage, a
// runner does its RUNs, a function ends it. What one has told the next does not tell again. After a process that died in between, a new
// attempt begins, and the log says so (see stored-log.ts).
import type { BuildRecords } from '../build/build-records.ts';
import { type BuildEvent, eventLog, type StepLog } from '../build/events.ts';
import { isCode } from '../errors.ts';
import { workKeys } from '../store/keys.ts';
import type { Json, Table } from '../store/table.ts';

/** Where a part's log stands. Steps of one part run one after the other, and are numbered alike each time they are gone through. */
export interface LogPlace {
  readonly attempt: number;
  /** Events stored of this attempt. */
  readonly next: number;
  /** The highest step that was told as started, and the highest that was told as done. */
  readonly started: number;
  readonly done: number;
}

export interface LogPlaces {
  readonly table: Table;
  /** Seconds since 1970 until which the place is kept. */
  readonly expires: () => number;
}

/** Takes the log over. Whoever had it and did not give it back is taken for dead. */
export async function takeLog({ table, expires }: LogPlaces, build: string, source: string): Promise<LogPlace> {
  const key = workKeys.log(build, source);
  const known = (await table.get(key))?.value as (LogPlace & { readonly taken?: boolean }) | undefined;
  const place: LogPlace =
    known === undefined
      ? { attempt: 1, next: 0, started: 0, done: 0 }
      : known.taken
        ? { attempt: known.attempt + 1, next: 0, started: known.done, done: known.done }
        : { attempt: known.attempt, next: known.next, started: known.started, done: known.done };
  await table.put(key, { ...place, taken: true }, { expires: expires() });
  return place;
}

/** Gives the log back, for whoever goes on. */
export async function giveLog({ table, expires }: LogPlaces, build: string, source: string, place: LogPlace): Promise<void> {
  await table.put(workKeys.log(build, source), { ...place } satisfies Json, { expires: expires() });
}

export interface SourceLogOptions {
  /** Stores events, `first` being how many went before in this attempt. `closed`: nobody wants them any more. */
  readonly append: (first: number, events: readonly BuildEvent[]) => Promise<{ readonly closed: boolean }>;
  readonly place: LogPlace;
  /** Milliseconds since 1970. */
  readonly clock: () => number;
  /** What waits is stored at least this often, in milliseconds. */
  readonly every?: number;
}

/** About this many characters wait to be stored before `output` makes its caller wait. */
const highWater = 256 * 1024;
/** Characters of one write. */
const batchSize = 96 * 1024;

const sizeOf = (event: BuildEvent): number => (event.type === 'log' ? event.text.length : 0) + 200;

export class SourceLog implements AsyncDisposable {
  readonly log: StepLog;
  readonly #options: SourceLogOptions;
  #next: number;
  #started: number;
  #done: number;
  #closed = false;
  #waiting: BuildEvent[] = [];
  #size = 0;
  #timer: NodeJS.Timeout | undefined;
  #writing: Promise<void> | undefined;
  #failed: unknown;

  constructor(options: SourceLogOptions) {
    this.#options = options;
    const { next, started, done } = options.place;
    this.#next = next;
    this.#started = started;
    this.#done = done;
    const inner = eventLog((event) => this.#take(event), options.clock);
    this.log = {
      warning: inner.warning,
      start(name) {
        const report = inner.start(name);
        // A step that goes on elsewhere has not failed.
        return { ...report, failed: (error) => (isRunnerNeeded(error) ? undefined : report.failed(error)) };
      },
    };
  }

  /** After `flush`. */
  get place(): LogPlace {
    return { attempt: this.#options.place.attempt, next: this.#next, started: this.#started, done: this.#done };
  }

  /** Stores what waits. Rejects with what went wrong in storing, now or before. */
  async flush(): Promise<void> {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    while (this.#writing !== undefined || this.#waiting.length > 0) await this.#write();
    if (this.#failed !== undefined) throw this.#failed;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.flush();
  }

  #take(event: BuildEvent): void | Promise<void> {
    if ('id' in event) {
      if (event.id <= this.#done) return;
      if (event.type === 'started') {
        if (event.id <= this.#started) return;
        this.#started = event.id;
      }
      if (event.type === 'done') this.#done = event.id;
      // Whoever tries it again starts it again.
      if (event.type === 'failed' || event.type === 'cancelled') this.#started = event.id - 1;
    }
    // What cannot be stored is not collected either: flush tells.
    if (this.#failed !== undefined || this.#closed) return;
    this.#waiting.push(event);
    this.#size += sizeOf(event);
    if (this.#size >= highWater) return this.#write();
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined;
      void this.#write();
    }, this.#options.every ?? 500);
  }

  /** One write at a time keeps the order. Never rejects. */
  async #write(): Promise<void> {
    if (this.#writing !== undefined) return this.#writing;
    let size = 0;
    let count = 0;
    while (count < this.#waiting.length && (count === 0 || size < batchSize))
      size += sizeOf(this.#waiting[count++] as BuildEvent);
    if (count === 0) return;
    const batch = this.#waiting.splice(0, count);
    this.#size -= size;
    this.#writing = this.#options
      .append(this.#next, batch)
      .then(
        ({ closed }) => {
          this.#next += batch.length;
          this.#closed ||= closed;
        },
        (error: unknown) => {
          this.#failed ??= error;
        },
      )
      .finally(() => {
        this.#writing = undefined;
        if (this.#failed !== undefined || this.#closed) {
          this.#waiting = [];
          this.#size = 0;
        }
      });
    return this.#writing;
  }
}

/** A RUN that has to be done where there is a sandbox. */
export const isRunnerNeeded = (error: unknown): boolean =>
  isCode(error, 'SANDBOX_UNAVAILABLE') && error.details?.runner === 'needed';

export interface OpenLog {
  readonly log: StepLog;
  /** Stores what waits and gives the log back. */
  close(): Promise<void>;
}

/** The log of `source`, taken over for this process. */
export async function openLog(
  records: BuildRecords,
  places: LogPlaces,
  build: string,
  source: string,
  clock: () => number,
): Promise<OpenLog> {
  const place = await takeLog(places, build, source);
  const { attempt } = place;
  const append = (first: number, events: readonly BuildEvent[]) =>
    records.append(build, { name: source, attempt, first }, events);
  const writer = new SourceLog({ append, place, clock });
  return {
    log: writer.log,
    async close() {
      await writer.flush();
      await giveLog(places, build, source, writer.place);
    },
  };
}
