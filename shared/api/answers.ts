// The shapes of answers, for the OpenAPI document and the tests that hold the API to it. What the API answers is typed where it is made;
// nothing is checked against these at run time.
import * as z from 'zod/mini';
import { digestText } from './schema.ts';

const milliseconds = z.number();
const text = z.string();
const texts = z.array(text);
const textMap = z.record(text, text);
/** Billionths of a dollar. */
const nanoDollars = z.int();

export const sourceRange = z.object({
  file: text,
  start: z.object({ line: z.int(), column: z.int() }),
  end: z.object({ line: z.int(), column: z.int() }),
});

export const errorDocument = z.object({
  /** One of the codes of the table in docs/api.md. */
  code: text,
  message: text,
  hint: z.optional(text),
  where: z.optional(sourceRange),
  details: z.optional(z.record(text, z.unknown())),
});
export const errorAnswer = z.object({ error: errorDocument });

export const warning = z.object({ rule: text, message: text, where: sourceRange, url: text });

const numbered = { number: z.int() };
const ofStep = { ...numbered, id: z.int(), at: milliseconds };
export const buildEvent = z.discriminatedUnion('type', [
  z.object({ type: z.literal('started'), ...ofStep, name: text }),
  z.object({ type: z.literal('log'), ...ofStep, stream: z.enum(['stdout', 'stderr']), text }),
  z.object({ type: z.literal('note'), ...ofStep, text }),
  z.object({ type: z.literal('done'), ...ofStep, cached: z.optional(z.literal(true)) }),
  z.object({ type: z.literal('failed'), ...ofStep, message: text }),
  z.object({ type: z.literal('cancelled'), ...ofStep }),
  z.object({ type: z.literal('warning'), ...numbered, warning }),
  z.object({ type: z.literal('result'), ...numbered, digest: digestText, tags: texts, at: milliseconds }),
  z.object({ type: z.literal('error'), ...numbered, failure: errorDocument, at: milliseconds }),
]);

export const startedBuild = z.object({ id: text });

const buildMembers = {
  id: text,
  state: z.enum(['queued', 'running', 'succeeded', 'failed', 'cancelled']),
  created: milliseconds,
  started: z.optional(milliseconds),
  ended: z.optional(milliseconds),
  cancelRequested: z.optional(milliseconds),
  by: z.optional(text),
  reads: z.optional(texts),
  project: z.optional(text),
  tags: texts,
  dockerfile: text,
  target: z.optional(text),
  platform: z.optional(text),
  budget: z.optional(nanoDollars),
  request: digestText,
  unpacked: z.optional(digestText),
  plan: z.optional(digestText),
  execution: z.optional(text),
  image: z.optional(digestText),
  failure: z.optional(errorDocument),
};
export const buildSummary = z.object(buildMembers);
export const cost = z.object({
  nanoDollars,
  prices: z.object({ date: text, region: text, source: text }),
  region: z.optional(text),
  services: z.record(text, nanoDollars),
  steps: z.array(z.object({ stage: z.optional(z.int()), name: text, milliseconds: z.number(), nanoDollars })),
  rest: nanoDollars,
  unpriced: texts,
  notCounted: texts,
});
export const buildFacts = z.object({
  ...buildMembers,
  usage: z.optional(z.record(text, z.number())),
  cost: z.optional(cost),
});
export const buildList = z.object({ builds: z.array(buildFacts), next: z.optional(text) });

export const receivedContext = z.object({ id: text, project: z.optional(text), dockerfile: z.object({ name: text, text }) });

export const imageSummary = z.object({
  id: digestText,
  names: texts,
  digests: texts,
  kind: z.enum(['image', 'index', 'artifact']),
  mediaType: text,
  created: z.optional(text),
  committed: z.number(),
  size: z.number(),
  platforms: texts,
  labels: z.optional(textMap),
  member: z.optional(z.literal(true)),
});
export const imageDetails = z.object({
  Id: digestText,
  RepoTags: texts,
  RepoDigests: texts,
  Comment: text,
  Created: z.optional(text),
  Author: text,
  /** As in the OCI image configuration. */
  Config: z.looseObject({}),
  Architecture: text,
  Variant: z.optional(text),
  Os: text,
  OsVersion: z.optional(text),
  Size: z.number(),
  RootFS: z.object({ Type: z.literal('layers'), Layers: z.array(digestText) }),
  Metadata: z.object({ LastTagTime: text }),
  Descriptor: z.object({ mediaType: text, digest: digestText, size: z.number() }),
  Annotations: z.optional(textMap),
  Platforms: z.optional(texts),
});
export const historyRow = z.object({
  Id: text,
  Created: z.optional(text),
  CreatedBy: text,
  Tags: texts,
  Size: z.number(),
  Comment: text,
});
export const removedImage = z.object({
  lines: z.array(z.union([z.object({ untagged: text }), z.object({ deleted: text })])),
  freed: z.number(),
});
export const loadEvent = z.union([
  z.object({ loaded: text, id: digestText }),
  z.object({ loadedId: digestText }),
  z.object({ note: text }),
]);
export const importedImage = z.object({ id: digestText });
const transferEvents = [
  z.object({ kind: z.literal('pulling'), reference: text, path: text }),
  z.object({ kind: z.literal('pushing'), repository: text }),
  z.object({
    kind: z.literal('layer'),
    digest: digestText,
    state: text,
    current: z.optional(z.number()),
    total: z.optional(z.number()),
    from: z.optional(text),
  }),
  z.object({ kind: z.literal('pulled'), digest: digestText, image: digestText, fresh: z.boolean() }),
  z.object({ kind: z.literal('pushed'), tag: text, digest: digestText, size: z.number() }),
  z.object({ kind: z.literal('done'), name: text, canonical: text, fresh: z.boolean() }),
] as const;
export const transferEvent = z.union([...transferEvents, errorAnswer]);
export const transferLine = z.intersection(
  z.union([...transferEvents, z.object({ kind: z.literal('failed'), failure: errorDocument })]),
  z.object(numbered),
);
export const startedTransfer = z.object({ id: text });
export const transferFacts = z.object({
  id: text,
  verb: z.enum(['pull', 'push']),
  reference: text,
  platform: z.optional(text),
  allTags: z.optional(z.boolean()),
  state: z.enum(['queued', 'running', 'succeeded', 'failed', 'cancelled']),
  created: milliseconds,
  started: z.optional(milliseconds),
  ended: z.optional(milliseconds),
  cancelRequested: z.optional(milliseconds),
  by: z.optional(text),
  failure: z.optional(errorDocument),
});
export const nothing = z.object({});
