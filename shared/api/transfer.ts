// Pull and push over the control API: the request names an image, the answer is the transfer's events as NDJSON, one a line.
import * as z from 'zod/mini';
import { Channel } from '../build/channel.ts';
import { shortDigest, type TransferEvent } from '../client/transfer-events.ts';
import { SlipwayError } from '../errors.ts';
import { hostPlatform, parsePlatform } from '../oci/platform.ts';
import { parseReference, type Reference, withDefaultTag } from '../oci/reference.ts';
import type { Access } from './access.ts';
import { type ApiRequest, ndjson, readJson } from './http.ts';
import type { ApiParts } from './parts.ts';
import { type Route, route } from './router.ts';
import { checked } from './schema.ts';

export const transferRequest = z.object({
  /** `[HOST[:PORT]/]PATH[:TAG][@DIGEST]` */
  reference: z.string(),
  /** `os/architecture[/variant]`; a pull takes the machine's own without it, a push everything. */
  platform: z.optional(z.string()),
  /** All tags of the repository; the reference has none then. */
  allTags: z.optional(z.boolean()),
});
export type TransferRequest = z.infer<typeof transferRequest>;

/** How much of a layer moves before its progress is told again, in bytes. */
const tellEvery = 512 * 1024;

export function transferRoutes(parts: ApiParts): readonly Route[] {
  return [
    route('POST', '/api/v1/images/pull', async ({ request, access }) => {
      onlyHere(access, 'pull');
      const asked = checked(transferRequest, await readJson(request), 'pull request');
      const reference = named(asked, 'pull');
      const platform =
        asked.platform === undefined
          ? { wanted: hostPlatform(), strict: false }
          : { wanted: parsePlatform(asked.platform, hostPlatform()), strict: true };
      return ndjson(
        follow(request, (tell, signal) => pullAll(parts, reference, asked.allTags === true, { platform, signal }, tell)),
      );
    }),
    route('POST', '/api/v1/images/push', async ({ request, access }) => {
      onlyHere(access, 'push');
      const asked = checked(transferRequest, await readJson(request), 'push request');
      const reference = named(asked, 'push');
      if (reference.digest !== undefined) throw new SlipwayError('INVALID_REFERENCE', 'cannot push a digest reference');
      const platform = asked.platform === undefined ? {} : { platform: parsePlatform(asked.platform, hostPlatform()) };
      return ndjson(
        follow(request, (tell, signal) => pushAll(parts, reference, asked.allTags === true, { ...platform, signal }, tell)),
      );
    }),
  ];
}

/** Between registries images go through the machine of who asks, with that one's logins: those of the home are for the bases of builds. */
function onlyHere({ caller }: Access, verb: 'pull' | 'push'): void {
  if (caller === undefined) return;
  throw new SlipwayError('UNSUPPORTED', `this home does not ${verb} images ${verb === 'pull' ? 'from' : 'to'} other registries`, {
    hint: 'Bases of builds are fetched by themselves. To copy an image: slipway --context default pull, tag and push, or skopeo copy.',
  });
}

function named(asked: TransferRequest, verb: string): Reference {
  const reference = parseReference(asked.reference);
  if (asked.allTags !== true) return withDefaultTag(reference);
  if (reference.tag !== undefined || reference.digest !== undefined) {
    throw new SlipwayError('USAGE', `tag can't be used with --all-tags/-a`, {
      hint: `slipway ${verb} --all-tags ${reference.repository}`,
    });
  }
  return reference;
}

type Tell = (event: TransferEvent) => void | Promise<void>;

async function pullAll(
  parts: ApiParts,
  reference: Reference,
  allTags: boolean,
  options: Pick<import('../client/pull.ts').PullRequest, 'platform' | 'signal'>,
  tell: Tell,
): Promise<void> {
  const { pullImage } = await import('../client/pull.ts');
  const client = (await parts.remotes()).registry(reference.host, reference.path);
  if (!allTags) {
    await pullImage(parts, client, { ...options, reference, onEvent: tell });
    return;
  }
  let fresh = false;
  const { signal } = options;
  for await (const tag of client.tags(reference.path, signal)) {
    const pulled = await pullImage(parts, client, {
      ...options,
      reference: { ...reference, tag },
      onEvent: (event) => (event.kind === 'done' ? undefined : tell(event)),
    });
    fresh ||= pulled.fresh;
  }
  await tell({ kind: 'done', name: reference.repository, canonical: `${reference.host}/${reference.path}`, fresh });
}

async function pushAll(
  parts: ApiParts,
  reference: Reference,
  allTags: boolean,
  options: Pick<import('../client/push.ts').PushRequest, 'platform' | 'signal'>,
  tell: Tell,
): Promise<void> {
  const { pushImage } = await import('../client/push.ts');
  const client = (await parts.remotes()).registry(reference.host, reference.path);
  const absent = (): SlipwayError =>
    new SlipwayError('NOT_FOUND', `An image does not exist locally with the tag: ${reference.repository}`, {
      hint: 'See what there is with `slipway images`, and name an image with `slipway tag IMAGE NAME`.',
    });
  const first = await parts.catalog.tags(reference.repository, { limit: 1 });
  if (first === undefined || first.length === 0) throw absent();
  if (!allTags) {
    await pushImage(parts, client, { ...options, reference: { ...reference, tag: reference.tag ?? 'latest' }, onEvent: tell });
    return;
  }
  let after: string | undefined;
  let begun = false;
  for (;;) {
    const page = await parts.catalog.tags(reference.repository, { limit: 100, ...(after === undefined ? {} : { after }) });
    for (const { tag } of page ?? []) {
      const started = begun;
      await pushImage(parts, client, {
        ...options,
        reference: { ...reference, tag },
        onEvent: (event) => (event.kind === 'done' || (event.kind === 'pushing' && started) ? undefined : tell(event)),
      });
      begun = true;
    }
    after = page?.at(-1)?.tag;
    if (page === undefined || page.length < 100) break;
  }
  await tell({ kind: 'done', name: reference.repository, canonical: `${reference.host}/${reference.path}`, fresh: true });
}

/** Runs the work, telling the follower; when the follower goes away the work is cancelled. */
async function* follow(
  request: ApiRequest,
  work: (tell: Tell, signal: AbortSignal) => Promise<void>,
): AsyncGenerator<TransferEvent> {
  const gone = new AbortController();
  const signal = request.signal === undefined ? gone.signal : AbortSignal.any([request.signal, gone.signal]);
  const channel = new Channel<TransferEvent>();
  const told = new Map<string, number>();
  const tell: Tell = (event) => {
    if (event.kind === 'layer' && event.current !== undefined) {
      const key = shortDigest(event.digest);
      const last = told.get(key) ?? 0;
      if (event.current !== event.total && event.current >= last && event.current - last < tellEvery) return;
      told.set(key, event.current);
    }
    return channel.push(event);
  };
  const done = work(tell, signal).finally(() => channel.end());
  // Awaited below, when all that was told has been read.
  done.catch(() => undefined);
  try {
    yield* channel.read();
    await done;
  } finally {
    gone.abort();
  }
}
