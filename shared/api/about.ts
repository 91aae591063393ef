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
});
export type About = z.infer<typeof about>;

export function aboutRoutes({ host }: Pick<ApiParts, 'host'>): readonly Route[] {
  return [
    route('GET', '/api/v1', () => {
      const answer: About = { name: 'slipway', version, api: 'v1', ...(host === undefined ? {} : { registry: host }) };
      return json(answer);
    }),
    route('GET', '/api/openapi.json', async () => json((await import('./openapi.ts')).openApi())),
  ];
}
