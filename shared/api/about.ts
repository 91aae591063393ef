// What this is: for a client that wants to know whether it found a Slipway and may speak to it, and for one that is to be generated.
import * as z from 'zod/mini';
import { version } from '../version.ts';
import { json } from './http.ts';
import type { ApiParts } from './parts.ts';
import { type Route, route } from './router.ts';

export const about = z.object({
  name: z.literal('slipway'),
  version: z.string(),
  api: z.literal('v1'),
  registry: z.optional(z.string()),
  /** In bytes: what goes through the gateway in front of this home. Absent: requests and answers are streams of any size. */
  limits: z.optional(z.object({ request: z.int(), answer: z.int() })),
});
export type About = z.infer<typeof about>;

export function aboutRoutes({ host, limits }: Pick<ApiParts, 'host' | 'limits'>): readonly Route[] {
  return [
    route('GET', '/api/v1', () => {
      const answer: About = {
        name: 'slipway',
        version,
        api: 'v1',
        ...(host === undefined ? {} : { registry: host }),
        ...(limits === undefined ? {} : { limits }),
      };
      return json(answer);
    }),
    route('GET', '/api/openapi.json', async () => json((await import('./openapi.ts')).openApi())),
  ];
}
