// What a build is asked for, as it travels to a home. The schema is what the control API checks it with.
import * as z from 'zod/mini';

/** Where the context is. `directory` only where the asking process and the home are one (the embedded home). */
export const contextRef = z.union([
  z.object({ kind: z.literal('none'), project: z.optional(z.string()) }),
  z.object({ kind: z.literal('directory'), path: z.string() }),
  /** An archive in the home's own bucket, `s3://BUCKET/contexts/...`; a Dockerfile without text is read from it. */
  z.object({ kind: z.literal('archive'), url: z.string(), project: z.optional(z.string()) }),
  /** A file list that the home keeps, in a project; without one, an archive that came to this very process. */
  z.object({ kind: z.literal('stored'), id: z.string(), project: z.optional(z.string()) }),
]);

const file = z.object({ name: z.string(), text: z.string() });

export const buildRequest = z.object({
  context: contextRef,
  dockerfile: file,
  /** The text of the ignore file in force. */
  ignore: z.optional(file),
  tags: z.array(z.string()),
  buildArgs: z.record(z.string(), z.string()),
  labels: z.record(z.string(), z.string()),
  target: z.optional(z.string()),
  platform: z.optional(z.string()),
  network: z.optional(z.string()),
  noCache: z.boolean(),
  /** `--no-cache-filter`: stages (by name, or index) whose steps are not looked up. */
  noCacheFilter: z.optional(z.array(z.string())),
  pull: z.boolean(),
  /** Nano-dollars that it may cost by estimate, in a home that is charged for: beyond that it is stopped. */
  budget: z.optional(z.int().check(z.positive())),
});

export type ContextRef = z.infer<typeof contextRef>;
export type BuildRequest = z.infer<typeof buildRequest>;
