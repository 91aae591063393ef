// Starts a build and shows it to its end, wherever it runs: a connection that breaks is taken up again where it was, and Ctrl-C asks the
// home to stop and waits for it to say so.
import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import type { BuildFacts, EventLine, StartedBuild } from '../shared/api/builds.ts';
import type { StartRequest } from '../shared/api/start-request.ts';
import type { BuildEvent } from '../shared/build/events.ts';
import type { BuildRequest } from '../shared/build/request.ts';
import { type ErrorDocument, isCode, isErrorCode, SlipwayError, throwIfCancelled } from '../shared/errors.ts';
import type { Api } from './api-client.ts';
import type { Io } from './io.ts';
import type { Progress } from './progress.ts';

/** Milliseconds before each try to take a lost connection up again; what has arrived in between starts it anew. */
const delays = [200, 500, 1000, 2000, 5000, 10_000, 20_000, 30_000];
/** Milliseconds that a home elsewhere has to stop a build. */
const patience = 20_000;

/** Asks a home elsewhere after the end of a build, however that was. */
export type Ended = (home: Api, id: string) => Promise<void>;

/** The digest of the image. What goes wrong is thrown as the home tells it; CANCELLED after Ctrl-C. */
export async function followBuild(
  client: Api,
  request: BuildRequest,
  show: Progress,
  { signal }: Pick<Io, 'signal'>,
  elsewhere: boolean,
  ended?: Ended,
): Promise<string> {
  const asked: StartRequest = { ...request, ...(elsewhere ? { clientToken: randomUUID() } : {}) };
  const { id } = await client.json<StartedBuild>('POST', '/api/v1/builds', asked, { repeatable: true });
  // The end of the build is waited for after Ctrl-C too, but not for ever.
  const enough = new AbortController();
  let late: NodeJS.Timeout | undefined;
  const calm = client.withSignal(enough.signal);
  const cancel = () => {
    if (elsewhere) late = setTimeout(() => enough.abort(), patience);
    // Should it not arrive, the events tell how the build ends all the same.
    calm.json('POST', `/api/v1/builds/${id}/cancel`, undefined, { repeatable: true }).catch(() => undefined);
  };
  if (signal.aborted) cancel();
  signal.addEventListener('abort', cancel, { once: true });
  let last: End;
  try {
    const tell = ({ number: _, ...event }: EventLine) => show.show(event as BuildEvent);
    last = await followLog(calm, id, { tell, elsewhere, signal: enough.signal });
  } finally {
    clearTimeout(late);
    signal.removeEventListener('abort', cancel);
    await show.end();
  }
  await ended?.(client, id);
  if (last.type === 'result') return last.digest;
  const { code, message, hint, where, details } = last.failure;
  throw new SlipwayError(isErrorCode(code) ? code : 'INTERNAL', message, {
    ...(hint === undefined ? {} : { hint }),
    ...(where === undefined ? {} : { where, details: { ...details, source: request.dockerfile.text } }),
  });
}

export type End =
  | { readonly type: 'result'; readonly digest: string }
  | { readonly type: 'error'; readonly failure: ErrorDocument };

function endOf({ image, failure }: BuildFacts): End | undefined {
  if (image !== undefined) return { type: 'result', digest: image };
  return failure === undefined ? undefined : { type: 'error', failure };
}

export interface FollowedLog {
  readonly tell: (event: EventLine) => Promise<void> | void;
  /** The number of the last event seen before. */
  readonly after?: number;
  readonly elsewhere: boolean;
  readonly signal: AbortSignal;
}

/** Tells every event to the last, whatever happens to connections; a home may end an answer early, and is asked again. */
export async function followLog(
  client: Api,
  id: string,
  { tell, after: seen = 0, elsewhere, signal }: FollowedLog,
): Promise<End> {
  let after = seen;
  for (let lost = 0; ; lost++) {
    try {
      const path = `/api/v1/builds/${id}/events${after === 0 ? '' : `?after=${after}`}`;
      const before = after;
      for await (const event of client.events<EventLine>('GET', path)) {
        after = event.number;
        lost = 0;
        await tell(event);
        if (event.type === 'result' || event.type === 'error') return event;
      }
      if (!elsewhere) throw new SlipwayError('INTERNAL', 'the build ended without a result');
      // A home may end an answer that takes long. One without a single event: has it ended before what was asked for?
      lost = 0;
      const ended = after === before ? endOf(await client.json<BuildFacts>('GET', `/api/v1/builds/${id}`)) : undefined;
      if (ended !== undefined) return ended;
    } catch (error) {
      if (!elsewhere || !isCode(error, 'UPSTREAM', 'TOO_MANY_REQUESTS')) throw error;
      if (lost >= delays.length) {
        throw new SlipwayError('UPSTREAM', `lost sight of build ${id}: ${error.message}`, {
          hint: 'The build goes on without being watched. The same command again takes what it finished from the cache.',
          cause: error,
        });
      }
    }
    await sleep(delays[Math.min(lost, delays.length - 1)]!, undefined, { signal }).catch(() => throwIfCancelled(signal));
  }
}
