// Stored transfers: what was asked, how far it is, and what it told. On the Table alone, in the manner of stored builds.
//
//   queued --claim--> running --end--> succeeded | failed | cancelled
//      '-----cancelled, or never begun-------^
//
// One run carries a transfer out: who claims it first. Every write of the run says that it lives, and tells it whether somebody wants it
// to stop. A run that is silent for longer than its lease is over: whoever follows the transfer then ends it, and what the run still
// writes is refused. The state and the events are one record and its batches, written together, so that who has read the last event
// knows the end.
import { type ErrorDocument, isCode, SlipwayError } from '../errors.ts';
import { sha256 } from '../oci/digest.ts';
import { canonicalJson } from '../oci/encode.ts';
import { transferKeys } from '../store/keys.ts';
import { pause, retrying } from '../store/removal.ts';
import type { Json, Key, Table, TableRecord, Write } from '../store/table.ts';
import { isTimedId, newTimedId } from '../store/timed-id.ts';
import { type FollowedEvent, hasEnded, type NumberedTransferEvent, type TransferFacts } from './service.ts';
import type { TransferRequest, Verb } from './transfer.ts';

/** As it is kept. */
export interface TransferRecord extends TransferFacts {
  readonly reads?: readonly string[];
  /** Who carries it out. */
  readonly run?: string;
  /** When that one was last heard of. */
  readonly seen?: number;
  /** Events stored. */
  readonly events: number;
}

export interface TransferRecordsOptions {
  readonly table: Table;
  /** Milliseconds since 1970. */
  readonly clock: () => number;
  /** Milliseconds after which a run that seems dead is looked at again; longer than a run is silent, unless told otherwise. */
  readonly secondLook?: number;
}

/** What a run learns from writing: it goes on, somebody wants it to stop, or it is not its transfer any more. */
export type Answer = 'go on' | 'cancel' | 'over';

export type Outcome = { readonly state: 'succeeded' } | { readonly state: 'failed'; readonly failure: ErrorDocument };

/** Milliseconds without a sign of life after which a run is taken for dead. */
export const lease = 30_000;
/** Milliseconds for which a transfer may wait to be begun: longer than Lambda keeps the event (infra/transfers.ts). */
export const patience = 150_000;
/** Milliseconds from its creation after which a transfer is over, whatever its record says: it waited, and had a function's time. */
export const longest = 20 * 60_000;
/** Seconds for which transfers are remembered, and clients' tokens stand for them. */
const keptFor = 7 * 24 * 3600;
const tokenLife = 24 * 3600;
/** Events in one batch: of a few hundred bytes each. A record holds 300 KB. */
const batchSize = 500;
const maxFailure = 32 * 1024;

const asJson = (value: object): Json => value as unknown as Json;
const recordOf = (record: TableRecord): TransferRecord => record.value as unknown as TransferRecord;
const unknownTransfer = (id: string): SlipwayError =>
  new SlipwayError('NOT_FOUND', `there is no transfer ${id.slice(0, 80)}`, {
    hint: 'Transfers are remembered for a week.',
  });

export class TransferRecords {
  readonly #table: Table;
  readonly #clock: () => number;
  readonly #secondLook: number;

  constructor({ table, clock, secondLook = 5000 }: TransferRecordsOptions) {
    this.#table = table;
    this.#clock = clock;
    this.#secondLook = secondLook;
  }

  /**
   * Keeps a new transfer, queued. The same `clientToken` from the same `by` within a day answers the transfer it made; with another
   * request it is CONFLICT.
   */
  async create(
    verb: Verb,
    request: TransferRequest,
    { clientToken, by, reads }: { readonly clientToken?: string; readonly by?: string; readonly reads?: readonly string[] } = {},
  ): Promise<TransferRecord> {
    const created = this.#clock();
    const asked = {
      verb,
      reference: request.reference,
      ...(request.platform === undefined ? {} : { platform: request.platform }),
      ...(request.allTags === undefined ? {} : { allTags: request.allTags }),
    };
    const id = newTimedId(created);
    const digest = sha256(canonicalJson(asked));
    const token = clientToken === undefined ? undefined : transferKeys.token(sha256(canonicalJson([by ?? '', clientToken])));
    const known = token && (await this.#byToken(token, digest));
    if (known !== undefined) return known;
    const transfer: TransferRecord = {
      id,
      ...asked,
      state: 'queued',
      created,
      events: 0,
      ...(by === undefined ? {} : { by }),
      ...(reads === undefined ? {} : { reads }),
    };
    const condition = { ifAbsent: true } as const;
    const until = (seconds: number) => ({ expires: Math.ceil(created / 1000 + seconds) });
    const writes: Write[] = [
      { kind: 'put', key: transferKeys.record(id), value: asJson(transfer), condition, ...until(keptFor) },
    ];
    if (token !== undefined) {
      writes.push({ kind: 'put', key: token, value: { id, request: digest }, condition, ...until(tokenLife) });
    }
    try {
      await this.#table.transact(writes);
    } catch (error) {
      // Another call with the same token was first.
      const first = token !== undefined && isCode(error, 'STORE_CONFLICT') ? await this.#byToken(token, digest) : undefined;
      if (first === undefined) throw error;
      return first;
    }
    return transfer;
  }

  async #byToken(key: Key, request: string): Promise<TransferRecord | undefined> {
    const record = await this.#table.get(key);
    if (record === undefined) return undefined;
    const known = record.value as { readonly id: string; readonly request: string };
    if (known.request === request) return await this.get(known.id);
    throw new SlipwayError('CONFLICT', `this client token already stands for another transfer, ${known.id}`, {
      hint: 'Use a new token for each transfer, and the same one only to repeat a call.',
      details: { id: known.id },
    });
  }

  /** Absence is `undefined`. */
  async get(id: string): Promise<TransferRecord | undefined> {
    const record = isTimedId(id) ? await this.#table.get(transferKeys.record(id)) : undefined;
    return record && recordOf(record);
  }

  /** The transfer, ended if nobody carries it out any more. NOT_FOUND for an unknown id. */
  async settled(id: string): Promise<TransferRecord> {
    const transfer = await this.get(id);
    if (transfer === undefined) throw unknownTransfer(id);
    if (this.#whyDead(transfer) === undefined) return transfer;
    // One that shows signs of life is not dead, whatever the clocks say: they are those of two machines, and either may have stood still.
    if (transfer.state === 'running') await pause(this.#secondLook);
    return await this.#end(id, 0, [], (now) => {
      const failure = now.seen === transfer.seen ? this.#whyDead(now) : undefined;
      return failure && { state: 'failed', failure };
    });
  }

  #whyDead({ verb, reference, state, created, seen = created, cancelRequested }: TransferRecord): ErrorDocument | undefined {
    const now = this.#clock();
    if (state === 'running' && now - seen > lease) {
      // Whoever wanted it to stop has what he wanted.
      if (cancelRequested !== undefined) return { code: 'CANCELLED', message: 'cancelled' };
      return {
        code: 'INTERNAL',
        message: `the ${verb} of ${reference} was cut off: the function that did it has given no sign of life for ${Math.round((now - seen) / 1000)} seconds`,
        hint: 'The same command again goes on with what has arrived. If it is cut off again, see the log of the transfer function: out of memory, or ended by Lambda.',
      };
    }
    if (state !== 'queued' || now - created <= patience) return undefined;
    return {
      code: 'TOO_MANY_REQUESTS',
      message: `the ${verb} of ${reference} was not begun within ${patience / 1000} seconds`,
      hint: 'All functions of the account are at work: try again later, or raise its concurrency for Lambda.',
    };
  }

  /** From queued to running, by this run; `undefined` when another run has it, or it has ended. */
  async claim(id: string, run: string): Promise<TransferRecord | undefined> {
    const transfer = await this.#change(id, (known) => {
      if (known.state !== 'queued') return undefined;
      const now = this.#clock();
      return { ...known, state: 'running', run, started: now, seen: now };
    });
    return transfer.state === 'running' && transfer.run === run ? transfer : undefined;
  }

  /**
   * Stores events of the run, `first` being how many it stored before (the same ones again are passed over), and that it lives. Without
   * events: only that.
   */
  async append(id: string, run: string, first: number, events: readonly FollowedEvent[]): Promise<Answer> {
    let answer: Answer = 'go on';
    for (let at = 0; at === 0 || at < events.length; at += batchSize) {
      const some = events.slice(at, at + batchSize);
      answer = await retrying(async () => {
        const record = await this.#record(id);
        const known = recordOf(record);
        if (known.run !== run || hasEnded(known.state)) return 'over';
        const fresh = some.slice(Math.max(0, known.events - first - at));
        await this.#write(record, { ...known, seen: this.#clock() }, fresh);
        return known.cancelRequested === undefined ? 'go on' : 'cancel';
      });
      if (answer === 'over') break;
    }
    return answer;
  }

  /** The end, by the run: with its last events. Answers the transfer as it is now: it may have ended otherwise before. */
  async end(id: string, run: string, first: number, events: readonly FollowedEvent[], outcome: Outcome): Promise<TransferRecord> {
    const early = Math.max(0, events.length - batchSize + 1);
    if (early > 0) await this.append(id, run, first, events.slice(0, early));
    return await this.#end(id, first + early, events.slice(early), (known) => (known.run === run ? outcome : undefined));
  }

  #end(
    id: string,
    first: number,
    events: readonly FollowedEvent[],
    decide: (known: TransferRecord) => Outcome | undefined,
  ): Promise<TransferRecord> {
    return retrying(async () => {
      const record = await this.#record(id);
      const known = recordOf(record);
      const outcome = hasEnded(known.state) ? undefined : decide(known);
      if (outcome === undefined) return known;
      const ended = this.#clock();
      const last: FollowedEvent[] = events.slice(Math.max(0, known.events - first));
      if (outcome.state === 'succeeded') return await this.#write(record, { ...known, state: 'succeeded', ended }, last);
      const failure = bounded(outcome.failure);
      const state = failure.code === 'CANCELLED' ? 'cancelled' : 'failed';
      return await this.#write(record, { ...known, state, ended, failure }, [...last, { kind: 'failed', failure }]);
    });
  }

  /** Ends one that could not be begun. */
  async fail(id: string, failure: ErrorDocument): Promise<TransferRecord> {
    return await this.#end(id, 0, [], ({ state }) => (state === 'queued' ? { state: 'failed', failure } : undefined));
  }

  /** Asks for it to stop. One that nobody has begun yet is cancelled at once. */
  async requestCancel(id: string): Promise<TransferRecord> {
    const transfer = await this.#change(id, (known) =>
      hasEnded(known.state) || known.cancelRequested !== undefined ? undefined : { ...known, cancelRequested: this.#clock() },
    );
    return transfer.state === 'queued' ? await this.fail(id, { code: 'CANCELLED', message: 'cancelled' }) : transfer;
  }

  async #record(id: string): Promise<TableRecord> {
    const record = isTimedId(id) ? await this.#table.get(transferKeys.record(id)) : undefined;
    if (record === undefined) throw unknownTransfer(id);
    return record;
  }

  /** Applies `step` unless it answers `undefined`. */
  #change(id: string, step: (transfer: TransferRecord) => TransferRecord | undefined): Promise<TransferRecord> {
    return retrying(async () => {
      const record = await this.#record(id);
      const next = step(recordOf(record));
      return next === undefined ? recordOf(record) : await this.#write(record, next, []);
    });
  }

  async #write(before: TableRecord, next: TransferRecord, events: readonly FollowedEvent[]): Promise<TransferRecord> {
    const { id } = next;
    const condition = { ifVersion: before.version };
    const lasting = before.expires === undefined ? {} : { expires: before.expires };
    if (events.length === 0) {
      await this.#table.put(transferKeys.record(id), asJson(next), { condition, ...lasting });
      return next;
    }
    const count = next.events + events.length;
    const value = { ...next, events: count };
    await this.#table.transact([
      { kind: 'put', key: transferKeys.record(id), value: asJson(value), condition, ...lasting },
      {
        kind: 'put',
        key: transferKeys.batch(id, count),
        value: asJson({ first: next.events + 1, events }),
        condition: { ifAbsent: true },
        ...lasting,
      },
    ]);
    return value;
  }

  /** Up to `limit` events after number `after`; none when there are no more yet. */
  async events(
    id: string,
    { after, limit }: { readonly after: number; readonly limit: number },
  ): Promise<readonly NumberedTransferEvent[]> {
    if (!isTimedId(id)) return [];
    const found: NumberedTransferEvent[] = [];
    for (let at = after; found.length < limit; ) {
      const records = await this.#table.query(transferKeys.partition(id), {
        prefix: transferKeys.batchPrefix,
        after: transferKeys.batch(id, at).sort,
        limit: 16,
      });
      for (const record of records) {
        const batch = record.value as unknown as { readonly first: number; readonly events: readonly FollowedEvent[] };
        // Cannot be, unless a store shows a later write before an earlier one: then the earlier is waited for.
        if (batch.first > at + 1) return found;
        for (const [i, event] of batch.events.entries()) {
          const number = batch.first + i;
          if (number > after && found.length < limit) found.push({ ...event, number });
        }
        at = batch.first + batch.events.length - 1;
      }
      if (records.length < 16) break;
    }
    return found;
  }
}

function bounded(failure: ErrorDocument): ErrorDocument {
  if (Buffer.byteLength(JSON.stringify(failure)) <= maxFailure) return failure;
  const { code, message, hint } = failure;
  const cut = (words: string): string => (words.length > 4096 ? `${words.slice(0, 4096).toWellFormed()}...` : words);
  return { code, message: cut(message), ...(hint === undefined ? {} : { hint: cut(hint) }) };
}

/** What others see of it. */
export function factsOf({ reads: _, run: __, seen: ___, events: ____, ...facts }: TransferRecord): TransferFacts {
  return facts;
}
