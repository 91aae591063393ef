// A pull from another registry, or a push to one: what is asked for, and doing it. The same wherever it runs.
import type { Credentials } from '../auth/credentials.ts';
import type { ImageStore } from '../client/local-image.ts';
import type { RegistryClient } from '../client/registry-client.ts';
import type { TransferEvent } from '../client/transfer-events.ts';
import { SlipwayError } from '../errors.ts';
import { hostPlatform, type Platform, parsePlatform } from '../oci/platform.ts';
import { parseReference, type Reference, reserved, withDefaultTag } from '../oci/reference.ts';
import type { Catalog } from '../store/catalog.ts';

export type Verb = 'pull' | 'push';

export interface TransferRequest {
  /** `[HOST[:PORT]/]PATH[:TAG][@DIGEST]` */
  readonly reference: string;
  /** `os/architecture[/variant]`; a pull takes the home's own without it, a push everything. */
  readonly platform?: string | undefined;
  /** All tags of the repository; the reference has none then. */
  readonly allTags?: boolean | undefined;
}

export interface Transfer {
  readonly verb: Verb;
  readonly reference: Reference;
  readonly allTags: boolean;
  /** As asked for by name. */
  readonly platform?: Platform;
}

export interface TransferParts extends ImageStore {
  readonly catalog: ImageStore['catalog'] & Pick<Catalog, 'tags'>;
  /** Of the registry that the reference names. */
  readonly client: RegistryClient;
  /** What a pull takes of an image for several platforms when none was asked for. */
  readonly home: Platform;
}

/** Who the other registry is told is asking; `nobody`: an anonymous caller, whatever logins the home has. */
export type Login = Credentials | 'nobody';

export type Tell = (event: TransferEvent) => void | Promise<void>;

/** What a request asks for. USAGE, INVALID_REFERENCE or INVALID_PLATFORM when it makes no sense. */
export function transferOf(verb: Verb, asked: TransferRequest): Transfer {
  const reference = named(asked, verb);
  if (verb === 'push' && reference.digest !== undefined) {
    throw new SlipwayError('INVALID_REFERENCE', 'cannot push a digest reference');
  }
  const platform = asked.platform === undefined ? {} : { platform: parsePlatform(asked.platform, hostPlatform()) };
  return { verb, reference, allTags: asked.allTags === true, ...platform };
}

function named(asked: TransferRequest, verb: Verb): Reference {
  const reference = parseReference(asked.reference);
  if (reference.repository === 'scratch') throw reserved();
  if (asked.allTags !== true) return withDefaultTag(reference);
  if (reference.tag !== undefined || reference.digest !== undefined) {
    throw new SlipwayError('USAGE', `tag can't be used with --all-tags/-a`, {
      hint: `slipway ${verb} --all-tags ${reference.repository}`,
    });
  }
  return reference;
}

/** Does it. What `tell` answers is not waited for, but at the end. A tag moves when all it needs is there, here as elsewhere. */
export const carryOut = (parts: TransferParts, transfer: Transfer, tell: Tell, signal: AbortSignal): Promise<void> =>
  transfer.verb === 'pull' ? pullAll(parts, transfer, tell, signal) : pushAll(parts, transfer, tell, signal);

async function pullAll(
  parts: TransferParts,
  { reference, allTags, platform: asked }: Transfer,
  tell: Tell,
  signal: AbortSignal,
): Promise<void> {
  const { pullImage } = await import('../client/pull.ts');
  const { client, home } = parts;
  const platform = asked === undefined ? { wanted: home, strict: false } : { wanted: asked, strict: true };
  if (!allTags) {
    await pullImage(parts, client, { platform, signal, reference, onEvent: tell });
    return;
  }
  let fresh = false;
  for await (const tag of client.tags(reference.path, signal)) {
    const pulled = await pullImage(parts, client, {
      platform,
      signal,
      reference: { ...reference, tag },
      onEvent: (event) => (event.kind === 'done' ? undefined : tell(event)),
    });
    fresh ||= pulled.fresh;
  }
  await tell({ kind: 'done', name: reference.repository, canonical: `${reference.host}/${reference.path}`, fresh });
}

async function pushAll(
  parts: TransferParts,
  { reference, allTags, platform: asked }: Transfer,
  tell: Tell,
  signal: AbortSignal,
): Promise<void> {
  const { pushImage } = await import('../client/push.ts');
  const { client, catalog } = parts;
  const options = { ...(asked === undefined ? {} : { platform: asked }), signal };
  const absent = (): SlipwayError =>
    new SlipwayError('NOT_FOUND', `An image does not exist locally with the tag: ${reference.repository}`, {
      hint: 'See what there is with `slipway images`, and name an image with `slipway tag IMAGE NAME`.',
    });
  const first = await catalog.tags(reference.repository, { limit: 1 });
  if (first === undefined || first.length === 0) throw absent();
  if (!allTags) {
    await pushImage(parts, client, { ...options, reference: { ...reference, tag: reference.tag ?? 'latest' }, onEvent: tell });
    return;
  }
  let after: string | undefined;
  let begun = false;
  for (;;) {
    const page = await catalog.tags(reference.repository, { limit: 100, ...(after === undefined ? {} : { after }) });
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
