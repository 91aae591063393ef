// Pull and push over the control API: the request names an image. A home whose requests may last answers with the transfer's events as
// NDJSON, one a line, and the transfer ends with the request. Behind a gateway, which waits half a minute, it is carried out elsewhere: the
// answer is 202 and names it, and its events are followed as those of a build are (transfers.ts).
import * as z from 'zod/mini';
import { Channel } from '../build/channel.ts';
import { shortDigest, type TransferEvent } from '../client/transfer-events.ts';
import { SlipwayError } from '../errors.ts';
import { hostPlatform } from '../oci/platform.ts';
import { provenStore } from '../transfer/proven-store.ts';
import { carryOut, type Login, type Tell, type Transfer, transferOf, type Verb } from '../transfer/transfer.ts';
import { type Access, readable } from './access.ts';
import { type ApiRequest, type ApiResponse, json, ndjson, readJson } from './http.ts';
import type { ApiParts } from './parts.ts';
import { type Call, type Route, route } from './router.ts';
import { checked } from './schema.ts';

/** What the other registry is told of who asks, as docker's config.json has it. */
const login = z.object({
  username: z.optional(z.string()),
  password: z.optional(z.string()),
  identityToken: z.optional(z.string()),
  registryToken: z.optional(z.string()),
});

export const transferRequest = z.object({
  /** `[HOST[:PORT]/]PATH[:TAG][@DIGEST]` */
  reference: z.string(),
  /** `os/architecture[/variant]`; a pull takes the home's own without it, a push everything. */
  platform: z.optional(z.string()),
  /** All tags of the repository; the reference has none then. */
  allTags: z.optional(z.boolean()),
  /** Where it is answered with 202: the same one starts nothing twice. */
  clientToken: z.optional(z.string().check(z.minLength(1), z.maxLength(200))),
  /** Used for the other registry, and not kept. */
  login: z.optional(login),
});
export type TransferRequest = z.infer<typeof transferRequest>;

/** The answer with 202. */
export interface StartedTransfer {
  readonly id: string;
}

/** How much of a layer moves before its progress is told again, in bytes. */
const tellEvery = 512 * 1024;

export function transferRoutes(parts: ApiParts): readonly Route[] {
  return [
    route('POST', '/api/v1/images/pull', (call) => answer(parts, 'pull', call)),
    route('POST', '/api/v1/images/push', (call) => answer(parts, 'push', call)),
  ];
}

async function answer(parts: ApiParts, verb: Verb, { request, access }: Call): Promise<ApiResponse> {
  const { clientToken, login: given, ...asked } = checked(transferRequest, await readJson(request), `${verb} request`);
  const transfer = transferOf(verb, asked);
  const { reference } = transfer;
  if (reference.host === parts.host) {
    throw new SlipwayError('USAGE', `${asked.reference} is an image of this very home`, {
      hint: `There is nothing to ${verb}: what this home has is in its registry. slipway tag gives it another name.`,
    });
  }
  checkTransfer(access, verb, reference.repository);
  const { caller } = access;
  // The logins of a home are its own user's: a caller with scopes brings one, or is nobody there.
  const who = given ?? (caller === undefined ? undefined : ('nobody' as const));
  // Who may have the list of all repositories may pull from all of them.
  const reads =
    caller === undefined || access.allows('catalog') ? undefined : [...new Set([reference.repository, ...readable(caller)])];
  if (parts.transfers !== undefined) {
    const started: StartedTransfer = {
      id: await (await parts.transfers()).start(verb, asked, {
        ...(clientToken === undefined ? {} : { clientToken }),
        ...(caller === undefined ? {} : { by: caller.name }),
        ...(reads === undefined ? {} : { reads }),
        login: who ?? 'nobody',
      }),
    };
    return json(started, 202);
  }
  const work = await prepared(parts, transfer, who, reads);
  return ndjson(follow(request, work));
}

/**
 * What a transfer takes, and watching and stopping one: a pull gives tags in the repository, a push reads what is in it. What may be done
 * at the other registry is that one's affair.
 */
export const checkTransfer = (access: Access, verb: Verb, repository: string): void =>
  access.require({ name: repository, action: verb === 'pull' ? 'push' : 'pull' });

type Work = (tell: Tell, signal: AbortSignal) => Promise<void>;

async function prepared(
  parts: ApiParts,
  transfer: Transfer,
  who: Login | undefined,
  reads: readonly string[] | undefined,
): Promise<Work> {
  const { host, path } = transfer.reference;
  return async (tell, signal) => {
    using _working = parts.working?.();
    const remotes = await parts.remotes();
    const client =
      who === undefined ? remotes.registry(host, path) : remotes.registryFor(who === 'nobody' ? undefined : who, host);
    const store = reads === undefined ? parts : provenStore(parts, reads);
    await carryOut({ blobs: store.blobs, catalog: store.catalog, client, home: hostPlatform() }, transfer, tell, signal);
  };
}

/** Runs the work, telling the follower; when the follower goes away the work is cancelled. */
async function* follow(request: ApiRequest, work: Work): AsyncGenerator<TransferEvent> {
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
