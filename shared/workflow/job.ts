// What a job is, and what its runner and the home say to each other. A runner is told one stage of one build; it answers with the layers
// that RUN made and with the log. Bytes go through presigned URLs, never through the API.
import * as z from 'zod/mini';
import type { Plan, PlannedStage } from '../build/plan.ts';
import type { StageImage } from '../build/stage-image.ts';
import { type Digest, isDigest } from '../oci/digest.ts';
import { codecRule, codecUrl } from './codec-check.ts';
import type { LogPlace } from './source-log.ts';

/** What a runner is started with. Small enough for the payload of a MicroVM's run hook (16 KB) or one environment variable. */
export const jobTicket = z.object({
  /** Where the job routes are, e.g. `https://HOST/api/v1/jobs/<build>/<stage>`; without a slash at the end. */
  url: z.string().check(z.url()),
  token: z.string(),
});
export type JobTicket = z.infer<typeof jobTicket>;

/** The answer to `claim`: all that executing the stage takes. */
export interface JobDocument {
  readonly plan: Omit<Plan, 'stages' | 'warnings'>;
  /** The stage, and of every other one the index only: enough for the titles of steps. */
  readonly stage: PlannedStage;
  readonly stages: number;
  readonly start: StageImage;
  readonly sources: readonly (readonly [number | string, StageImage])[];
  /** Tables of contents that are there, by diffID. */
  readonly tocs: Readonly<Record<string, Digest>>;
  /** The file list of the context, a blob. */
  readonly context?: { readonly list: Digest; readonly scope: string };
  readonly log: LogPlace;
  /** `codecVersion` of the embedded home, which the runner's own should be. */
  readonly codec: string;
  /** Seconds between the runner's signs of life. */
  readonly beat: number;
}

const digest = z.string().check(z.refine((text) => isDigest(text), 'is no digest'));
const count = z.int().check(z.nonnegative());

export const lookupBody = z.object({ struct: z.unknown() });
export const claimBody = z.object({ struct: z.unknown(), diffId: digest, blob: digest, size: count, made: count });
export const readBody = z.object({ digest });
export const writeBody = z.object({ digest, size: count });
export const confirmBody = z.object({ id: z.string(), digest, size: count });
export const bodiesBody = z.object({ digests: z.array(digest).check(z.maxLength(5000)) });
export const logBody = z.object({ first: count, events: z.array(z.unknown()).check(z.maxLength(10_000)) });
const position = z.object({ line: count, column: count });
/** The only warning that a runner has to give: its steps were warned of when they were planned. */
const runnerWarning = z.object({
  rule: z.literal(codecRule),
  message: z.string().check(z.maxLength(1000)),
  where: z.object({ file: z.string().check(z.maxLength(1000)), start: position, end: position }),
  url: z.literal(codecUrl),
});
export const warningEvent = z.object({ type: z.literal('warning'), warning: runnerWarning });
const place = z.object({ next: count, started: count, done: count });
/** What a runner counts (job-client.ts, burst.ts); a part of an estimate, so nothing is decided by it. */
const amount = z.int().check(z.nonnegative(), z.lte(2 ** 45));
const counted = z.record(
  z.string().check(z.regex(/^(s3(Reads|Writes|BytesIn|BytesOut)|microvmBurst(MilliVcpuMs|MibMs))$/)),
  amount,
);
/** What a runner says it used. Anything else in its place is left out: no build fails for its numbers. */
export const jobUsage = z.object({
  usage: counted,
  steps: z
    .array(z.object({ stage: z.optional(count), name: z.string().check(z.maxLength(200)), ms: amount, usage: counted }))
    .check(z.maxLength(200)),
});
export const completeBody = z.object({ place, used: z.optional(z.unknown()) });
export const failBody = z.object({
  place,
  used: z.optional(z.unknown()),
  failure: z.object({
    code: z.string(),
    message: z.string(),
    hint: z.optional(z.string()),
    where: z.optional(z.unknown()),
    details: z.optional(z.record(z.string(), z.unknown())),
  }),
});

export interface FoundStep {
  readonly diffId: Digest;
  readonly made: number;
  readonly layer: { readonly mediaType: string; readonly digest: Digest; readonly size: number };
  readonly toc?: Digest;
}

/** Seconds between a runner's signs of life: also how long it may take to hear that its build was cancelled. */
export const beatSeconds = 5;
