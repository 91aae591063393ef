// Finding in the home what was pulled. Of an index a pull keeps one platform's image: the tag points at that image's manifest, and the
// index itself is kept as a linked blob, so that NAME@sha256:<digest of the index> is found again without asking the registry.
import { SlipwayError } from '../errors.ts';
import { type Digest, isDigest } from '../oci/digest.ts';
import { type ImageIndex, manifestLimit, parseManifestOrIndex } from '../oci/manifest.ts';
import { choosePlatform, formatPlatform, type Platform } from '../oci/platform.ts';
import { familiar, type Reference } from '../oci/reference.ts';
import type { Blobs } from '../store/blobs.ts';
import type { Catalog, ManifestRecord } from '../store/catalog.ts';
import { collect } from '../stream/collect.ts';

/** What pulls and pushes use of the two. */
export interface ImageStore {
  readonly blobs: Pick<Blobs, 'stat' | 'open' | 'put'>;
  readonly catalog: Pick<Catalog, 'resolve' | 'linked' | 'link' | 'commit' | 'repositories'>;
}

/** An image of one platform, and another was asked for by name; docker's words. */
export const otherPlatform = (reference: Reference, asked: Platform, image: Platform): SlipwayError =>
  new SlipwayError(
    'INVALID_PLATFORM',
    `image with reference ${familiar(reference)} was found but does not provide the specified platform (${formatPlatform(asked)}); it is ${formatPlatform(image)}`,
  );

/** The manifest or index document that the repository has under `digest`, or `undefined`. */
export async function localDocument(store: ImageStore, repository: string, digest: Digest): Promise<Uint8Array | undefined> {
  const known = (await store.catalog.resolve(repository, digest)) ?? (await store.catalog.linked(repository, digest));
  if (known === undefined) return undefined;
  const blob = await store.blobs.open(digest);
  return blob && (await collect(blob.body, manifestLimit, digest));
}

/** The index that a pull kept beside its image. */
export async function localIndex(store: ImageStore, repository: string, digest: Digest): Promise<ImageIndex | undefined> {
  const bytes = await localDocument(store, repository, digest);
  if (bytes === undefined) return undefined;
  const document = parseManifestOrIndex(bytes);
  return document.kind === 'index' ? document.index : undefined;
}

/**
 * What the home has under a reference (its digest, else its tag, else `latest`), for a platform: the record of a manifest, or of an
 * index that is here whole. `undefined` when it has to be pulled.
 */
export async function findLocal(
  store: ImageStore,
  reference: Reference,
  platform: Platform,
  strict = false,
): Promise<ManifestRecord | undefined> {
  const { repository, digest } = reference;
  const found = await store.catalog.resolve(repository, digest ?? reference.tag ?? 'latest');
  if (found !== undefined || digest === undefined || !isDigest(digest)) return found;
  if ((await store.catalog.linked(repository, digest)) === undefined) return undefined;
  const index = await localIndex(store, repository, digest);
  const member = index && choosePlatform(index.manifests, platform, strict);
  return member && (await store.catalog.resolve(repository, member.digest));
}
