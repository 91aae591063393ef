// Push (F21): what the registry lacks of an image, layers at the same time, then the config, then the manifest, the tag last.
import { isCode, SlipwayError, throwIfCancelled } from '../errors.ts';
import { configLimit, parseConfig } from '../oci/config.ts';
import type { Descriptor } from '../oci/descriptor.ts';
import type { Digest } from '../oci/digest.ts';
import { childrenOf, isForeign, type ManifestOrIndex, manifestLimit, parseManifestOrIndex } from '../oci/manifest.ts';
import { mediaType } from '../oci/media-type.ts';
import { choosePlatform, formatPlatform, type Platform, samePlatform } from '../oci/platform.ts';
import { canonical, familiar, type Reference } from '../oci/reference.ts';
import { collect } from '../stream/collect.ts';
import { eachOf } from './limit.ts';
import { type ImageStore, otherPlatform } from './local-image.ts';
import type { OutgoingBlob, RegistryClient, RemoteManifest } from './registry-client.ts';
import type { OnTransfer } from './transfer-events.ts';

/** Docker's number. */
const layersAtOnce = 5;
/** Repositories of the same registry that are looked at for a layer to mount. */
const mountCandidates = 50;
/** How often progress is told, in bytes. */
const tellEvery = 512 * 1024;

export interface PushRequest {
  /** With the tag to push. */
  readonly reference: Reference & { readonly tag: string };
  /** Of an index, this platform alone. */
  readonly platform?: Platform;
  readonly onEvent?: OnTransfer;
  readonly signal?: AbortSignal;
}

interface Document extends RemoteManifest {
  readonly parsed: ManifestOrIndex;
}

/**
 * Sends one tag. Errors: NOT_FOUND (no such tag here, or its index is not whole here), DENIED, UNAUTHORIZED, UPSTREAM. The tag there is
 * moved only after everything it needs is there.
 */
export async function pushImage(store: ImageStore, client: RegistryClient, request: PushRequest): Promise<RemoteManifest> {
  const { reference, onEvent, signal } = request;
  const { path, tag } = reference;
  onEvent?.({ kind: 'pushing', repository: `${reference.host}/${path}` });
  let top: RemoteManifest;
  try {
    top = await pushContents(store, client, request);
    await client.putManifest(path, tag, top, signal);
  } catch (error) {
    throwIfCancelled(signal);
    if (!isCode(error, 'UNAUTHORIZED', 'DENIED') || error.hint !== undefined) throw error;
    throw new SlipwayError('DENIED', error.message, {
      hint: `Log in with an account that may push there: slipway login ${reference.host}, or docker login ${reference.host}`,
      cause: error,
    });
  }
  onEvent?.({ kind: 'pushed', tag, digest: top.digest, size: top.bytes.length });
  onEvent?.({ kind: 'done', name: familiar(reference), canonical: canonical(reference), fresh: true });
  return top;
}

/**
 * Sends everything that a tag needs, and neither the tag nor what it points at: that is the answer, for RegistryClient.putManifest. So
 * several tags can be moved when all they need is there. Errors: as pushImage.
 */
export async function pushContents(store: ImageStore, client: RegistryClient, request: PushRequest): Promise<RemoteManifest> {
  const { reference, platform } = request;
  const record = await store.catalog.resolve(reference.repository, reference.tag);
  if (record === undefined) throw new SlipwayError('NOT_FOUND', `tag does not exist: ${familiar(reference)}`);
  let top = await load(store, record.digest, record.mediaType);
  if (platform !== undefined) top = await only(store, top, platform, reference);
  await sendTree(store, client, request, top);
  return top;
}

async function load({ blobs }: ImageStore, digest: Digest, mediaType: string): Promise<Document> {
  const blob = await blobs.open(digest);
  if (blob === undefined) throw new SlipwayError('STORE', `the manifest ${digest} is not in the store any more`);
  const bytes = await collect(blob.body, manifestLimit, digest);
  return { digest, mediaType, bytes, parsed: parseManifestOrIndex(bytes, mediaType) };
}

async function only(store: ImageStore, top: Document, platform: Platform, reference: Reference): Promise<Document> {
  if (top.parsed.kind === 'manifest') {
    const { config } = top.parsed.manifest;
    // Of an artifact nobody can say what it is for.
    if (config.mediaType !== mediaType.ociConfig && config.mediaType !== mediaType.dockerConfig) return top;
    const blob = await store.blobs.open(config.digest);
    if (blob === undefined) throw new SlipwayError('STORE', `the config ${config.digest} is not in the store any more`);
    const image = parseConfig(await collect(blob.body, configLimit, config.digest));
    if (!samePlatform(platform, image)) throw otherPlatform(reference, platform, image);
    return top;
  }
  const found = choosePlatform(top.parsed.index.manifests, platform, true);
  if (found === undefined) {
    throw new SlipwayError('NOT_FOUND', `${familiar(reference)} has no image for ${formatPlatform(platform)}`);
  }
  return only(store, await load(store, found.digest, found.mediaType), platform, reference);
}

/** Everything below a document, and the documents below it; the document itself is the caller's to put. */
async function sendTree(store: ImageStore, client: RegistryClient, request: PushRequest, top: Document): Promise<void> {
  const { reference, onEvent, signal } = request;
  // A registry that has the manifest has what it needs: a second tag of one image moves nothing.
  const known = await client.resolve(reference.path, top.digest, signal);
  if (top.parsed.kind === 'index') {
    if (known !== undefined) return;
    for (const member of top.parsed.index.manifests) {
      const document = await load(store, member.digest, member.mediaType);
      await sendTree(store, client, request, document);
      await client.putManifest(reference.path, document.digest, document, signal);
    }
    return;
  }
  const { config } = top.parsed.manifest;
  const layers = [...new Map(childrenOf(top.parsed).map((blob) => [blob.digest, blob])).values()].filter((b) => b !== config);
  for (const { digest } of layers)
    onEvent?.({ kind: 'layer', digest, state: known === undefined ? 'Preparing' : 'Layer already exists' });
  if (known !== undefined) return;
  await eachOf(layers, layersAtOnce, signal, (layer, either) => sendLayer(store, client, request, layer, either));
  if (!(await client.hasBlob(reference.path, config.digest, signal))) {
    await client.upload(reference.path, await outgoing(store, config, signal), signal === undefined ? {} : { signal });
  }
}

async function sendLayer(
  store: ImageStore,
  client: RegistryClient,
  { reference, onEvent }: PushRequest,
  layer: Descriptor,
  signal: AbortSignal,
): Promise<void> {
  const { path } = reference;
  const { digest, size } = layer;
  if (isForeign(layer)) {
    onEvent?.({ kind: 'layer', digest, state: 'Skipped foreign layer' });
    return;
  }
  if (await client.hasBlob(path, digest, signal)) {
    onEvent?.({ kind: 'layer', digest, state: 'Layer already exists' });
    return;
  }
  const from = await mountFrom(store, reference, digest);
  let told = 0;
  const done = await client.upload(path, await outgoing(store, layer, signal), {
    signal,
    ...(from === undefined ? {} : { from }),
    onBytes: (current) => {
      if (Math.abs(current - told) < tellEvery && current !== size) return;
      told = current;
      onEvent?.({ kind: 'layer', digest, state: 'Pushing', current, total: size });
    },
  });
  onEvent?.({
    kind: 'layer',
    digest,
    ...(done === 'mounted' && from !== undefined ? { state: 'Mounted from', from } : { state: 'Pushed' }),
  });
}

async function outgoing(
  { blobs }: ImageStore,
  { digest, size }: Descriptor,
  signal: AbortSignal | undefined,
): Promise<OutgoingBlob> {
  const options = signal === undefined ? {} : { signal };
  const stat = await blobs.stat(digest, options);
  if (stat === undefined) throw new SlipwayError('STORE', `the blob ${digest} is not in the store any more`);
  return {
    digest,
    size,
    open: async (start) => {
      const blob = await blobs.open(digest, start === 0 ? undefined : { start }, options);
      if (blob === undefined) throw new SlipwayError('STORE', `the blob ${digest} is not in the store any more`);
      return blob.body;
    },
  };
}

/** Another repository of the same registry that we know to have the layer: what was pulled from there or pushed there. */
async function mountFrom({ catalog }: ImageStore, reference: Reference, digest: Digest): Promise<string | undefined> {
  const { host, repository } = reference;
  const prefix = host === 'docker.io' ? '' : `${host}/`;
  let after = prefix === '' ? undefined : prefix;
  for (let seen = 0; seen < mountCandidates; ) {
    const page = await catalog.repositories({ limit: mountCandidates, ...(after === undefined ? {} : { after }) });
    for (const name of page) {
      seen++;
      if (!name.startsWith(prefix)) return undefined;
      // Names of other hosts lie among the short ones of Docker Hub.
      if (prefix === '' && /^[^/]*[.:][^/]*\/|^localhost\//.test(name)) continue;
      if (name === repository || (await catalog.linked(name, digest)) === undefined) continue;
      return prefix === '' && !name.includes('/') ? `library/${name}` : name.slice(prefix.length);
    }
    if (page.length < mountCandidates) return undefined;
    after = page.at(-1);
  }
  return undefined;
}
