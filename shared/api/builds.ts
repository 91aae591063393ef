// Builds over the control API: start, list, look at, follow, cancel.
//
//   POST /api/v1/builds {..., clientToken?}              the same token starts nothing twice
//   GET  /api/v1/builds?limit&after&project              newest first; cost=true: with what they cost
//   GET  /api/v1/builds/ID
//   GET  /api/v1/builds/ID/events?after=N                follows, one event a line; follow=false&limit=N: those that are there now
//   POST /api/v1/builds/ID/cancel
import type { BuildRecord } from '../build/build-records.ts';
import type { BuildEvent } from '../build/events.ts';
import type { BuildRequest } from '../build/request.ts';
import type { BuildDetails, BuildService } from '../build/service.ts';
import type { NumberedEvent } from '../build/stored-log.ts';
import { checkProject, defaultProject } from '../context/project.ts';
import { SlipwayError } from '../errors.ts';
import { withoutHost } from '../oci/reference.ts';
import { type Access, notCovered, readable } from './access.ts';
import { json, ndjson, readJson } from './http.ts';
import type { ApiParts, ApiTrust } from './parts.ts';
import { type Route, route } from './router.ts';
import type { StartRequest } from './start-request.ts';
import { whole } from './whole-number.ts';

export interface StartedBuild {
  readonly id: string;
}
export type BuildSummary = BuildRecord;
export type BuildFacts = BuildDetails;
export interface BuildList {
  /** With what they used and cost, if that was asked for. */
  readonly builds: readonly BuildDetails[];
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
    route('POST', '/api/v1/builds', async ({ request, access }) => {
      const { clientToken, ...given } = await startRequestOf(await readJson(request, maxBuildRequest), sameMachine);
      const { host } = parts;
      const asked = host === undefined ? given : { ...given, tags: given.tags.map((tag) => withoutHost(tag, host)) };
      const { context } = asked;
      if (context.kind === 'directory' && !sameMachine) {
        throw new SlipwayError('DENIED', 'a build from elsewhere cannot name a directory of this machine as its context', {
          hint: 'Send the context: POST /api/v1/contexts.',
        });
      }
      const checked = await checkStart(parts, access, asked);
      const { caller } = access;
      const answer: StartedBuild = {
        id: await (await parts.builds()).start(checked, {
          ...(clientToken === undefined ? {} : { clientToken }),
          ...(caller === undefined ? {} : { by: caller.name, reads: readable(caller) }),
        }),
      };
      return json(answer, 201);
    }),
    route('GET', '/api/v1/builds', async ({ query, access }) => {
      const limit = whole(query.get('limit'), 'limit', 50, 1, 500);
      const after = query.get('after') ?? undefined;
      const builds = await parts.builds();
      const list = await listBuilds(builds, access, query.get('project') ?? undefined, { limit, after });
      return json(query.get('cost') === 'true' ? await withCosts(builds, list) : list);
    }),
    route('GET', '/api/v1/builds/:id', async ({ params, access }) => {
      const build = await (await parts.builds()).get(params.id as string);
      checkView(access, build);
      return json(build);
    }),
    route('GET', '/api/v1/builds/:id/events', async ({ request, params, query, access }) => {
      const builds = await parts.builds();
      const id = params.id as string;
      const after = whole(query.get('after'), 'after', 0, 0, Number.MAX_SAFE_INTEGER);
      // An unknown build is an answer of its own, not a line.
      if (!sameMachine) checkView(access, await builds.get(id, { cost: false }));
      if (query.get('follow') === 'false') {
        const page = await builds.page(id, { after, limit: whole(query.get('limit'), 'limit', 1000, 1, 10_000) });
        return ndjson(lines(page));
      }
      const { signal } = request;
      // In process there is no connection that could be taken for dead.
      return ndjson(
        lines(builds.events(id, { after, ...(signal === undefined ? {} : { signal }) })),
        sameMachine ? undefined : heartbeat,
      );
    }),
    route('POST', '/api/v1/builds/:id/cancel', async ({ params, access }) => {
      const builds = await parts.builds();
      if (access.caller !== undefined) checkCancel(access, await builds.get(params.id as string));
      await builds.cancel(params.id as string);
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
  const [{ ContextStore, incomplete }, { parseDigest }] = await Promise.all([
    import('../context/context-store.ts'),
    import('../oci/digest.ts'),
  ]);
  const store = new ContextStore({ ...parts, project: checkProject(project) });
  const facts = await store.listFacts(parseDigest(id, 'context'));
  if (facts === undefined) throw new SlipwayError('NOT_FOUND', `there is no context ${id} in the project ${project}`);
  if (!facts.complete) throw incomplete(id);
}

/** The request, in a project: what the caller may build, and what is complete. */
async function checkStart(parts: ApiParts, access: Access, asked: BuildRequest): Promise<BuildRequest> {
  const { context } = asked;
  if (context.kind === 'archive') await checkArchive(parts, access, context.url, context.project ?? defaultProject);
  if (access.caller === undefined) {
    if (context.kind === 'stored' && context.project !== undefined) await checkContext(parts, context.project, context.id);
    return asked;
  }
  if (context.kind === 'directory') throw new SlipwayError('DENIED', 'a directory is for the user of this machine');
  const project = checkProject(context.project ?? defaultProject);
  const [{ basesOf }, { parseTarget }] = await Promise.all([import('../build/bases.ts'), import('../oci/reference.ts')]);
  // All that is missing is said at once: each answer costs the client a token.
  access.require(
    { project, action: 'build' },
    ...asked.tags.map((tag) => ({ name: parseTarget(tag).repository, action: 'push' as const })),
    ...[...(await basesOf(asked, parts))].toSorted().map((name) => ({ name, action: 'pull' as const })),
  );
  if (context.kind === 'stored') await checkContext(parts, project, context.id);
  return { ...asked, context: { ...context, project } };
}

async function checkArchive({ archives }: ApiParts, access: Access, url: string, project: string): Promise<void> {
  if (archives === undefined) {
    throw new SlipwayError('UNSUPPORTED', `this home has no bucket to read ${url.slice(0, 300)} from`, {
      hint: 'Send the archive on standard input: slipway build - < ctx.tar.gz.',
    });
  }
  // Whether there is such an object is for who may build from it.
  access.require({ project: checkProject(project), action: 'build' });
  const { archiveKey } = await import('../context/archive-object.ts');
  const { noArchive } = await import('../build/archive-context.ts');
  if ((await archives.size(archiveKey(url, archives.bucket, project))) === undefined) throw noArchive(url);
}

type Whose = Pick<BuildRecord, 'by' | 'project'>;
const projectOf = ({ project }: Whose): string => project ?? defaultProject;

function mayView({ allows, caller }: Access, build: Whose): boolean {
  const project = projectOf(build);
  if (caller === undefined || allows({ project, action: 'view' })) return true;
  return build.by === caller.name && allows({ project, action: 'build' });
}

function checkView(access: Access, build: Whose): void {
  const { caller } = access;
  if (caller === undefined || mayView(access, build)) return;
  // What may do: one's own builds are seen with `build` as well.
  throw notCovered(caller, `project:${projectOf(build)}:view${build.by === caller.name ? ',build' : ''}`);
}

function checkCancel({ caller, allows }: Access, build: Whose): void {
  if (caller === undefined) return;
  const project = projectOf(build);
  const own = build.by === caller.name;
  if (allows({ project, action: 'manage' }) || (own && allows({ project, action: 'build' }))) return;
  throw notCovered(caller, `project:${project}:${own ? 'build,manage' : 'manage'}`);
}

/** Records looked at for one answer: in a large list of others' builds a page may be short, and `next` goes on. */
const lookedAt = 2000;

async function listBuilds(
  builds: BuildService,
  access: Access,
  project: string | undefined,
  { limit, after }: { readonly limit: number; readonly after: string | undefined },
): Promise<BuildList> {
  const { caller } = access;
  if (caller !== undefined) {
    const wanted = checkProject(project ?? defaultProject);
    const some = (['view', 'build'] as const).some((action) =>
      project === undefined
        ? caller.scopes.some((scope) => scope.kind === 'project' && scope.actions.includes(action))
        : access.allows({ project: wanted, action }),
    );
    if (!some) throw notCovered(caller, `project:${wanted}:view,build`);
  }
  const found: BuildRecord[] = [];
  let at = after;
  for (let looked = 0; looked < lookedAt; ) {
    const page = await builds.list({ limit, ...(at === undefined ? {} : { after: at }) });
    for (const build of page) {
      looked++;
      at = build.id;
      if ((project === undefined || projectOf(build) === project) && mayView(access, build)) found.push(build);
      if (found.length === limit) return { builds: found, next: build.id };
    }
    if (page.length < limit) return { builds: found };
  }
  return { builds: found, ...(at === undefined ? {} : { next: at }) };
}

/** Builds looked up at the same time. */
const atOnce = 16;

/** The same list, with what each build used and what that costs. */
async function withCosts(service: BuildService, { builds, ...rest }: BuildList): Promise<BuildList> {
  const facts: BuildDetails[] = [];
  for (let at = 0; at < builds.length; at += atOnce) {
    facts.push(...(await Promise.all(builds.slice(at, at + atOnce).map(({ id }) => service.get(id)))));
  }
  return { ...rest, builds: facts };
}
