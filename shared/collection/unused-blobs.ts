// One page of blobs: what nothing holds is marked; what has been marked for long enough is dropped.
import type { Digest } from '../oci/digest.ts';
import type { FadingStat, Options } from '../store/blobs.ts';
import { mapBounded } from '../store/bounded.ts';
import { isHeld } from '../store/condemned.ts';
import { catalogKeys } from '../store/keys.ts';
import type { DigestSet } from './digest-set.ts';
import { type IdleLink, markIdle, type RepositoryUses, unlinkIdle } from './idle-links.ts';
import { addCollected, type Collected, type CollectionParts, nothingCollected } from './parts.ts';

const pageSize = 500;

export interface BlobsPage {
  readonly after?: Digest;
  /** What is needed though no repository links it. */
  readonly notes: DigestSet;
  readonly uses: RepositoryUses;
  /** Marks made then (milliseconds since 1970) or before have been there for long enough. */
  readonly horizon: number;
}

interface Candidate {
  readonly stat: FadingStat;
  readonly since: number;
}

export async function collectBlobs(
  parts: CollectionParts,
  { after, notes, uses, horizon }: BlobsPage,
  options?: Options,
): Promise<{ readonly next?: Digest; readonly collected: Collected }> {
  const { table, blobs, clock } = parts;
  const page = await blobs.fading.list({ limit: pageSize, ...(after === undefined ? {} : { after }) }, options);
  const idle: IdleLink[] = [];
  const candidates: Candidate[] = [];
  await mapBounded(page, async (stat) => {
    const { digest } = stat;
    const links = await linksOf(parts, uses, digest, options);
    idle.push(...links.idle);
    if (links.needed || (await isManifest(parts, digest, options)) || notes.has(digest)) {
      // Marked once, and needed again by a way that did not ask: the next time it is unused, its days are to be counted anew.
      if (stat.since !== undefined) await blobs.stat(digest, options);
      return;
    }
    const since = await blobs.fading.fade(digest, clock(), options);
    if (since !== undefined) candidates.push({ stat, since });
  });

  const byRepository = Map.groupBy(
    idle.filter(({ since }) => since <= horizon),
    ({ repository }) => repository,
  );
  let unlinked = 0;
  for (const [repository, links] of byRepository) unlinked += (await unlinkIdle(parts, repository, links, options)).size;

  const results = await mapBounded(candidates, async ({ stat: { digest, size }, since }): Promise<Partial<Collected>> => {
    // Linked still: by a repository that has just begun to use it, or that will be done with it later.
    if (since > horizon || (await isHeld(table, digest, options))) return { waiting: 1, waitingBytes: size };
    return (await blobs.fading.drop(digest, since, options)) ? { blobs: 1, bytes: size } : {};
  });
  return {
    ...(page.length < pageSize ? {} : { next: page.at(-1)!.digest }),
    collected: results.reduce<Collected>(addCollected, { ...nothingCollected, links: unlinked }),
  };
}

async function isManifest({ table }: CollectionParts, digest: Digest, options?: Options): Promise<boolean> {
  return (await table.query(catalogKeys.holders(digest), { prefix: digest, limit: 1 }, options)).length > 0;
}

/** Whether some repository needs the blob, and the links of those that do not. */
async function linksOf(
  parts: CollectionParts,
  uses: RepositoryUses,
  digest: Digest,
  options?: Options,
): Promise<{ readonly needed: boolean; readonly idle: readonly IdleLink[] }> {
  const prefix = catalogKeys.blobLinkPrefix;
  const idle: IdleLink[] = [];
  let needed = false;
  for (let after: string | undefined; ; ) {
    const query = { prefix, limit: 100, ...(after === undefined ? {} : { after }) };
    const page = await parts.table.query(catalogKeys.blobLinks(digest), query, options);
    for (const { sort } of page) {
      const repository = sort.slice(prefix.length);
      const link = (await uses.has(repository, digest, options))
        ? undefined
        : await markIdle(parts, uses, repository, digest, options);
      if (link === undefined) needed = true;
      else idle.push(link);
    }
    if (page.length < query.limit) return { needed, idle };
    after = page.at(-1)!.sort;
  }
}
