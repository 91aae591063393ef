// Carries a stored transfer out: claims it, does it, and keeps its record alive and its events stored meanwhile.
import type { TransferEvent } from '../client/transfer-events.ts';
import { errorDocument, isCode, SlipwayError } from '../errors.ts';
import { pause } from '../store/removal.ts';
import type { FollowedEvent } from './service.ts';
import type { Tell } from './transfer.ts';
import { lease, type Outcome, type TransferRecord, type TransferRecords } from './transfer-records.ts';

export interface RunOptions {
  readonly records: TransferRecords;
  /** Names this run; no other has the name. */
  readonly run: string;
  /** Does what is asked for. */
  readonly work: (transfer: TransferRecord, tell: Tell, signal: AbortSignal) => Promise<void>;
  /** Milliseconds that there are, with those it takes to write the end down. */
  readonly within: number;
  readonly times?: Partial<typeof usual>;
}

/** Milliseconds. */
const usual = {
  /** For which events are gathered: each store is a transaction. */
  gather: 1000,
  /** Between signs of life, at most; also how soon a wish to stop is heard. */
  beat: 3000,
  /** Without a sign of life that was stored, after which it gives up: before others take it for dead. */
  silence: lease - 10_000,
  /** Kept for writing the end down. */
  reserve: 20_000,
};

/**
 * Answers the transfer as it ended; `undefined` when there was nothing to do: another run has it, or it has ended. What goes wrong with
 * the transfer is in its record; what goes wrong with the record is thrown.
 */
export async function runTransfer(id: string, options: RunOptions): Promise<TransferRecord | undefined> {
  const { records, run, work, within } = options;
  const times = { ...usual, ...options.times };
  const transfer = await patiently(() => records.claim(id, run), times.reserve / 2);
  if (transfer === undefined) return undefined;
  const waiting = new WaitingEvents();
  /** Fires with the reason why it has to stop. */
  const stop = new AbortController();
  const over = new AbortController();
  let stored = 0;
  let taken = false;
  let written = performance.now();
  const beat = async (): Promise<void> => {
    const events = waiting.peek();
    try {
      const answer = await records.append(id, run, stored, events);
      stored += events.length;
      waiting.drop(events.length);
      written = performance.now();
      if (answer === 'cancel') stop.abort(new SlipwayError('CANCELLED', 'cancelled'));
      if (answer !== 'over') return;
      taken = true;
      stop.abort(new SlipwayError('CANCELLED', 'the transfer has been ended'));
    } catch (cause) {
      if (performance.now() - written < times.silence) return;
      stop.abort(new SlipwayError('STORE', 'the progress of the transfer could not be stored', { cause }));
    }
  };
  const telling = (async () => {
    while (!over.signal.aborted) {
      await pause(times.gather, over.signal).catch(() => undefined);
      if (over.signal.aborted) return;
      if (waiting.count > 0 || performance.now() - written >= times.beat) await beat();
    }
  })();
  const timer = setTimeout(() => stop.abort(tooSlow(transfer, within)), Math.max(0, within - times.reserve));
  let outcome: Outcome;
  try {
    await work(transfer, (event) => waiting.add(event), stop.signal);
    outcome = { state: 'succeeded' };
  } catch (error) {
    const reason: unknown = stop.signal.aborted ? stop.signal.reason : error;
    const known = reason instanceof SlipwayError ? reason : new SlipwayError('INTERNAL', messageOf(reason), { cause: reason });
    outcome = { state: 'failed', failure: errorDocument(known) };
  } finally {
    clearTimeout(timer);
    over.abort();
    await telling;
  }
  if (taken) return undefined;
  const last = outcome.state === 'succeeded' ? waiting.all() : waiting.peek();
  return await patiently(() => records.end(id, run, stored, last, outcome), times.reserve / 2);
}

const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));

const tooSlow = ({ verb, reference }: TransferRecord, within: number): SlipwayError =>
  new SlipwayError('UPSTREAM', `the ${verb} of ${reference} took more than ${Math.round(within / 60_000)} minutes`, {
    hint: 'Layers that came whole are kept: the same command again goes on with the others. An image too large or a registry too slow for that: take it through your own machine (slipway --context default).',
  });

/** A table that cannot be written now may be in a moment. */
async function patiently<T>(write: () => Promise<T>, limit: number): Promise<T> {
  const until = performance.now() + limit;
  for (let wait = 100; ; wait *= 2) {
    try {
      return await write();
    } catch (error) {
      if (isCode(error, 'NOT_FOUND') || performance.now() + wait > until) throw error;
      await pause(wait);
    }
  }
}

/** Events that are not stored yet, in their order. Of the progress of a layer the newest is enough. The end is kept for the end. */
class WaitingEvents {
  #events: FollowedEvent[] = [];
  #end: FollowedEvent | undefined;
  readonly #progress = new Map<string, number>();
  /** How many of the first are being stored: they stay as they are. */
  #fixed = 0;

  get count(): number {
    return this.#events.length;
  }

  add(event: TransferEvent): void {
    if (event.kind === 'done') {
      this.#end = event;
      return;
    }
    if (event.kind === 'layer' && event.current !== undefined) {
      const key = `${event.digest} ${event.state}`;
      const at = this.#progress.get(key);
      if (at !== undefined && at >= this.#fixed) {
        this.#events[at] = event;
        return;
      }
      this.#progress.set(key, this.#events.length);
    }
    this.#events.push(event);
  }

  peek(): readonly FollowedEvent[] {
    this.#fixed = this.#events.length;
    return [...this.#events];
  }

  all(): readonly FollowedEvent[] {
    if (this.#end === undefined) throw new SlipwayError('INTERNAL', 'a transfer ended without saying so');
    return [...this.peek(), this.#end];
  }

  drop(count: number): void {
    this.#events.splice(0, count);
    this.#fixed = 0;
    this.#progress.clear();
    for (const [at, event] of this.#events.entries()) {
      if (event.kind === 'layer' && event.current !== undefined) this.#progress.set(`${event.digest} ${event.state}`, at);
    }
  }
}
