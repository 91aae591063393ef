// Removing images by docker's rules (F24 to F27): a name goes at once; the image goes with its last name, and with it the blobs that
// nothing else needs.
import { SlipwayError } from '../errors.ts';
import { LayerRecords } from '../layer/record.ts';
import { configLimit, parseConfig } from '../oci/config.ts';
import type { Digest } from '../oci/digest.ts';
import { childrenOf } from '../oci/manifest.ts';
import type { Options } from '../store/blobs.ts';
import type { ManifestRecord } from '../store/catalog.ts';
import { freeBlobs } from '../store/condemned.ts';
import { imageKeys } from '../store/keys.ts';
import type { Name } from './commit.ts';
import { factsOf } from './facts.ts';
import { type FoundImage, type ImageParts, Images, manifestsOf, membersOf, tagsOf } from './images.ts';
import { isImageManifest, readBlob, readIfStored, type Stored } from './read.ts';

/** What is in the way of a removal: containers, once there are any. */
export interface ImageUsers {
  /** Throws CONFLICT in docker's words when the image may not lose this name, or may not go. */
  check(removal: {
    readonly digest: Digest;
    readonly found: FoundImage;
    /** True when the image itself would go. */
    readonly last: boolean;
    readonly force: boolean;
  }): Promise<'remove' | 'untag-only'>;
}

export interface RemoveParts extends ImageParts {
  readonly users?: ImageUsers;
  /** Blobs that something besides the catalog needs. Without it only repositories keep blobs. */
  readonly alsoNeeded?: (digest: Digest) => Promise<boolean>;
}

export interface RemoveOptions extends Options {
  readonly force?: boolean;
  /** Told how many bytes were freed, each time some were. */
  readonly onFreed?: (bytes: number) => void;
}

export type Removed = { readonly untagged: string } | { readonly deleted: Digest };

const shortId = (digest: Digest): string => digest.slice(7, 19);

/** Removes what one word names; answers what docker prints, line by line. CONFLICT when nothing of it can go. */
export async function removeImage(parts: RemoveParts, word: string, options: RemoveOptions = {}): Promise<readonly Removed[]> {
  const images = new Images(parts);
  const found = await images.find(word, options);
  const { digest } = found;
  const force = options.force === true;
  const { names } = await images.whereIs(digest, options);
  const going = namesGoing(found, names, force);
  const last = going.length === names.length;
  const verdict = (await parts.users?.check({ digest, found, last, force })) ?? 'remove';
  const lines: Removed[] = [];
  for (const { repository, tag } of going) {
    if (await parts.catalog.untag(repository, tag, 'rm', options)) lines.push({ untagged: `${repository}:${tag}` });
  }
  if (!last || verdict === 'untag-only') return lines;
  if (await deleteImage(parts, digest, options)) lines.push({ deleted: digest });
  else if (lines.length === 0) {
    // NOT_FOUND when somebody else was quicker.
    await images.find(word, options);
    throw new SlipwayError(
      'CONFLICT',
      `conflict: unable to delete ${shortId(digest)} (cannot be forced) - it is a part of an image for several platforms`,
      { hint: 'It goes with that image.' },
    );
  }
  return lines;
}

function namesGoing({ digest, by, repository, tag }: FoundImage, names: readonly Name[], force: boolean): readonly Name[] {
  if (by === 'tag') return names.filter((name) => name.repository === repository && name.tag === tag);
  if (by === 'digest') return names.filter((name) => name.repository === repository);
  if (new Set(names.map((name) => name.repository)).size > 1 && !force) {
    throw new SlipwayError(
      'CONFLICT',
      `conflict: unable to delete ${shortId(digest)} (must be forced) - image is referenced in multiple repositories`,
      { details: { names: names.map((name) => `${name.repository}:${name.tag}`) } },
    );
  }
  return names;
}

/**
 * Takes an image out of every repository that still has it without a tag, with the members and referrers that go with it, and frees
 * the blobs that nothing needs any more. False when some index still needs it, or a tag has come meanwhile.
 */
export async function deleteImage(parts: RemoveParts, digest: Digest, options: RemoveOptions = {}): Promise<boolean> {
  const { catalog } = parts;
  const { repositories } = await new Images(parts).whereIs(digest, options);
  const candidates = new Set<Digest>();
  const diffIds = new Set<Digest>();
  let kept = false;
  for (const repository of repositories) {
    const dead = await deadWith(parts, repository, digest, options);
    if (!dead.some((manifest) => manifest.digest === digest)) {
      kept = true;
      continue;
    }
    const used = new Set<Digest>();
    for (const manifest of dead) {
      used.add(manifest.digest);
      const stored = await readIfStored(parts.blobs, manifest.digest, manifest.mediaType, options);
      for (const child of stored ? childrenOf(stored.document) : []) used.add(child.digest);
      for (const diffId of await diffIdsOf(parts, stored, options)) diffIds.add(diffId);
    }
    for (const manifest of dead) await catalog.remove(repository, manifest.digest, 'rm', options);
    for (const blob of await catalog.unlinkUnused(repository, [...used], options)) candidates.add(blob);
  }
  const alsoNeeded = parts.alsoNeeded ?? (async () => false);
  const { freed, bytes } = await freeBlobs(parts, [...candidates], alsoNeeded, options);
  options.onFreed?.(bytes);
  for (const blob of freed) await parts.table.delete(imageKeys.facts(blob), {}, options);
  for (const diffId of diffIds) await forgetLayer(parts, diffId, alsoNeeded, options);
  return !kept;
}

async function diffIdsOf(parts: ImageParts, stored: Stored | undefined, options?: Options): Promise<readonly Digest[]> {
  if (stored?.document.kind !== 'manifest' || !isImageManifest(stored.document.manifest)) return [];
  const { digest } = stored.document.manifest.config;
  if ((await parts.blobs.stat(digest, options)) === undefined) return [];
  return parseConfig(await readBlob(parts.blobs, digest, configLimit, 'config', options)).rootfs.diff_ids;
}

/** What was noted of a layer goes with its last blob: table of contents and indexes. All of it can be made again. */
async function forgetLayer(
  parts: RemoveParts,
  diffId: Digest,
  alsoNeeded: (digest: Digest) => Promise<boolean>,
  options?: RemoveOptions,
): Promise<void> {
  const records = new LayerRecords(parts.table, parts.blobs);
  const record = await records.get(diffId, options);
  if (record === undefined || (await records.find(diffId, options)) !== undefined) return;
  await records.remove(diffId, options);
  const notes = [record.toc, ...record.forms.map(({ members }) => members)].filter((digest) => digest !== undefined);
  const { bytes } = await freeBlobs(parts, notes, alsoNeeded, options);
  options?.onFreed?.(bytes);
}

/** The manifest, and what goes with it: untagged members no other index has, and what refers to any of them. Empty if it must stay. */
async function deadWith(
  parts: ImageParts,
  repository: string,
  digest: Digest,
  options?: Options,
): Promise<readonly ManifestRecord[]> {
  const manifests = await Array.fromAsync(manifestsOf(parts.catalog, repository, options));
  const tagged = new Set<Digest>();
  for await (const tag of tagsOf(parts.catalog, repository, options)) tagged.add(tag.digest);
  const byDigest = new Map(manifests.map((manifest) => [manifest.digest, manifest]));
  const first = byDigest.get(digest);
  if (first === undefined || tagged.has(digest)) return [];
  if ((await membersOf(parts, manifests, options)).has(digest)) return [];
  const dead = new Map<Digest, ManifestRecord>([[digest, first]]);
  for (const manifest of dead.values()) {
    // A Map's iteration goes on into what is added meanwhile.
    const [facts] = await factsOf(parts, [manifest.digest], options);
    const others = await membersOf(
      parts,
      manifests.filter((other) => !dead.has(other.digest)),
      options,
    );
    const doomed = [
      ...(facts?.members ?? []).filter((member) => !others.has(member)),
      ...manifests.filter(({ subject }) => subject === manifest.digest).map((referrer) => referrer.digest),
    ];
    for (const each of doomed) {
      const record = byDigest.get(each);
      if (record && !tagged.has(each)) dead.set(each, record);
    }
  }
  return [...dead.values()];
}
