// Links that no manifest of their repository needs: of a push that never came to its manifest, or of a manifest that was deleted. They
// are marked, and unlinked once they have kept the mark for long enough. Whoever relies on a link takes the mark off
// (TableCatalog.linked and link, and every commit that names the blob).
import { isCode } from '../errors.ts';
import type { Digest } from '../oci/digest.ts';
import { manifestLimit, parseManifestOrIndex } from '../oci/manifest.ts';
import type { Options } from '../store/blobs.ts';
import { fadingSince, unfaded } from '../store/catalog-records.ts';
import { catalogKeys } from '../store/keys.ts';
import { manifestUses } from '../store/manifest-uses.ts';
import { ignoreConflict, removing } from '../store/removal.ts';
import type { TableRecord } from '../store/table.ts';
import { collect } from '../stream/collect.ts';
import { DigestSet } from './digest-set.ts';
import type { CollectionParts } from './parts.ts';

/** Digests held in memory for all repositories together: 64 MB at most. */
const maxHeld = 4_000_000;

/** A link that nothing needs, with its mark. */
export interface IdleLink {
  readonly repository: string;
  readonly digest: Digest;
  /** Milliseconds since 1970. */
  readonly since: number;
  readonly record: TableRecord;
}

/** What the manifests of each repository name, read when it is first asked for. */
export class RepositoryUses {
  readonly #parts: CollectionParts;
  readonly #sets = new Map<string, Promise<DigestSet>>();
  #held = 0;

  constructor(parts: CollectionParts) {
    this.#parts = parts;
  }

  /** As of when the repository was first asked about: enough to mark a link, and never enough to remove one. */
  async has(repository: string, digest: Digest, options?: Options): Promise<boolean> {
    let set = this.#sets.get(repository);
    if (set === undefined) {
      if (this.#held > maxHeld) {
        this.#sets.clear();
        this.#held = 0;
      }
      set = this.#read(repository, options);
      this.#sets.set(repository, set);
    }
    return (await set).has(digest);
  }

  async #read(repository: string, options?: Options): Promise<DigestSet> {
    const set = new DigestSet();
    for await (const { digest, uses } of manifestUses(this.#parts, repository, options)) {
      set.add(digest);
      for (const each of uses) set.add(each);
    }
    this.#held += set.size;
    return set;
  }
}

/** Marks the link unless it is marked. `undefined` when it is not idle after all, or somebody was at it just now. */
export async function markIdle(
  parts: CollectionParts,
  uses: RepositoryUses,
  repository: string,
  digest: Digest,
  options?: Options,
): Promise<IdleLink | undefined> {
  const { table, clock } = parts;
  const key = catalogKeys.link(repository, digest);
  const record = await table.get(key, options);
  if (record === undefined) return undefined;
  const since = fadingSince(record);
  if (since !== undefined) return { repository, digest, since, record };
  if (await isKeptIndex(parts, uses, repository, digest, options)) return undefined;
  const now = clock();
  try {
    const version = await table.put(key, unfaded(record, now), { condition: { ifVersion: record.version } }, options);
    return { repository, digest, since: now, record: { ...record, version } };
  } catch (error) {
    ignoreConflict(error);
    return undefined;
  }
}

/** A pull keeps the index, of which it took one platform's image, as a linked blob (client/local-image.ts). */
async function isKeptIndex(
  { blobs }: CollectionParts,
  uses: RepositoryUses,
  repository: string,
  digest: Digest,
  options?: Options,
): Promise<boolean> {
  const found = await blobs.fading.look(digest, options);
  if (found === undefined || found.size > manifestLimit) return false;
  const blob = await blobs.open(digest, undefined, options);
  if (blob === undefined) return false;
  const bytes = await collect(blob.body, manifestLimit, digest);
  // A quick look, so that not every config and small layer is parsed.
  if (bytes[0] !== 0x7b || !Buffer.from(bytes).includes('"manifests"')) return false;
  try {
    const document = parseManifestOrIndex(bytes);
    if (document.kind !== 'index') return false;
    for (const member of document.index.manifests) if (await uses.has(repository, member.digest, options)) return true;
    return false;
  } catch (error) {
    if (isCode(error, 'INVALID_DOCUMENT', 'UNSUPPORTED', 'INVALID_DIGEST')) return false;
    throw error;
  }
}

/**
 * Removes those links of one repository that still have their mark and that no manifest names, as the repository's only removal: commits
 * wait, and see what is left. Answers which are gone.
 */
export async function unlinkIdle(
  parts: CollectionParts,
  repository: string,
  links: readonly IdleLink[],
  options?: Options,
): Promise<ReadonlySet<Digest>> {
  const { table, clock } = parts;
  const gone = new Set<Digest>();
  await removing(
    table,
    repository,
    clock,
    async (check) => {
      const named = new DigestSet();
      for await (const { digest, uses } of manifestUses(parts, repository, options)) {
        named.add(digest);
        for (const each of uses) named.add(each);
      }
      for (const { digest, record } of links) {
        const key = { partition: record.partition, sort: record.sort };
        const condition = { ifVersion: record.version };
        try {
          if (named.has(digest)) {
            await table.put(key, unfaded(record), { condition }, options);
            continue;
          }
          const inverse = { kind: 'delete', key: catalogKeys.blobLink(digest, repository) } as const;
          await table.transact([{ kind: 'delete', key, condition }, inverse, check], options);
          gone.add(digest);
        } catch (error) {
          // Somebody asked for it meanwhile, or this removal took too long and another has begun.
          ignoreConflict(error);
        }
      }
    },
    options,
  );
  return gone;
}
