// The catalog on Table and Blobs. keys.ts draws its records; removal.ts and condemned.ts say how it stays whole when many write.
import { SlipwayError } from '../errors.ts';
import type { Digest } from '../oci/digest.ts';
import { isDigest } from '../oci/digest.ts';
import type { Blobs, Options } from './blobs.ts';
import { mapBounded } from './bounded.ts';
import type { Catalog, ManifestCommit, ManifestRecord, Page, TagRecord } from './catalog.ts';
import {
  type CatalogParts,
  checkTag,
  commitAll,
  linkWrites,
  type RepositoryCommit,
  tagMoves,
  writeGroups,
} from './catalog-commit.ts';
import {
  asSize,
  asStoredManifest,
  asStoredMove,
  asStoredTag,
  fadingSince,
  manifestRecord,
  type StoredManifest,
  unfaded,
} from './catalog-records.ts';
import { isHeld, uncondemned } from './condemned.ts';
import { catalogKeys } from './keys.ts';
import { manifestUses, readStoredManifest } from './manifest-uses.ts';
import { removing, retrying, unremoved } from './removal.ts';
import type { Key, Table, TableRecord, Write } from './table.ts';

const pageSize = 1000;

export class TableCatalog implements Catalog {
  readonly #parts: CatalogParts;
  readonly #table: Table;
  readonly #blobs: Blobs;

  constructor(parts: CatalogParts) {
    this.#parts = parts;
    this.#table = parts.table;
    this.#blobs = parts.blobs;
  }

  async resolve(repository: string, reference: string, options?: Options): Promise<ManifestRecord | undefined> {
    let stored: StoredManifest | undefined;
    if (isDigest(reference)) {
      const record = await this.#table.get(catalogKeys.manifest(repository, reference), options);
      stored = record && asStoredManifest(record);
    } else {
      checkTag(reference);
      const record = await this.#table.get(catalogKeys.tag(repository, reference), options);
      stored = record && asStoredTag(record).manifest;
      if (stored?.annotated) {
        const full = await this.#table.get(catalogKeys.manifest(repository, stored.digest), options);
        stored = full && asStoredManifest(full);
      }
    }
    return stored && (await this.#whole(stored, options));
  }

  async commit(repository: string, commit: ManifestCommit, options?: Options): Promise<ManifestRecord> {
    const [record] = await this.commitAll([{ ...commit, repository }], options);
    return record!;
  }

  commitAll(commits: readonly RepositoryCommit[], options?: Options): Promise<readonly ManifestRecord[]> {
    return commitAll(this.#parts, commits, options);
  }

  async tag(repository: string, tag: string, digest: Digest, by?: string, options?: Options): Promise<void> {
    checkTag(tag);
    await retrying(async () => {
      const check = await unremoved(this.#table, repository, this.#parts.clock, options);
      const record = await this.#table.get(catalogKeys.manifest(repository, digest), options);
      if (record === undefined) {
        throw new SlipwayError('NOT_FOUND', `repository ${repository} has no manifest ${digest}`, {
          details: { missing: [digest] },
        });
      }
      const move = { repository, tag, to: asStoredManifest(record), ...(by !== undefined && { by }) };
      await writeGroups(this.#table, await tagMoves(this.#parts, [move], options), new Map([[repository, check]]), options);
    }, options?.signal);
  }

  async untag(repository: string, tag: string, by?: string, options?: Options): Promise<boolean> {
    checkTag(tag);
    return await retrying(async () => {
      const groups = await tagMoves(this.#parts, [{ repository, tag, ...(by !== undefined && { by }) }], options);
      await writeGroups(this.#table, groups, new Map(), options);
      return groups.length > 0;
    }, options?.signal);
  }

  async remove(repository: string, digest: Digest, by?: string, options?: Options): Promise<boolean> {
    // A tag that someone takes off meanwhile is a conflict: look again.
    return await retrying(
      () =>
        removing(
          this.#table,
          repository,
          this.#parts.clock,
          (check) => this.#remove(repository, digest, by, check, options),
          options,
        ),
      options?.signal,
    );
  }

  async #remove(repository: string, digest: Digest, by: string | undefined, check: Write, options?: Options): Promise<boolean> {
    const record = await this.#table.get(catalogKeys.manifest(repository, digest), options);
    if (record === undefined) return false;
    const { subject } = asStoredManifest(record);
    const checks = new Map([[repository, check]]);
    const tags = [];
    for await (const tag of this.#all(repository, catalogKeys.tagPrefix, options)) {
      if (asStoredTag(tag).digest === digest) tags.push(tag.sort.slice(catalogKeys.tagPrefix.length));
    }
    const moves = tags.map((tag) => ({ repository, tag, ...(by !== undefined && { by }) }));
    const manifest: Write[] = [
      { kind: 'delete', key: catalogKeys.manifest(repository, digest) },
      { kind: 'delete', key: catalogKeys.holder(digest, repository) },
      ...(subject ? [{ kind: 'delete', key: catalogKeys.referrer(repository, subject, digest) } as const] : []),
    ];
    // Tags go first: one that pointed at nothing would be worse than a manifest without one.
    const groups = [...(await tagMoves(this.#parts, moves, options)), { repository, writes: manifest }];
    await writeGroups(this.#table, groups, checks, options);
    const [another] = await this.#page(repository, catalogKeys.manifestPrefix, { limit: 1 }, options);
    if (another === undefined) {
      await this.#table.transact([{ kind: 'delete', key: catalogKeys.repository(repository) }, check], options);
    }
    return true;
  }

  async tags(repository: string, page: Page, options?: Options): Promise<readonly TagRecord[] | undefined> {
    const records = await this.#page(repository, catalogKeys.tagPrefix, page, options);
    if (records.length === 0 && (await this.#table.get(catalogKeys.repository(repository), options)) === undefined)
      return undefined;
    return records.map((record) => {
      const { digest, moved } = asStoredTag(record);
      return { tag: record.sort.slice(catalogKeys.tagPrefix.length), digest, moved: moved / 1000 };
    });
  }

  async manifests(repository: string, page: Page, options?: Options): Promise<readonly ManifestRecord[]> {
    const records = await this.#page(repository, catalogKeys.manifestPrefix, page, options);
    return await mapBounded(records, (record) => this.#whole(asStoredManifest(record), options));
  }

  async repositories({ after, limit }: Page, options?: Options): Promise<readonly string[]> {
    const records = await this.#table.query(catalogKeys.repositories, { limit, ...(after !== undefined && { after }) }, options);
    return records.map(({ sort }) => sort);
  }

  async holders(
    prefix: string,
    { after, limit }: Page,
    options?: Options,
  ): Promise<readonly { readonly digest: Digest; readonly repository: string }[]> {
    const query = { prefix, limit, ...(after !== undefined && { after }) };
    const records = await this.#table.query(catalogKeys.holders(prefix), query, options);
    return records.map(({ value }) => value as unknown as { digest: Digest; repository: string });
  }

  async referrers(
    repository: string,
    digest: Digest,
    page: Page & { readonly artifactType?: string },
    options?: Options,
  ): Promise<readonly ManifestRecord[]> {
    const found: StoredManifest[] = [];
    for await (const record of this.#all(repository, catalogKeys.referrerPrefix(digest), options, page.after)) {
      const stored = asStoredManifest(record);
      if (page.artifactType === undefined || stored.artifactType === page.artifactType) found.push(stored);
      if (found.length >= page.limit) break;
    }
    return await mapBounded(found, (stored) => this.#whole(stored, options));
  }

  async link(repository: string, digest: Digest, size: number, options?: Options): Promise<void> {
    const key = catalogKeys.link(repository, digest);
    await retrying(async () => {
      if ((await this.#askForLink(key, options)) !== undefined) return;
      const [check] = await uncondemned(this.#table, [digest], this.#parts.clock, options);
      const stat = await this.#blobs.stat(digest, options);
      if (stat === undefined) {
        throw new SlipwayError('NOT_FOUND', `the blob ${digest} is not stored`, { details: { missing: [digest] } });
      }
      if (stat.size !== size) {
        throw new SlipwayError('SIZE_MISMATCH', `the blob ${digest} has ${stat.size} bytes, not ${size}`);
      }
      await this.#table.transact([...linkWrites(repository, digest, size, this.#parts.clock()), check!], options);
    }, options?.signal);
  }

  async linked(repository: string, digest: Digest, options?: Options): Promise<number | undefined> {
    const record = await this.#askForLink(catalogKeys.link(repository, digest), options);
    return record && asSize(record);
  }

  /** A link, for who will rely on it: a collection's mark is taken off, so that it stays (FadingBlobs says how that is safe). */
  async #askForLink(key: Key, options?: Options): Promise<TableRecord | undefined> {
    return await retrying(async () => {
      const record = await this.#table.get(key, options);
      if (record === undefined || fadingSince(record) === undefined) return record;
      await this.#table.put(key, unfaded(record), { condition: { ifVersion: record.version } }, options);
      return record;
    }, options?.signal);
  }

  async unlink(repository: string, digest: Digest, options?: Options): Promise<boolean> {
    const key = catalogKeys.link(repository, digest);
    return await retrying(async () => {
      const record = await this.#table.get(key, options);
      if (record === undefined) return false;
      await this.#table.transact(
        [
          { kind: 'delete', key, condition: { ifVersion: record.version } },
          { kind: 'delete', key: catalogKeys.blobLink(digest, repository) },
        ],
        options,
      );
      return true;
    }, options?.signal);
  }

  async unlinkUnused(repository: string, digests: readonly Digest[], options?: Options): Promise<readonly Digest[]> {
    await removing(
      this.#table,
      repository,
      this.#parts.clock,
      (check) => this.#unlinkUnused(repository, digests, check, options),
      options,
    );
    const held = await mapBounded(digests, (digest) => isHeld(this.#table, digest, options));
    return digests.filter((_, i) => !held[i]);
  }

  async #unlinkUnused(repository: string, digests: readonly Digest[], check: Write, options?: Options): Promise<void> {
    const unused = new Set(digests);
    for await (const { uses } of manifestUses(this.#parts, repository, options)) {
      if (unused.size === 0) return;
      for (const digest of uses) unused.delete(digest);
    }
    const groups = [...unused].map((digest) => ({
      repository,
      writes: [
        { kind: 'delete', key: catalogKeys.link(repository, digest) },
        { kind: 'delete', key: catalogKeys.blobLink(digest, repository) },
      ] as const,
    }));
    await writeGroups(this.#table, groups, new Map([[repository, check]]), options);
  }

  async moves(
    repository: string,
    tag: string,
    { after, limit }: Page,
    options?: Options,
  ): Promise<readonly { readonly at: number; readonly from?: Digest; readonly to?: Digest; readonly by?: string }[]> {
    checkTag(tag);
    const prefix = catalogKeys.movePrefix(tag);
    const cursor = after === undefined ? {} : { after: catalogKeys.move(repository, tag, Math.round(Number(after) * 1000)).sort };
    const records = await this.#table.query(catalogKeys.moves(repository), { prefix, limit, reverse: true, ...cursor }, options);
    return records.map((record) => ({ at: Number(record.sort.slice(prefix.length)) / 1000, ...asStoredMove(record) }));
  }

  #page(repository: string, prefix: string, { after, limit }: Page, options?: Options): Promise<readonly TableRecord[]> {
    const query = { prefix, limit, ...(after !== undefined && { after: prefix + after }) };
    return this.#table.query(catalogKeys.partition(repository), query, options);
  }

  async *#all(repository: string, prefix: string, options?: Options, after?: string): AsyncGenerator<TableRecord> {
    for (;;) {
      const records = await this.#page(repository, prefix, { limit: pageSize, ...(after !== undefined && { after }) }, options);
      yield* records;
      if (records.length < pageSize) return;
      after = records.at(-1)!.sort.slice(prefix.length);
    }
  }

  /** With the annotations that were too large for the record. */
  async #whole(stored: StoredManifest, options?: Options): Promise<ManifestRecord> {
    if (!stored.annotated) return manifestRecord(stored);
    const { document } = await readStoredManifest(this.#blobs, stored, options);
    const { annotations } = document.kind === 'index' ? document.index : document.manifest;
    return { ...manifestRecord(stored), ...(annotations && { annotations }) };
  }
}
