// Builds over the control API: start, follow, cancel.
import * as z from 'zod/mini';
import { buildRequest } from '../build/request.ts';
import type { BuildService } from '../build/service.ts';
import { json, ndjson, readJson } from './http.ts';
import { type Route, route } from './router.ts';
import { checked } from './schema.ts';

const followed = z.object({ id: z.string() });
export type StartedBuild = z.infer<typeof followed>;

export function buildRoutes(builds: BuildService): readonly Route[] {
  return [
    route('POST', '/api/v1/builds', async ({ request }) => {
      const asked = checked(buildRequest, await readJson(request), 'build request');
      const answer: StartedBuild = { id: await builds.start(asked) };
      return json(answer, 201);
    }),
    route('GET', '/api/v1/builds/:id/events', ({ params }) => ndjson(builds.events(params.id as string))),
    route('POST', '/api/v1/builds/:id/cancel', async ({ params }) => {
      await builds.cancel(params.id as string);
      return json({}, 202);
    }),
  ];
}
