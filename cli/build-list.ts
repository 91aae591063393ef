// What the `builds` commands have in common: the home they are about, and which build is meant.
import type { BuildFacts, BuildList } from '../shared/api/builds.ts';
import { SlipwayError } from '../shared/errors.ts';
import { type Api, query } from './api-client.ts';
import type { Remote } from './remote.ts';

/** At most so many a request. */
const pageSize = 200;

/** UNSUPPORTED in the home on this machine, whose builds end with the command that started them. */
export async function keptBuilds(call: {
  readonly api: () => Promise<Api>;
  readonly remote: () => Promise<Remote | undefined>;
}): Promise<{ readonly client: Api; readonly project: string }> {
  const remote = await call.remote();
  if (remote === undefined) {
    throw new SlipwayError('UNSUPPORTED', 'builds on this machine are not kept: they end with the command that started them', {
      hint: 'Choose a home elsewhere: SLIPWAY_ENDPOINT, or slipway --context NAME builds ...; `slipway history IMAGE` shows how an image was made.',
    });
  }
  return { client: await call.api(), project: remote.endpoint.project };
}

/** The newest builds, at most `limit`. `project`: only its builds. `cost`: with what they used and cost. */
export async function listBuilds(
  client: Api,
  project: string | undefined,
  limit: number,
  cost = false,
): Promise<readonly BuildFacts[]> {
  const found: BuildFacts[] = [];
  for (let after: string | undefined; found.length < limit; ) {
    const page = { limit: Math.min(pageSize, limit - found.length), after, project, cost };
    const { builds, next } = await client.json<BuildList>('GET', `/api/v1/builds${query(page)}`);
    found.push(...builds);
    if (next === undefined) break;
    after = next;
  }
  return found;
}

/** The id that is meant: the newest build when none is given. */
export async function buildId(client: Api, project: string, given: string | undefined): Promise<string> {
  if (given !== undefined) return given;
  const [newest] = await listBuilds(client, project, 1);
  if (newest !== undefined) return newest.id;
  throw new SlipwayError('NOT_FOUND', `there are no builds in the project ${project} that you may see`);
}

export const buildPath = (id: string, rest = ''): string => `/api/v1/builds/${encodeURIComponent(id)}${rest}`;
