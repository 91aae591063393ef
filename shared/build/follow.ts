// Following a log that others write, by asking again: soon after something happened, less often while nothing does.
import { isCode } from '../errors.ts';
import { pause } from '../store/removal.ts';
import { type BuildRecords, hasEnded } from './build-records.ts';
import type { FollowOptions } from './service.ts';
import type { NumberedEvent } from './stored-log.ts';

export interface FollowTimes {
  /** Milliseconds between questions: at first, and at most. */
  readonly least?: number;
  readonly most?: number;
  /** Milliseconds after which it ends, wherever the work is. */
  readonly limit?: number;
  /** Milliseconds after the first event in which it ends, wherever the work is. Absent: it goes on. */
  readonly gather?: number;
}

/** A log with numbered events, whose writer is elsewhere. */
export interface FollowedLog<Event extends { readonly number: number }> {
  events(page: { readonly after: number; readonly limit: number }): Promise<readonly Event[]>;
  /** Whether nothing comes after this one. */
  isLast(event: Event): boolean;
  /** Whether the work has ended. */
  hasEnded(): Promise<boolean>;
}

const pageSize = 500;

/** Ends after the last event, when the signal fires, or when the time is over. */
export async function* followLog<Event extends { readonly number: number }>(
  log: FollowedLog<Event>,
  { after = 0, signal }: FollowOptions,
  { least = 50, most = 1000, limit = Number.POSITIVE_INFINITY, gather = Number.POSITIVE_INFINITY }: FollowTimes = {},
): AsyncGenerator<Event> {
  let until = performance.now() + limit;
  let wait = least;
  let over = false;
  for (let at = after; ; ) {
    const events = await log.events({ after: at, limit: pageSize });
    for (const event of events) {
      yield event;
      at = event.number;
      if (log.isLast(event)) return;
    }
    if (events.length > 0) until = Math.min(until, performance.now() + gather);
    // Asked for what comes after its last event.
    if (over) return;
    if (signal?.aborted || performance.now() >= until) return;
    if (events.length === 0) {
      over = await log.hasEnded();
      if (over) continue;
    }
    wait = events.length > 0 ? least : Math.min(wait * 1.5, most);
    try {
      if (events.length < pageSize) await pause(wait, signal);
    } catch (error) {
      if (!isCode(error, 'CANCELLED')) throw error;
      return;
    }
  }
}

/** The log of a stored build. NOT_FOUND for an unknown one. */
export const followEvents = (
  records: Pick<BuildRecords, 'events' | 'get'>,
  id: string,
  options: FollowOptions,
  times: FollowTimes = {},
): AsyncGenerator<NumberedEvent> =>
  followLog(
    {
      events: (page) => records.events(id, page),
      isLast: ({ event }) => event.type === 'result' || event.type === 'error',
      async hasEnded() {
        const build = await records.get(id);
        return build === undefined || hasEnded(build.state);
      },
    },
    options,
    times,
  );
