// The log of one part of a build (planning, a stage, the finish), written by one process after another: a function begins a stage, a
// runner does its RUNs, a function ends it. What one has told the next does not tell again. After a process that died in between, a new
// attempt begins, and the log says so (see stored-log.ts).
import { randomUUID } from 'node:crypto';
import type { BuildRecords } from '../build/build-records.ts';
import { type BuildEvent, eventLog, type StepLog } from '../build/events.ts';
import { LogWriter, type LogWriterOptions } from '../build/log-writer.ts';
import { doneSteps } from '../build/stored-log.ts';
import { type ErrorDocument, errorDocument, isCode, SlipwayError } from '../errors.ts';
import { workKeys } from '../store/keys.ts';
import { retrying } from '../store/removal.ts';
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

/** Milliseconds for which events are gathered: each write is a transaction, from a runner a request. */
const gather = 500;

export interface LogPlaces {
  readonly table: Table;
  /** Seconds since 1970 until which the place is kept. */
  readonly expires: () => number;
}

/** As kept. */
interface KeptPlace extends LogPlace {
  /** Who writes the log now. */
  readonly owner?: string;
  /** What the last one who had it failed with, and when (milliseconds since 1970). Gone when somebody takes the work up again. */
  readonly failure?: ErrorDocument;
  readonly at?: number;
}

const asJson = (place: KeptPlace): Json => JSON.parse(JSON.stringify(place)) as Json;

/**
 * Takes the log over. Whoever had it and did not give it back is taken for dead: nothing he says counts from here on. The same owner is
 * answered the same place.
 */
export function takeLog({ table, expires }: LogPlaces, build: string, source: string, owner: string): Promise<LogPlace> {
  const key = workKeys.log(build, source);
  return retrying(async () => {
    const record = await table.get(key);
    const known = record?.value as KeptPlace | undefined;
    const { attempt = 1, next = 0, started = 0, done = 0 } = known ?? {};
    const free = known === undefined || known.owner === undefined || known.owner === owner;
    let place: LogPlace = { attempt, next, started, done };
    if (known?.owner === owner) return place;
    if (!free) {
      // How far the dead one came, only the log itself tells.
      const told = Math.max(done, await doneSteps(table, build, source));
      place = { attempt: attempt + 1, next: 0, started: told, done: told };
    }
    const condition = record === undefined ? ({ ifAbsent: true } as const) : { ifVersion: record.version };
    await table.put(key, asJson({ ...place, owner }), { condition, expires: expires() });
    return place;
  });
}

/** What ended the work, and when. */
export interface Failed {
  readonly failure: ErrorDocument;
  /** Milliseconds since 1970. */
  readonly at: number;
}

/** Gives the log back, for whoever goes on. From one whose log was taken over, this changes nothing. */
export async function giveLog(
  { table, expires }: LogPlaces,
  build: string,
  source: string,
  owner: string,
  place: LogPlace,
  failed?: Failed,
): Promise<void> {
  const key = workKeys.log(build, source);
  await retrying(async () => {
    const record = await table.get(key);
    if (record === undefined || (record.value as unknown as KeptPlace).owner !== owner) return;
    const condition = { ifVersion: record.version };
    await table.put(key, asJson({ ...place, ...failed }), { condition, expires: expires() });
  });
}

/** Says what a part failed with that nobody writes the log of. */
export async function failLog(places: LogPlaces, build: string, source: string, error: unknown, at: number): Promise<void> {
  const owner = 'nobody';
  const place = await takeLog(places, build, source, owner);
  await giveLog(places, build, source, owner, place, { failure: errorDocument(asKnown(error)), at });
}

/** What the build failed with first, if any of its parts has failed and was not taken up again. */
export async function failureOf({ table }: Pick<LogPlaces, 'table'>, build: string): Promise<ErrorDocument | undefined> {
  let first: Failed | undefined;
  for (let after: string | undefined; ; ) {
    const page = { prefix: workKeys.logPrefix, limit: 200, ...(after === undefined ? {} : { after }) };
    const records = await table.query(workKeys.partition(build), page);
    for (const { value } of records) {
      const { failure, at = 0 } = value as unknown as KeptPlace;
      if (failure !== undefined && (first === undefined || at < first.at)) first = { failure, at };
    }
    if (records.length < 200) return first?.failure;
    after = records.at(-1)!.sort;
  }
}

export const asKnown = (error: unknown): SlipwayError =>
  error instanceof SlipwayError
    ? error
    : new SlipwayError('INTERNAL', error instanceof Error ? error.message : String(error), { cause: error });

export interface SourceLogOptions extends Pick<LogWriterOptions, 'append' | 'clock'> {
  readonly place: LogPlace;
}

/** What one process tells of a part, without what was told before it. */
export class SourceLog {
  readonly log: StepLog;
  readonly #writer: LogWriter;
  readonly #attempt: number;
  #started: number;
  #done: number;

  constructor({ append, place, clock }: SourceLogOptions) {
    this.#writer = new LogWriter({ append, first: place.next, clock, gather });
    this.#attempt = place.attempt;
    this.#started = place.started;
    this.#done = place.done;
    const inner = eventLog((event) => this.#take(event), clock);
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
    return { attempt: this.#attempt, next: this.#writer.stored, started: this.#started, done: this.#done };
  }

  /** Stores what waits. Rejects when it cannot be stored; the next try goes on with it. */
  flush(): Promise<void> {
    return this.#writer.flush();
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
    return this.#writer.emit(event);
  }
}

/** Whether trying the same again can help: the store was in the way, not the build itself. Retry in infra/build-definition.ts has these. */
export const isPassing = (error: unknown): boolean => isCode(error, 'STORE', 'STORE_CONFLICT', 'TOO_MANY_REQUESTS');

/** A RUN that has to be done where there is a sandbox. */
export const isRunnerNeeded = (error: unknown): boolean =>
  isCode(error, 'SANDBOX_UNAVAILABLE') && error.details?.runner === 'needed';

export interface OpenLog {
  readonly log: StepLog;
  /** Stores what waits and gives the log back, with what the work failed with if it did. */
  close(failed?: Failed): Promise<void>;
}

/** The log of `source`, taken over for this process. */
export async function openLog(
  records: BuildRecords,
  places: LogPlaces,
  build: string,
  source: string,
  clock: () => number,
): Promise<OpenLog> {
  const owner = randomUUID();
  const place = await takeLog(places, build, source, owner);
  const { attempt } = place;
  const append = (first: number, events: readonly BuildEvent[]) =>
    records.append(build, { name: source, attempt, first }, events);
  const writer = new SourceLog({ append, place, clock });
  return {
    log: writer.log,
    async close(failed) {
      let told = failed;
      try {
        await writer.flush();
      } catch (error) {
        if (failed === undefined) throw error;
        // That the log lacks its end must not hide why the work failed; both are told.
        const { failure, at } = failed;
        told = { failure: { ...failure, details: { ...failure.details, log: asKnown(error).message } }, at };
      }
      await giveLog(places, build, source, owner, writer.place, told);
    },
  };
}
