// Following the log of a stored build, by asking again: soon after something happened, less often while nothing does.
import { isCode } from '../errors.ts';
import { pause } from '../store/removal.ts';
import { type BuildRecords, hasEnded } from './build-records.ts';
import type { FollowOptions } from './service.ts';
import type { NumberedEvent } from './stored-log.ts';

export interface FollowTimes {
  /** Milliseconds between questions: at first, and at most. */
  readonly least?: number;
  readonly most?: number;
  /** Milliseconds after which it ends, wherever the build is. */
  readonly limit?: number;
  /** Milliseconds after the first event in which it ends, wherever the build is. Absent: it goes on. */
  readonly gather?: number;
}

const pageSize = 500;

/** Ends after the last event of the build, when the signal fires, or when the time is over. NOT_FOUND for an unknown build. */
export async function* followEvents(
  records: Pick<BuildRecords, 'events' | 'get'>,
  id: string,
  { after = 0, signal }: FollowOptions,
  { least = 50, most = 1000, limit = Number.POSITIVE_INFINITY, gather = Number.POSITIVE_INFINITY }: FollowTimes = {},
): AsyncGenerator<NumberedEvent> {
  let until = performance.now() + limit;
  let wait = least;
  let over = false;
  for (let at = after; ; ) {
    const events = await records.events(id, { after: at, limit: pageSize });
    for (const numbered of events) {
      yield numbered;
      at = numbered.number;
      if (numbered.event.type === 'result' || numbered.event.type === 'error') return;
    }
    if (events.length > 0) until = Math.min(until, performance.now() + gather);
    // Asked for what comes after its last event.
    if (over) return;
    if (signal?.aborted || performance.now() >= until) return;
    if (events.length === 0) {
      const build = await records.get(id);
      over = build === undefined || hasEnded(build.state);
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
