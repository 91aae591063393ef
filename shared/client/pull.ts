// Pull (F10): a name to a manifest, an index to one platform, then the layers that are missing, then one commit. Until that commit
// there is no image.
import { isCode, SlipwayError, throwIfCancelled } from '../errors.ts';
import type { Layer } from '../layer/layer.ts';
import { configLimit, parseConfig } from '../oci/config.ts';
import type { Descriptor } from '../oci/descriptor.ts';
import type { Digest } from '../oci/digest.ts';
import { type ImageIndex, type ImageManifest, isForeign, manifestLimit, parseManifestOrIndex } from '../oci/manifest.ts';
import { mediaType } from '../oci/media-type.ts';
import { choosePlatform, formatPlatform, type Platform, samePlatform } from '../oci/platform.ts';
import { canonical, familiar, type Reference } from '../oci/reference.ts';
import type { Bytes } from '../store/blobs.ts';
import { collect } from '../stream/collect.ts';
import { counted } from '../stream/counted.ts';
import { eachOf } from './limit.ts';
import { type ImageStore, localDocument, localIndex, otherPlatform } from './local-image.ts';
import type { RegistryClient, RemoteManifest } from './registry-client.ts';
import type { OnTransfer } from './transfer-events.ts';

/** Docker's number. */
const layersAtOnce = 3;
/** An index may hold indexes; more levels than this nobody makes in earnest. */
const indexLevels = 4;

export interface PullRequest {
  /** With a tag or a digest: see withDefaultTag. When it has both, the digest decides (F13) and no tag is set. */
  readonly reference: Reference;
  /** The platform asked for by name (then nothing else will do), or the machine's own. */
  readonly platform: { readonly wanted: Platform; readonly strict: boolean };
  readonly onEvent?: OnTransfer;
  /** Sees the bytes of each layer that is fetched, on their way into the store; answers what is to be stored: the same bytes. */
  readonly tap?: (layer: Layer, bytes: Bytes) => Bytes;
  readonly signal?: AbortSignal;
}

export interface Pulled {
  /** The manifest that the home now has. */
  readonly image: Digest;
  /** What the registry has under the name: the index, where there is one. */
  readonly digest: Digest;
  /** False when everything was there already. */
  readonly fresh: boolean;
}

/**
 * Brings one image into the home. Errors: NOT_FOUND (docker's words), DENIED (refused or not there: the registry does not tell), UPSTREAM,
 * TOO_MANY_REQUESTS, DIGEST_MISMATCH, SIZE_MISMATCH, INVALID_DOCUMENT, INVALID_PLATFORM. After any of them nothing is named anew.
 */
export async function pullImage(store: ImageStore, client: RegistryClient, request: PullRequest): Promise<Pulled> {
  const { reference, onEvent, signal } = request;
  const wanted = reference.digest ?? reference.tag ?? 'latest';
  const shown = reference.digest === undefined ? wanted : canonical({ ...reference, tag: undefined } as Reference);
  onEvent?.({ kind: 'pulling', reference: shown, path: reference.path });
  try {
    const pulled = await pull(store, client, request, wanted);
    onEvent?.({ kind: 'pulled', ...pulled });
    const named = reference.digest === undefined ? reference : ({ ...reference, tag: undefined } as Reference);
    onEvent?.({ kind: 'done', name: familiar(named), canonical: canonical(named), fresh: pulled.fresh });
    return pulled;
  } catch (error) {
    throwIfCancelled(signal);
    throw inDockersWords(error, reference);
  }
}

async function pull(store: ImageStore, client: RegistryClient, request: PullRequest, wanted: string): Promise<Pulled> {
  const { reference, platform, signal } = request;
  const { repository, path } = reference;
  const tag = reference.digest === undefined ? (reference.tag ?? 'latest') : undefined;
  // HEAD does not count as a pull where pulls are counted.
  const digest = reference.digest ?? (await client.resolve(path, wanted, signal))?.digest;
  if (digest === undefined) throw manifestUnknown(reference);
  const before = await store.catalog.resolve(repository, tag ?? digest);

  const indexes: RemoteManifest[] = [];
  let at: Digest = digest;
  let document = await find(store, client, reference, at, signal);
  while (document.kind === 'index') {
    if (indexes.length === indexLevels)
      throw new SlipwayError('INVALID_DOCUMENT', `${familiar(reference)}: indexes within indexes`);
    indexes.push(document.source);
    const member = choose(document.index, platform, reference);
    at = member.digest;
    document = await find(store, client, reference, at, signal, member);
  }
  const { manifest, source } = document;
  const present = await store.catalog.resolve(repository, at);
  if (present !== undefined) {
    await checkPlatform(store, manifest, platform, reference);
  } else {
    await fetchBlobs(store, client, request, manifest);
  }
  for (const index of indexes) await keep(store, repository, index);
  if (present === undefined || (tag !== undefined && before?.digest !== at)) {
    const commit = { bytes: source.bytes, mediaType: source.mediaType, digest: at, by: 'pull' };
    await store.catalog.commit(repository, tag === undefined ? commit : { ...commit, tags: [tag] });
  }
  const fresh = present === undefined || (tag !== undefined && before?.digest !== at);
  return { image: at, digest, fresh };
}

type Found = { readonly source: RemoteManifest } & (
  | { readonly kind: 'index'; readonly index: ImageIndex }
  | { readonly kind: 'manifest'; readonly manifest: ImageManifest }
);

/** A document by digest, from the home when it is there. */
async function find(
  store: ImageStore,
  client: RegistryClient,
  reference: Reference,
  digest: Digest,
  signal: AbortSignal | undefined,
  member?: Descriptor,
): Promise<Found> {
  const { repository, path } = reference;
  const record = await store.catalog.resolve(repository, digest);
  if (record !== undefined) {
    const blob = await store.blobs.open(digest);
    if (blob !== undefined) {
      const bytes = await collect(blob.body, manifestLimit, digest);
      return { source: { digest, mediaType: record.mediaType, bytes }, ...parseManifestOrIndex(bytes, record.mediaType) };
    }
  }
  const index = await localIndex(store, repository, digest);
  if (index !== undefined) {
    const bytes = (await localDocument(store, repository, digest)) as Uint8Array;
    return { kind: 'index', index, source: { digest, mediaType: index.mediaType ?? mediaType.ociIndex, bytes } };
  }
  const remote = await client.manifest(path, digest, signal);
  if (remote === undefined) throw manifestUnknown(reference);
  if (member !== undefined && member.size !== remote.bytes.length) {
    throw new SlipwayError('SIZE_MISMATCH', `${digest}: ${remote.bytes.length} bytes, the index says ${member.size}`);
  }
  const document = parseManifestOrIndex(remote.bytes, knownType(remote.mediaType));
  return { source: { ...remote, mediaType: document.mediaType }, ...document };
}

/** A registry that serves manifests as plain JSON leaves the type to the document. */
const knownType = (type: string): string | undefined => (type.startsWith('application/vnd.') ? type : undefined);

function choose(index: ImageIndex, platform: PullRequest['platform'], reference: Reference): Descriptor {
  const found = choosePlatform(index.manifests, platform.wanted, platform.strict);
  if (found !== undefined) return found;
  const offered = [...new Set(index.manifests.flatMap((m) => (m.platform === undefined ? [] : [formatPlatform(m.platform)])))];
  const known = offered.filter((name) => name !== 'unknown/unknown');
  throw new SlipwayError(
    'INVALID_PLATFORM',
    `no matching manifest for ${formatPlatform(platform.wanted)} in the manifest list entries of ${familiar(reference)}`,
    known.length === 0 ? {} : { hint: `It has ${known.slice(0, 20).join(', ')}: choose one with --platform.` },
  );
}

async function fetchBlobs(
  store: ImageStore,
  client: RegistryClient,
  { reference, platform, onEvent, tap, signal }: PullRequest,
  manifest: ImageManifest,
): Promise<void> {
  const { repository, path } = reference;
  const { config } = manifest;
  const layers = [...new Map(manifest.layers.map((layer) => [layer.digest, layer])).values()];
  const here = (await store.blobs.stat(config.digest)) !== undefined;
  if (!here) {
    const bytes = await client.document(path, config, configLimit, signal);
    await store.blobs.put(ReadableStream.from([bytes]), config, signal === undefined ? {} : { signal });
  }
  const diffIds = await checkPlatform(store, manifest, platform, reference);
  const missing: Descriptor[] = [];
  for (const layer of layers) {
    const { digest } = layer;
    if (isForeign(layer)) onEvent?.({ kind: 'layer', digest, state: 'Skipped foreign layer' });
    else if ((await store.blobs.stat(digest))?.size === layer.size) onEvent?.({ kind: 'layer', digest, state: 'Already exists' });
    else {
      onEvent?.({ kind: 'layer', digest, state: 'Pulling fs layer' });
      missing.push(layer);
    }
  }
  await eachOf(missing, layersAtOnce, signal, async (layer, either) => {
    const { digest, size } = layer;
    const bytes = counted(client.blob(path, layer, either), (current) =>
      onEvent?.({ kind: 'layer', digest, state: 'Downloading', current, total: size }),
    );
    const diffId = diffIds[manifest.layers.findIndex((one) => one.digest === digest)];
    const tapped = tap === undefined || diffId === undefined ? bytes : tap({ descriptor: layer, diffId }, bytes);
    await store.blobs.put(tapped, { digest, size }, { signal: either });
    onEvent?.({ kind: 'layer', digest, state: 'Download complete' });
  });
  for (const blob of [config, ...layers]) {
    if (!isForeign(blob)) await store.catalog.link(repository, blob.digest, blob.size);
  }
  for (const { digest } of missing) onEvent?.({ kind: 'layer', digest, state: 'Pull complete' });
}

/** The config agrees with its manifest, and with the platform when one was asked for by name. Answers its diffIDs; none of an artifact. */
async function checkPlatform(
  store: ImageStore,
  manifest: ImageManifest,
  { wanted, strict }: PullRequest['platform'],
  reference: Reference,
): Promise<readonly Digest[]> {
  const { config } = manifest;
  // An artifact's config is its own affair.
  if (config.mediaType !== mediaType.ociConfig && config.mediaType !== mediaType.dockerConfig) return [];
  const blob = await store.blobs.open(config.digest);
  if (blob === undefined) throw new SlipwayError('STORE', `the config ${config.digest} is gone`);
  const image = parseConfig(await collect(blob.body, configLimit, config.digest));
  if (image.rootfs.diff_ids.length !== manifest.layers.length) {
    throw new SlipwayError(
      'INVALID_DOCUMENT',
      `${familiar(reference)}: the config names ${image.rootfs.diff_ids.length} layers, the manifest ${manifest.layers.length}`,
    );
  }
  if (strict && !samePlatform(wanted, image)) throw otherPlatform(reference, wanted, image);
  return image.rootfs.diff_ids;
}

async function keep({ blobs, catalog }: ImageStore, repository: string, index: RemoteManifest): Promise<void> {
  await blobs.put(ReadableStream.from([index.bytes]), { digest: index.digest, size: index.bytes.length });
  await catalog.link(repository, index.digest, index.bytes.length);
}

const manifestUnknown = (reference: Reference): SlipwayError =>
  new SlipwayError('NOT_FOUND', `manifest for ${familiar(reference)} not found: manifest unknown: manifest unknown`);

/** F14, F15: what docker says, because people search for it. A registry that hides what it has must not be contradicted by us. */
function inDockersWords(error: unknown, reference: Reference): unknown {
  const name = reference.repository;
  if (isCode(error, 'UNAUTHORIZED', 'DENIED') && error.details?.address === undefined && error.details?.from === undefined) {
    return new SlipwayError(
      'DENIED',
      `pull access denied for ${name}, repository does not exist or may require 'docker login': ${error.message}`,
      {
        cause: error,
        hint:
          error.hint ??
          `Log in with an account that may pull it: slipway login ${reference.host}, or docker login ${reference.host}`,
      },
    );
  }
  if (isCode(error, 'NOT_FOUND') && error.details?.upstream === 'NAME_UNKNOWN') {
    return new SlipwayError('NOT_FOUND', `repository ${name} not found: ${error.message}`, { cause: error });
  }
  return error;
}
