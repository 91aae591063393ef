// Follows what a home does, to its end, by the numbers of its events: a connection that breaks is taken up again where it was, and a home
// that ends an answer early is asked again.
import { setTimeout as sleep } from 'node:timers/promises';
import { isCode, SlipwayError, throwIfCancelled } from '../shared/errors.ts';
import type { Api } from './api-client.ts';

/** Milliseconds before each try to take a lost connection up again; what has arrived in between starts it anew. */
const delays = [200, 500, 1000, 2000, 5000, 10_000, 20_000, 30_000];
/** Milliseconds that a home elsewhere has to stop what it was asked to stop. */
const patience = 20_000;

export interface Followed<Event extends { readonly number: number }, End> {
  /** `build`, for messages; and its id. */
  readonly what: string;
  readonly id: string;
  /** Of the events; `?after=N` is put behind it. */
  readonly path: string;
  readonly tell: (event: Event) => Promise<void> | void;
  /** What the last event says; undefined for all others. */
  readonly endOf: (event: Event) => End | undefined;
  /** How it ended, when there are no events after the last one seen. */
  readonly ended: () => Promise<End | undefined>;
  /** The number of the last event seen before. */
  readonly after?: number;
  /** A home elsewhere may be out of sight; this very process is not. */
  readonly elsewhere: boolean;
  /** Said when it stays out of sight. */
  readonly hint: string;
  readonly signal: AbortSignal;
}

/** Tells every event to the last, whatever happens to connections. */
export async function followEvents<Event extends { readonly number: number }, End>(
  client: Api,
  { what, id, path, tell, endOf, ended, after: seen = 0, elsewhere, hint, signal }: Followed<Event, End>,
): Promise<End> {
  let after = seen;
  for (let lost = 0; ; lost++) {
    try {
      const before = after;
      for await (const event of client.events<Event>('GET', `${path}${after === 0 ? '' : `?after=${after}`}`)) {
        after = event.number;
        lost = 0;
        await tell(event);
        const end = endOf(event);
        if (end !== undefined) return end;
      }
      if (!elsewhere) throw new SlipwayError('INTERNAL', `the ${what} ended without a result`);
      // A home may end an answer that takes long. One without a single event: has it ended before what was asked for?
      lost = 0;
      const end = after === before ? await ended() : undefined;
      if (end !== undefined) return end;
    } catch (error) {
      if (!elsewhere || !isCode(error, 'UPSTREAM', 'TOO_MANY_REQUESTS')) throw error;
      if (lost >= delays.length) {
        throw new SlipwayError('UPSTREAM', `lost sight of ${what} ${id}: ${error.message}`, { hint, cause: error });
      }
    }
    await sleep(delays[Math.min(lost, delays.length - 1)]!, undefined, { signal }).catch(() => throwIfCancelled(signal));
  }
}

/**
 * Runs `follow` so that Ctrl-C asks the home to stop by `cancelPath` and the end is waited for after that too, but of a home elsewhere not
 * for ever: then the signal that `follow` is given fires.
 */
export async function cancellable<T>(
  client: Api,
  { signal, cancelPath, elsewhere }: { readonly signal: AbortSignal; readonly cancelPath: string; readonly elsewhere: boolean },
  follow: (calm: Api, enough: AbortSignal) => Promise<T>,
): Promise<T> {
  const enough = new AbortController();
  let late: NodeJS.Timeout | undefined;
  const calm = client.withSignal(enough.signal);
  const cancel = () => {
    if (elsewhere) late = setTimeout(() => enough.abort(), patience);
    // Should it not arrive, the events tell how it ends all the same.
    calm.json('POST', cancelPath, undefined, { repeatable: true }).catch(() => undefined);
  };
  if (signal.aborted) cancel();
  signal.addEventListener('abort', cancel, { once: true });
  try {
    return await follow(calm, enough.signal);
  } finally {
    clearTimeout(late);
    signal.removeEventListener('abort', cancel);
  }
}
