// What a list of images shows of each, kept in a record so that listing reads no documents. Facts follow from a digest and never
// change; a lost record is made again.
import { configLimit, parseConfig } from '../oci/config.ts';
import type { Digest } from '../oci/digest.ts';
import { childrenOf, isForeign } from '../oci/manifest.ts';
import { choosePlatform, formatPlatform, hostPlatform, type Platform } from '../oci/platform.ts';
import type { Options, ReadableBlobs } from '../store/blobs.ts';
import { imageKeys } from '../store/keys.ts';
import type { Json, Table } from '../store/table.ts';
import { isImageManifest, isRunnable, nestingLimit, readBlob, readIfStored, readStored, type Stored } from './read.ts';

/** Increase when the shape or the meaning of a member changes: older records are then made again. */
const version = 1;

export interface Facts {
  readonly kind: 'image' | 'index' | 'artifact';
  readonly digest: Digest;
  readonly mediaType: string;
  /** Bytes that the image takes in a store of its own: documents and layers as they are stored, each counted once. */
  readonly size: number;
  /** RFC 3339; of an index: of its image for this machine, else of its first. */
  readonly created?: string;
  /** As `os/architecture[/variant]`. */
  readonly platforms: readonly string[];
  readonly labels?: Readonly<Record<string, string>>;
  /** Digests of an index's members, those of inner indexes included. */
  readonly members?: readonly Digest[];
  /** Every blob of it, documents included, with its size: what images share can be told. */
  readonly blobs: readonly (readonly [digest: Digest, size: number])[];
}

export interface FactsParts {
  /** Where facts are kept once they are known. Absent: they are made each time. */
  readonly table?: Table;
  readonly blobs: ReadableBlobs;
}

/** Bytes of facts that are worth a record; larger ones (an index of hundreds of images) are made each time. */
const recordLimit = 200 * 1024;

/** Facts of many manifests, in the order asked; `undefined` for one that is not stored. */
export async function factsOf(
  { table, blobs }: FactsParts,
  digests: readonly Digest[],
  options?: Options,
): Promise<readonly (Facts | undefined)[]> {
  const records = (await table?.getMany(digests.map(imageKeys.facts), options)) ?? [];
  const found: (Facts | undefined)[] = [];
  for (const [i, digest] of digests.entries()) {
    const value = records[i]?.value as { readonly version?: number; readonly facts?: Facts } | undefined;
    if (value?.version === version && value.facts) {
      found.push(value.facts);
      continue;
    }
    const stored = await readIfStored(blobs, digest, undefined, options);
    const learnt = stored && (await learn(blobs, stored, options));
    if (table !== undefined && learnt?.complete && Buffer.byteLength(JSON.stringify(learnt.facts)) <= recordLimit) {
      await table.put(imageKeys.facts(digest), { version, facts: learnt.facts as unknown as Json }, {}, options);
    }
    found.push(learnt?.facts);
  }
  return found;
}

/** The facts of one manifest; NOT_FOUND when it is not stored. */
export async function factsFor(parts: FactsParts, digest: Digest, options?: Options): Promise<Facts> {
  const [facts] = await factsOf(parts, [digest], options);
  return facts ?? (await learn(parts.blobs, await readStored(parts.blobs, digest, undefined, options), options)).facts;
}

interface Learnt {
  readonly facts: Facts;
  /** False while members of an index are not here yet. */
  readonly complete: boolean;
}

const totals = (sizes: ReadonlyMap<Digest, number>): Pick<Facts, 'size' | 'blobs'> => ({
  size: [...sizes.values()].reduce((sum, size) => sum + size, 0),
  blobs: [...sizes],
});

async function learn(blobs: ReadableBlobs, stored: Stored, options?: Options): Promise<Learnt> {
  const { digest, bytes, document } = stored;
  if (document.kind === 'index') return await learnIndex(blobs, stored, options);
  const { manifest } = document;
  const sizes = new Map<Digest, number>([[digest, bytes.length]]);
  // Foreign layers are not kept here.
  for (const child of childrenOf(document).filter((blob) => !isForeign(blob))) sizes.set(child.digest, child.size);
  const base = { digest, mediaType: document.mediaType, ...totals(sizes) };
  if (!isImageManifest(manifest)) return { facts: { ...base, kind: 'artifact', platforms: [] }, complete: true };
  const config = parseConfig(await readBlob(blobs, manifest.config.digest, configLimit, 'config', options));
  const labels = config.config?.Labels;
  const facts: Facts = {
    ...base,
    kind: 'image',
    platforms: [formatPlatform(config)],
    ...(config.created !== undefined && { created: config.created }),
    ...(labels && { labels }),
  };
  return { facts, complete: true };
}

async function learnIndex(blobs: ReadableBlobs, top: Stored, options?: Options): Promise<Learnt> {
  const sizes = new Map<Digest, number>([[top.digest, top.bytes.length]]);
  const members: Digest[] = [];
  const images: { readonly platform?: Platform; readonly facts: Facts }[] = [];
  let complete = true;
  const visit = async ({ document }: Stored, depth: number): Promise<void> => {
    if (document.kind !== 'index') return;
    for (const member of document.index.manifests) {
      members.push(member.digest);
      const stored = depth < nestingLimit ? await readIfStored(blobs, member.digest, member.mediaType, options) : undefined;
      if (stored === undefined) {
        complete = false;
      } else if (stored.document.kind === 'index') {
        sizes.set(member.digest, stored.bytes.length);
        await visit(stored, depth + 1);
      } else {
        const { facts } = await learn(blobs, stored, options);
        for (const [blob, size] of facts.blobs) sizes.set(blob, size);
        if (facts.kind === 'image' && isRunnable(member))
          images.push({ facts, ...(member.platform && { platform: member.platform }) });
      }
    }
  };
  await visit(top, 1);
  const shown = (choosePlatform(images, hostPlatform()) ?? images[0])?.facts;
  const facts: Facts = {
    kind: 'index',
    digest: top.digest,
    mediaType: top.document.mediaType,
    platforms: images.map(({ facts: { platforms }, platform }) => (platform ? formatPlatform(platform) : platforms[0]!)),
    ...(shown?.created !== undefined && { created: shown.created }),
    ...(shown?.labels && { labels: shown.labels }),
    members,
    ...totals(sizes),
  };
  return { facts, complete };
}
