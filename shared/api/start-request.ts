// What starts a build, as it is checked when it comes from elsewhere.
import * as z from 'zod/mini';
import { buildRequest } from '../build/request.ts';

export const startRequest = z.extend(buildRequest, {
  /** Any text of the client's choice, new for each build: the same one answers the same build for a day. */
  clientToken: z.optional(z.string().check(z.minLength(1), z.maxLength(200))),
});
export type StartRequest = z.infer<typeof startRequest>;
