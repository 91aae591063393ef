// Saving images (F32): one tar that is an OCI image layout (image-layout.md) and has the manifest.json of older loaders. The blobs go
// in as they are stored; they were verified when they came. The same images give the same archive.
import { SlipwayError } from '../errors.ts';
import type { Name } from '../image/commit.ts';
import { type FactsParts, factsFor } from '../image/facts.ts';
import { type ImageParts, Images, noSuchImage } from '../image/images.ts';
import { isImageManifest, isRunnable, openImage, readIfStored, type Stored } from '../image/read.ts';
import type { EntryWithBody } from '../layer/entry.ts';
import type { Descriptor } from '../oci/descriptor.ts';
import { algorithmOf, type Digest, encodedOf } from '../oci/digest.ts';
import { encodeIndex } from '../oci/encode.ts';
import { mediaType } from '../oci/media-type.ts';
import { choosePlatform, hostPlatform, type Platform } from '../oci/platform.ts';
import { canonical, parseReference } from '../oci/reference.ts';
import type { Options, ReadableBlobs } from '../store/blobs.ts';
import { writeTar } from '../tar/write.ts';

export interface SaveOptions extends Options {
  /** Of an index, only this image goes into the archive, with its own ID. */
  readonly platform?: Platform;
}

export const annotation = {
  /** The whole name; containerd, docker and BuildKit read it. */
  imageName: 'io.containerd.image.name',
  /** The tag alone, or with some writers the whole name. */
  refName: 'org.opencontainers.image.ref.name',
} as const;

export const blobPath = (digest: Digest): string => `blobs/${algorithmOf(digest)}/${encodedOf(digest)}`;

export interface AskedImage {
  readonly digest: Digest;
  /** None: it comes back without a name. */
  readonly names: readonly Name[];
}

/**
 * The archive of the images that the words name: a tag keeps its name, a repository alone means all its tags, an ID no name.
 * Nothing is written before all of them are found: errors come from the call, not from the stream.
 */
export async function saveImages(
  parts: ImageParts,
  words: readonly string[],
  options: SaveOptions = {},
): Promise<AsyncGenerator<Uint8Array, void, undefined>> {
  return await archiveOf(parts, (await Promise.all(words.map((word) => resolve(parts, word, options)))).flat(), options);
}

/** The archive of these images, as {@link saveImages} makes it. */
export async function archiveOf(
  parts: FactsParts,
  images: readonly AskedImage[],
  options: SaveOptions = {},
): Promise<AsyncGenerator<Uint8Array, void, undefined>> {
  const blobs = new Map<Digest, number>();
  const entries: Descriptor[] = [];
  const legacy: LegacyImage[] = [];
  for (const { digest, names } of merge(images)) {
    const top = options.platform
      ? (await openImage(parts.blobs, digest, { platform: options.platform }, options)).digest
      : digest;
    const facts = await factsFor(parts, top, options);
    for (const [blob, size] of facts.blobs) blobs.set(blob, size);
    const size = facts.blobs.find(([blob]) => blob === top)![1];
    const descriptor: Descriptor = { mediaType: facts.mediaType, digest: top, size };
    entries.push(...(names.length === 0 ? [descriptor] : names.map((name) => named(descriptor, name))));
    const image = await legacyImage(parts.blobs, top, names, options);
    if (image) legacy.push(image);
  }
  await checkStored(parts.blobs, blobs, options);
  const index = encodeIndex({ schemaVersion: 2, mediaType: mediaType.ociIndex, manifests: entries });
  return writeTar(members(parts.blobs, blobs, index, legacy), options);
}

async function resolve(parts: ImageParts, word: string, options: Options): Promise<readonly AskedImage[]> {
  const images = new Images(parts);
  if (/^(?:sha256:)?[a-f0-9]{64}$/.test(word)) return [{ digest: (await images.find(word, options)).digest, names: [] }];
  const all = await images.namesFor(word, options);
  if (all.length > 0) return all.map(({ digest, repository, tag }) => ({ digest, names: [{ repository: repository!, tag }] }));
  const { digest, repository, tag } = await images.find(word, options);
  return [{ digest, names: repository && tag ? [{ repository, tag }] : [] }];
}

/** One entry for each image, with the names from all words. */
function merge(asked: readonly AskedImage[]): readonly AskedImage[] {
  const byDigest = new Map<Digest, Map<string, Name>>();
  for (const { digest, names } of asked) {
    const known = byDigest.get(digest) ?? new Map<string, Name>();
    for (const name of names) known.set(`${name.repository}:${name.tag}`, name);
    byDigest.set(digest, known);
  }
  return [...byDigest].map(([digest, names]) => ({ digest, names: [...names.values()] }));
}

const named = (descriptor: Descriptor, { repository, tag }: Name): Descriptor => ({
  ...descriptor,
  annotations: {
    [annotation.imageName]: canonical(parseReference(`${repository}:${tag}`)),
    [annotation.refName]: tag,
  },
});

interface LegacyImage {
  readonly Config: string;
  readonly RepoTags: readonly string[] | null;
  readonly Layers: readonly string[];
}

/** What loaders before OCI layouts see: of an index the image for this machine, else its first. */
async function legacyImage(
  blobs: ReadableBlobs,
  digest: Digest,
  names: readonly Name[],
  options?: Options,
): Promise<LegacyImage | undefined> {
  const stored = await readIfStored(blobs, digest, undefined, options);
  const image = stored && (await plainImage(blobs, stored, options));
  if (image?.document.kind !== 'manifest' || !isImageManifest(image.document.manifest)) return undefined;
  const { config, layers } = image.document.manifest;
  return {
    Config: blobPath(config.digest),
    RepoTags: names.length === 0 ? null : names.map(({ repository, tag }) => `${repository}:${tag}`),
    Layers: layers.map((layer) => blobPath(layer.digest)),
  };
}

async function plainImage(blobs: ReadableBlobs, stored: Stored, options?: Options): Promise<Stored | undefined> {
  if (stored.document.kind === 'manifest') return stored;
  const members = stored.document.index.manifests.filter(isRunnable);
  const chosen = choosePlatform(members, hostPlatform()) ?? members[0];
  const inner = chosen && (await readIfStored(blobs, chosen.digest, chosen.mediaType, options));
  return inner?.document.kind === 'manifest' ? inner : undefined;
}

/** What is missing is an error now, not in the middle of the tar. */
async function checkStored(blobs: ReadableBlobs, wanted: ReadonlyMap<Digest, number>, options?: Options): Promise<void> {
  for (const [digest, size] of wanted) {
    if ((await blobs.stat(digest, options))?.size === size) continue;
    throw new SlipwayError('STORE', `cannot save: the blob ${digest} is not stored here`, {
      hint: 'Pull or build the image again.',
      details: { missing: [digest] },
    });
  }
}

const file = (path: string, size: number): EntryWithBody['entry'] => ({
  path,
  type: 'file',
  mode: 0o644,
  uid: 0,
  gid: 0,
  size,
  mtime: 0,
});
const folder = (path: string): EntryWithBody => ({
  entry: { path, type: 'dir', mode: 0o755, uid: 0, gid: 0, size: 0, mtime: 0 },
});
const document = (path: string, bytes: Uint8Array): EntryWithBody => ({
  entry: file(path, bytes.length),
  ...(bytes.length > 0 && { body: { kind: 'bytes', bytes } }),
});

/** Documents first: a loader that reads the stream once knows what is to come. */
function* members(
  blobs: ReadableBlobs,
  wanted: ReadonlyMap<Digest, number>,
  index: Uint8Array,
  legacy: readonly LegacyImage[],
): Generator<EntryWithBody> {
  yield document('oci-layout', Buffer.from('{"imageLayoutVersion":"1.0.0"}'));
  yield document('index.json', index);
  yield document('manifest.json', Buffer.from(JSON.stringify(legacy)));
  yield folder('blobs');
  const digests = [...wanted.keys()].sort();
  let algorithm: string | undefined;
  for (const digest of digests) {
    if (algorithmOf(digest) !== algorithm) {
      algorithm = algorithmOf(digest);
      yield folder(`blobs/${algorithm}`);
    }
    const size = wanted.get(digest)!;
    const path = blobs.local?.path(digest);
    const entry = file(blobPath(digest), size);
    if (size === 0) yield { entry };
    else if (path !== undefined) yield { entry, body: { kind: 'file', path, offset: 0 } };
    else yield { entry, body: { kind: 'open', open: (signal) => opened(blobs, digest, signal) } };
  }
}

async function opened(blobs: ReadableBlobs, digest: Digest, signal?: AbortSignal) {
  const blob = await blobs.open(digest, undefined, signal ? { signal } : undefined);
  if (blob === undefined) throw noSuchImage(digest);
  return blob.body;
}
