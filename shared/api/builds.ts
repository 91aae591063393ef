// Builds over the control API: start, list, look at, follow, cancel.
//
//   POST /api/v1/builds {..., clientToken?}              the same token starts nothing twice
//   GET  /api/v1/builds?limit&after                      newest first
//   GET  /api/v1/builds/ID
//   GET  /api/v1/builds/ID/events?after=N                follows, one event a line; follow=false&limit=N: those that are there now
//   POST /api/v1/builds/ID/cancel
import type { BuildRecord } from '../build/build-records.ts';
import type { BuildEvent } from '../build/events.ts';
import type { BuildDetails } from '../build/service.ts';
import type { NumberedEvent } from '../build/stored-log.ts';
import { SlipwayError } from '../errors.ts';
import { json, ndjson, readJson } from './http.ts';
import type { ApiParts, ApiTrust } from './parts.ts';
import { type Route, route } from './router.ts';
import type { StartRequest } from './start-request.ts';

export interface StartedBuild {
  readonly id: string;
}
export type BuildSummary = BuildRecord;
export type BuildFacts = BuildDetails;
export interface BuildList {
  readonly builds: readonly BuildRecord[];
  /** `after` of the next page, when there may be one. */
  readonly next?: string;
}
/** An event as a line: with its number, after which to go on. */
export type EventLine = BuildEvent & { readonly number: number };

/** Bytes of a request: a Dockerfile, arguments and labels. */
export const maxBuildRequest = 8 << 20;
/** Milliseconds between signs of life. */
const heartbeat = 15_000;

export function buildRoutes(parts: ApiParts, { sameMachine }: ApiTrust): readonly Route[] {
  return [
    route('POST', '/api/v1/builds', async ({ request }) => {
      const { clientToken, ...asked } = await startRequestOf(await readJson(request, maxBuildRequest), sameMachine);
      const { context } = asked;
      if (context.kind === 'directory' && !sameMachine) {
        throw new SlipwayError('DENIED', 'a build from elsewhere cannot name a directory of this machine as its context', {
          hint: 'Send the context: POST /api/v1/contexts.',
        });
      }
      if (context.kind === 'stored' && context.project !== undefined) await checkContext(parts, context.project, context.id);
      const answer: StartedBuild = {
        id: await (await parts.builds()).start(asked, clientToken === undefined ? {} : { clientToken }),
      };
      return json(answer, 201);
    }),
    route('GET', '/api/v1/builds', async ({ query }) => {
      const limit = whole(query.get('limit'), 'limit', 50, 1, 500);
      const after = query.get('after') ?? undefined;
      const builds = await (await parts.builds()).list({ limit, ...(after === undefined ? {} : { after }) });
      const next = builds.length < limit ? undefined : builds.at(-1)?.id;
      const answer: BuildList = { builds, ...(next === undefined ? {} : { next }) };
      return json(answer);
    }),
    route('GET', '/api/v1/builds/:id', async ({ params }) => json(await (await parts.builds()).get(params.id as string))),
    route('GET', '/api/v1/builds/:id/events', async ({ request, params, query }) => {
      const builds = await parts.builds();
      const id = params.id as string;
      const after = whole(query.get('after'), 'after', 0, 0, Number.MAX_SAFE_INTEGER);
      if (query.get('follow') === 'false') {
        const page = await builds.page(id, { after, limit: whole(query.get('limit'), 'limit', 1000, 1, 10_000) });
        return ndjson(lines(page));
      }
      // An unknown build is an answer of its own, not a line.
      if (!sameMachine) await builds.get(id);
      const { signal } = request;
      // In process there is no connection that could be taken for dead.
      return ndjson(
        lines(builds.events(id, { after, ...(signal === undefined ? {} : { signal }) })),
        sameMachine ? undefined : heartbeat,
      );
    }),
    route('POST', '/api/v1/builds/:id/cancel', async ({ params }) => {
      await (await parts.builds()).cancel(params.id as string);
      return json({}, 202);
    }),
  ];
}

/** What comes from this very process is of its type; loading the schemas would cost it a tenth of a cached build. */
async function startRequestOf(value: unknown, trusted: boolean): Promise<StartRequest> {
  if (trusted) return value as StartRequest;
  const [{ startRequest }, { checked }] = await Promise.all([import('./start-request.ts'), import('./schema.ts')]);
  return checked(startRequest, value, 'build request');
}

async function* lines(events: AsyncIterable<NumberedEvent> | readonly NumberedEvent[]): AsyncGenerator<EventLine> {
  for await (const { number, event } of events) yield { ...event, number };
}

async function checkContext(parts: ApiParts, project: string, id: string): Promise<void> {
  const [{ checkProject, ContextStore, incomplete }, { parseDigest }] = await Promise.all([
    import('../context/context-store.ts'),
    import('../oci/digest.ts'),
  ]);
  const store = new ContextStore({ ...parts, project: checkProject(project) });
  const facts = await store.listFacts(parseDigest(id, 'context'));
  if (facts === undefined) throw new SlipwayError('NOT_FOUND', `there is no context ${id} in the project ${project}`);
  if (!facts.complete) throw incomplete(id);
}

function whole(text: string | null, name: string, otherwise: number, least: number, most: number): number {
  if (text === null) return otherwise;
  const value = Number(text);
  if (/^\d{1,16}$/.test(text) && value >= least && value <= most) return value;
  throw new SlipwayError('USAGE', `${name}: a whole number from ${least} to ${most} is expected`);
}
