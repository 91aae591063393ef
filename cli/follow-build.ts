// Starts a build and shows it to its end, wherever it runs: a connection that breaks is taken up again where it was, and Ctrl-C asks the
// home to stop and waits for it to say so.
import { randomUUID } from 'node:crypto';
import type { BuildFacts, EventLine, StartedBuild } from '../shared/api/builds.ts';
import type { StartRequest } from '../shared/api/start-request.ts';
import type { BuildEvent } from '../shared/build/events.ts';
import type { BuildRequest } from '../shared/build/request.ts';
import { type ErrorDocument, isErrorCode, SlipwayError } from '../shared/errors.ts';
import type { Api } from './api-client.ts';
import { cancellable, followEvents } from './follow-events.ts';
import type { Io } from './io.ts';
import type { Progress } from './progress.ts';

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
  let last: End;
  try {
    const tell = ({ number: _, ...event }: EventLine) => show.show(event as BuildEvent);
    last = await cancellable(client, { signal, cancelPath: `/api/v1/builds/${id}/cancel`, elsewhere }, (calm, enough) =>
      followLog(calm, id, { tell, elsewhere, signal: enough }),
    );
  } finally {
    await show.end();
  }
  await ended?.(client, id);
  if (last.type === 'result') return last.digest;
  const { code, message, hint, where, details } = last.failure;
  throw new SlipwayError(isErrorCode(code) ? code : 'INTERNAL', message, {
    ...(hint === undefined ? {} : { hint }),
    ...(where === undefined ? {} : { where, details: { ...details, source: sourceOf(request, where.file) } }),
  });
}

/** The text of a file that the build was given; undefined for one that the home read itself. */
const sourceOf = ({ dockerfile, ignore }: BuildRequest, file: string): string | undefined =>
  [dockerfile, ignore].find((given) => given?.name === file)?.text || undefined;

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
export const followLog = (client: Api, id: string, { tell, after = 0, elsewhere, signal }: FollowedLog): Promise<End> =>
  followEvents<EventLine, End>(client, {
    what: 'build',
    id,
    path: `/api/v1/builds/${id}/events`,
    tell,
    endOf: (event) => (event.type === 'result' || event.type === 'error' ? event : undefined),
    ended: async () => endOf(await client.json<BuildFacts>('GET', `/api/v1/builds/${id}`)),
    after,
    elsewhere,
    hint: 'The build goes on without being watched. The same command again takes what it finished from the cache.',
    signal,
  });
