// The log of a stored build: one order for the events of many writers (planning, stages side by side, the finish), which may live in
// different processes, be run again after they died, or have a call delivered twice.
//
// A build has one `log` record with the number of events so far; a batch of events and the new count are written in one transaction that
// holds only if nobody else wrote in between. So event numbers have no gaps, event n+1 is never seen before event n, and the number of
// the last event seen is all that a follower has to remember: its cursor.
//
// A writer is a source with a name and an attempt, and says how many of its own events went before: what was stored already is passed
// over. A later attempt takes over from an earlier one, whose open steps are closed and whose late events are refused.
import { SlipwayError } from '../errors.ts';
import { buildKeys } from '../store/keys.ts';
import { retrying } from '../store/removal.ts';
import type { Json, Table, TableRecord, Write } from '../store/table.ts';
import type { BuildEvent } from './events.ts';

/** Who writes events. */
export interface EventSource {
  /** E.g. `plan`, `stage-2`, `finish`: one name for all attempts at the same work. */
  readonly name: string;
  /** Counts from 1, and up each time the work is started again; the highest one seen is the only one that may write. */
  readonly attempt: number;
}

export interface Appended {
  /** How many events of this source are stored: what the next call says as `first`. */
  readonly next: number;
  /** The build has ended, or a later attempt has taken over: nothing was stored, and nothing more will be. */
  readonly closed: boolean;
}

/** An event, with the number that a follower goes on after. */
export interface NumberedEvent {
  /** Counts from 1 without gaps. */
  readonly number: number;
  readonly event: BuildEvent;
}

/** Bytes of one batch as JSON; a record holds 300 KB. */
const batchBytes = 250_000;
/** Bytes of output that are kept of one build. */
const keptOutput = 32 << 20;

interface SourceState {
  readonly attempt: number;
  /** Events stored of this attempt. */
  readonly next: number;
  /** The highest of its own step numbers that was told as done, by any attempt; 0 for none. */
  readonly done?: number;
  /** Steps that have not ended: the source's own number, the build's number. */
  readonly open: readonly (readonly [number, number])[];
}

export interface LogState {
  readonly count: number;
  /** Bytes of output kept. */
  readonly output: number;
  /** Steps started. */
  readonly steps: number;
  readonly sources: Readonly<Record<string, SourceState>>;
  readonly cut?: true;
  readonly closed?: true;
}

export const emptyLog: LogState = { count: 0, output: 0, steps: 0, sources: {} };

interface Batch {
  readonly first: number;
  readonly events: readonly BuildEvent[];
}

const asJson = (value: object): Json => value as unknown as Json;

export interface LogParts {
  readonly table: Table;
  /** Milliseconds since 1970. */
  readonly clock: () => number;
  /** Bytes of output kept of one build; 32 MiB unless told otherwise. */
  readonly keptOutput?: number;
}

const lasting = (record: TableRecord): { readonly expires?: number } =>
  record.expires === undefined ? {} : { expires: record.expires };

/** The highest step of a source that its log tells as done, by the source's own number; 0 for none. NOT_FOUND for an unknown build. */
export async function doneSteps(table: Table, id: string, source: string): Promise<number> {
  const { value } = await logOf(table, id);
  return (value as unknown as LogState).sources[source]?.done ?? 0;
}

/** The state of a build's log. NOT_FOUND for an unknown build. */
export async function logOf(table: Table, id: string): Promise<TableRecord & { readonly value: Json }> {
  const record = await table.get(buildKeys.log(id));
  if (record === undefined) throw new SlipwayError('NOT_FOUND', `there is no build ${id}`);
  return record;
}

/** The writes that add `events` at the end of the log, and those that hold the log as it was read. */
export function logWrites(id: string, record: TableRecord, state: LogState, events: readonly BuildEvent[]): readonly Write[] {
  const before = record.value as unknown as LogState;
  const batch: Batch = { first: before.count + 1, events };
  return [
    {
      kind: 'put',
      key: buildKeys.log(id),
      value: asJson({ ...state, count: before.count + events.length }),
      condition: { ifVersion: record.version },
      ...lasting(record),
    },
    {
      kind: 'put',
      key: buildKeys.batch(id, before.count + events.length),
      value: asJson(batch),
      condition: { ifAbsent: true },
      ...lasting(record),
    },
  ];
}

/**
 * Stores events of a source in their order, `first` being how many of it went before. Delivering the same events again stores nothing.
 * Step numbers are the source's own; the build's are given here. A gap is CONFLICT, an event of more than 250,000 bytes TOO_LARGE.
 */
export async function appendEvents(
  parts: LogParts,
  id: string,
  source: EventSource & { readonly first: number },
  events: readonly BuildEvent[],
): Promise<Appended> {
  let rest = events;
  let { first } = source;
  for (;;) {
    const done = await retrying(() => appendSome(parts, id, { ...source, first }, rest));
    const taken = done.next - first;
    if (done.closed || taken >= rest.length) return done;
    rest = rest.slice(taken);
    first = done.next;
  }
}

async function appendSome(
  { table, clock, keptOutput: limit = keptOutput }: LogParts,
  id: string,
  source: EventSource & { readonly first: number },
  given: readonly BuildEvent[],
): Promise<Appended> {
  const record = await logOf(table, id);
  const log = record.value as unknown as LogState;
  const known = log.sources[source.name];
  if (log.closed || (known !== undefined && known.attempt > source.attempt)) {
    return { next: source.first + given.length, closed: true };
  }
  const same = known !== undefined && known.attempt === source.attempt ? known : undefined;
  const next = same?.next ?? 0;
  if (source.first > next) {
    throw new SlipwayError('CONFLICT', `build ${id}: ${source.name} sends event ${source.first}, but only ${next} came before`, {
      details: { next },
    });
  }
  const draft = new Draft(log, limit, clock);
  if (known !== undefined && same === undefined) draft.interrupt(known);
  draft.open = new Map(same?.open);
  const fresh = given.slice(next - source.first);
  const taken = draft.takeAll(fresh);
  if (taken === 0 && same !== undefined) return { next, closed: false };
  const state: LogState = {
    ...log,
    output: draft.output,
    steps: draft.steps,
    ...(draft.cut ? { cut: true as const } : {}),
    sources: {
      ...log.sources,
      [source.name]: {
        attempt: source.attempt,
        next: next + taken,
        done: Math.max(known?.done ?? 0, draft.done),
        open: [...draft.open],
      },
    },
  };
  if (draft.events.length === 0) {
    await table.put(buildKeys.log(id), asJson(state), { condition: { ifVersion: record.version }, ...lasting(record) });
  } else {
    await table.transact(logWrites(id, record, state, draft.events));
  }
  return { next: next + taken, closed: false };
}

/** One batch being made. */
class Draft {
  readonly events: BuildEvent[] = [];
  open: Map<number, number> = new Map();
  /** The highest step that was done in it, by the source's number. */
  done = 0;
  output: number;
  steps: number;
  cut: boolean;
  readonly #limit: number;
  readonly #clock: () => number;
  #bytes = 0;

  constructor(log: LogState, limit: number, clock: () => number) {
    this.output = log.output;
    this.steps = log.steps;
    this.cut = log.cut === true;
    this.#limit = limit;
    this.#clock = clock;
  }

  /** What an earlier attempt left open is over. */
  interrupt(known: SourceState): void {
    const at = this.#clock();
    for (const [, id] of known.open) {
      this.#add({ type: 'note', id, text: 'interrupted; it is started again', at });
      this.#add({ type: 'cancelled', id, at });
    }
  }

  /** Takes as many as fit; answers how many. */
  takeAll(events: readonly BuildEvent[]): number {
    for (const [i, event] of events.entries()) {
      const bytes = Buffer.byteLength(JSON.stringify(event));
      if (bytes > batchBytes) {
        throw new SlipwayError('TOO_LARGE', `an event of ${bytes} bytes; at most ${batchBytes} can be stored`, {
          hint: 'Split long output into several events.',
        });
      }
      if (this.#bytes + bytes > batchBytes) return i;
      this.#take(event, bytes);
    }
    return events.length;
  }

  #take(event: BuildEvent, bytes: number): void {
    if (event.type === 'started') {
      this.steps += 1;
      this.open.set(event.id, this.steps);
      this.#add({ ...event, id: this.steps }, bytes);
      return;
    }
    if (!('id' in event)) {
      this.#add(event, bytes);
      return;
    }
    const id = this.open.get(event.id);
    if (id === undefined) throw new SlipwayError('INTERNAL', `an event of step ${event.id}, which is not running`);
    if (event.type === 'log' || event.type === 'note') {
      if (this.cut) return;
      this.output += bytes;
      if (this.output > this.#limit) {
        this.cut = true;
        const text = `the log of this build has more than ${this.#limit} bytes; what follows is not kept`;
        this.#add({ type: 'note', id, text, at: event.at });
        return;
      }
    } else {
      this.open.delete(event.id);
      if (event.type === 'done') this.done = Math.max(this.done, event.id);
    }
    this.#add({ ...event, id }, bytes);
  }

  #add(event: BuildEvent, bytes = 200): void {
    // The number of a step may be longer than the one it replaces.
    this.#bytes += bytes + 16;
    this.events.push(event);
  }
}

/**
 * Up to `limit` events after number `after`, in order; none when there are no more yet. The last one of a build that has ended is a
 * `result` or an `error`.
 */
export async function readEvents(
  table: Table,
  id: string,
  { after, limit }: { readonly after: number; readonly limit: number },
): Promise<readonly NumberedEvent[]> {
  const found: NumberedEvent[] = [];
  let at = after;
  while (found.length < limit) {
    // Batches can be large: few at a time.
    const records = await table.query(buildKeys.partition(id), {
      prefix: buildKeys.batchPrefix,
      after: buildKeys.batch(id, at).sort,
      limit: 16,
    });
    for (const record of records) {
      const { first, events } = record.value as unknown as Batch;
      // Cannot be, unless a store shows a later write before an earlier one: then the earlier is waited for.
      if (first > at + 1) return found;
      for (const [i, event] of events.entries()) {
        const number = first + i;
        if (number > after && found.length < limit) found.push({ number, event });
      }
      at = first + events.length - 1;
    }
    if (records.length < 16) break;
  }
  return found;
}
