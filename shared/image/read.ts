// Reading an image from the blobs: documents, the choice of a platform, config and layers.
import { readFileSync, statSync } from 'node:fs';
import { SlipwayError } from '../errors.ts';
import type { Layer } from '../layer/layer.ts';
import { configLimit, type ImageConfig, parseConfig } from '../oci/config.ts';
import type { Descriptor } from '../oci/descriptor.ts';
import type { Digest } from '../oci/digest.ts';
import { type ImageManifest, type ManifestOrIndex, manifestLimit, parseManifestOrIndex } from '../oci/manifest.ts';
import { mediaType } from '../oci/media-type.ts';
import { choosePlatform, formatPlatform, hostPlatform, type Platform } from '../oci/platform.ts';
import type { Options, ReadableBlobs } from '../store/blobs.ts';
import { mapBounded } from '../store/bounded.ts';
import { collect } from '../stream/collect.ts';

/** A manifest or index as it is stored. */
export interface Stored {
  readonly digest: Digest;
  readonly bytes: Uint8Array;
  readonly document: ManifestOrIndex;
}

export interface Image {
  /** The manifest's digest, also when it was reached through an index. */
  readonly digest: Digest;
  readonly mediaType: string;
  /** Bytes of the manifest document. */
  readonly size: number;
  readonly manifest: ImageManifest;
  readonly config: ImageConfig;
  /** Bottom first. */
  readonly layers: readonly Layer[];
}

/** Nested indexes deeper than this are refused. */
export const nestingLimit = 4;

const imageConfigTypes: readonly string[] = [mediaType.ociConfig, mediaType.dockerConfig];

/** Whether a manifest is of an image that can be run, and not of some artifact (a chart, a signature, an attestation). */
export const isImageManifest = (manifest: ImageManifest): boolean => imageConfigTypes.includes(manifest.config.mediaType);

/** The bytes of a small blob. NOT_FOUND when the store has lost it. */
export async function readBlob(
  blobs: ReadableBlobs,
  digest: Digest,
  limit: number,
  what: string,
  options?: Options,
): Promise<Uint8Array> {
  const file = blobs.local?.path(digest);
  // Without a stream: documents are small, and a cached build reads nothing else.
  if (file !== undefined && statSync(file).size <= limit) return readFileSync(file);
  const blob = await blobs.open(digest, undefined, options);
  if (blob === undefined) {
    throw new SlipwayError('NOT_FOUND', `the ${what} ${digest} is not stored here`, { details: { missing: [digest] } });
  }
  return await collect(blob.body, limit, `the ${what} ${digest}`);
}

/** The manifest or index of this digest. */
export async function readStored(blobs: ReadableBlobs, digest: Digest, type?: string, options?: Options): Promise<Stored> {
  const bytes = await readBlob(blobs, digest, manifestLimit, 'manifest', options);
  return { digest, bytes, document: parseManifestOrIndex(bytes, type) };
}

/** `undefined` when the store does not have it: members of an index may be elsewhere. */
export async function readIfStored(
  blobs: ReadableBlobs,
  digest: Digest,
  type?: string,
  options?: Options,
): Promise<Stored | undefined> {
  return (await blobs.stat(digest, options)) === undefined ? undefined : await readStored(blobs, digest, type, options);
}

export interface Choice {
  /** Default: that of this machine. */
  readonly platform?: Platform;
}

/**
 * The image of a manifest's or index's digest. Of an index: the member for the platform asked for; when none was asked for, the best
 * for this machine, else the only image there is.
 * @throws NOT_FOUND when there is no such member; INVALID_DOCUMENT when the documents contradict each other; UNSUPPORTED for artifacts
 */
export async function openImage(blobs: ReadableBlobs, digest: Digest, choice: Choice = {}, options?: Options): Promise<Image> {
  let stored = await readStored(blobs, digest, undefined, options);
  for (let depth = 0; stored.document.kind === 'index'; depth++) {
    if (depth === nestingLimit)
      throw new SlipwayError('INVALID_DOCUMENT', `${digest}: indexes are nested more than ${nestingLimit} deep`);
    const member = chooseMember(stored.document.index.manifests, choice.platform, digest);
    stored = await readStored(blobs, member.digest, member.mediaType, options);
  }
  return await imageOf(blobs, stored, choice.platform, options);
}

function chooseMember(members: readonly Descriptor[], asked: Platform | undefined, index: Digest): Descriptor {
  const images = members.filter(isRunnable);
  const only = images.length === 1 ? images[0] : undefined;
  // An only member without a platform may be an index inside the index: what is in it is asked next.
  const fallback = asked === undefined || only?.platform === undefined ? only : undefined;
  const chosen = choosePlatform(images, asked ?? hostPlatform()) ?? fallback;
  if (chosen) return chosen;
  const there = images.flatMap(({ platform }) => (platform ? [formatPlatform(platform)] : []));
  throw new SlipwayError('NOT_FOUND', `${index} has no image for ${formatPlatform(asked ?? hostPlatform())}`, {
    hint: there.length > 0 ? `It has ${there.join(', ')}: choose one with --platform.` : 'It has no images at all.',
    details: { platforms: there },
  });
}

/** BuildKit puts attestations into an index as members of the platform unknown/unknown. */
export const isRunnable = ({ platform }: Descriptor): boolean => platform?.os !== 'unknown';

async function imageOf(
  blobs: ReadableBlobs,
  { digest, bytes, document }: Stored,
  asked?: Platform,
  options?: Options,
): Promise<Image> {
  if (document.kind !== 'manifest') throw new SlipwayError('INTERNAL', `${digest} is an index`);
  const { manifest, mediaType: type } = document;
  if (!isImageManifest(manifest)) {
    throw new SlipwayError(
      'UNSUPPORTED',
      `${digest} is an artifact (${manifest.artifactType ?? manifest.config.mediaType}), not an image`,
    );
  }
  const config = parseConfig(await readBlob(blobs, manifest.config.digest, configLimit, 'config', options));
  if (asked && !choosePlatform([{ platform: config }], asked)) {
    throw new SlipwayError('NOT_FOUND', `${digest} is for ${formatPlatform(config)}, not for ${formatPlatform(asked)}`);
  }
  return { digest, mediaType: type, size: bytes.length, manifest, config, layers: pairLayers(manifest, config, digest) };
}

/** Layers with their diffIDs; INVALID_DOCUMENT when manifest and config do not agree on how many there are. */
export function pairLayers(manifest: ImageManifest, config: ImageConfig, digest: Digest): readonly Layer[] {
  const diffIds = config.rootfs.diff_ids;
  if (manifest.layers.length !== diffIds.length) {
    throw new SlipwayError(
      'INVALID_DOCUMENT',
      `image ${digest}: the manifest has ${manifest.layers.length} layers, the config ${diffIds.length} diff_ids`,
    );
  }
  return manifest.layers.map((descriptor, i) => ({ descriptor, diffId: diffIds[i]! }));
}

/**
 * Everything an image or index needs is stored with the size its descriptors say, and its documents agree. Answers what is missing;
 * documents that cannot be read are thrown.
 */
export async function validate(blobs: ReadableBlobs, digest: Digest, options?: Options): Promise<readonly Digest[]> {
  const missing: Digest[] = [];
  const seen = new Set<Digest>();
  const visit = async (wanted: Digest, type: string | undefined, depth: number): Promise<void> => {
    if (seen.has(wanted)) return;
    seen.add(wanted);
    if (depth > nestingLimit)
      throw new SlipwayError('INVALID_DOCUMENT', `${digest}: indexes are nested more than ${nestingLimit} deep`);
    const stored = await readIfStored(blobs, wanted, type, options);
    if (stored === undefined) {
      missing.push(wanted);
    } else if (stored.document.kind === 'index') {
      for (const member of stored.document.index.manifests) await visit(member.digest, member.mediaType, depth + 1);
    } else {
      missing.push(...(await lacking(blobs, stored.document.manifest, wanted, options)));
    }
  };
  await visit(digest, undefined, 0);
  return missing;
}

async function lacking(
  blobs: ReadableBlobs,
  manifest: ImageManifest,
  digest: Digest,
  options?: Options,
): Promise<readonly Digest[]> {
  const wanted = [manifest.config, ...manifest.layers];
  const stats = await mapBounded(wanted, (descriptor) => blobs.stat(descriptor.digest, options));
  const missing = wanted.filter((descriptor, i) => stats[i]?.size !== descriptor.size).map((descriptor) => descriptor.digest);
  if (isImageManifest(manifest) && !missing.includes(manifest.config.digest)) {
    pairLayers(manifest, parseConfig(await readBlob(blobs, manifest.config.digest, configLimit, 'config', options)), digest);
  }
  return missing;
}
