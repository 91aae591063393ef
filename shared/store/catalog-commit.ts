// Writing manifests: what a commit needs, and the transactions that make it visible. See removal.ts and condemned.ts for what the
// checks in them keep out.
import { createHash } from 'node:crypto';
import { SlipwayError } from '../errors.ts';
import { algorithmOf, type Digest } from '../oci/digest.ts';
import { isTag } from '../oci/reference.ts';
import type { Blobs, Options } from './blobs.ts';
import { mapBounded } from './bounded.ts';
import type { ManifestCommit, ManifestRecord } from './catalog.ts';
import {
  asJson,
  asStoredManifest,
  asStoredMove,
  asStoredTag,
  brief,
  fadingSince,
  manifestRecord,
  type ReadManifest,
  readManifest,
  type StoredManifest,
  type StoredMove,
  unfaded,
} from './catalog-records.ts';
import { uncondemned } from './condemned.ts';
import { catalogKeys } from './keys.ts';
import { retrying, unremoved } from './removal.ts';
import type { Key, Table, TableRecord, Write } from './table.ts';
import { transactionLimit } from './table-rules.ts';

export interface CatalogParts {
  readonly table: Table;
  readonly blobs: Blobs;
  /** Milliseconds since 1970. */
  readonly clock: () => number;
}

export type RepositoryCommit = ManifestCommit & { readonly repository: string };

/** Internal repositories (`<none>`) hold what has no name; no client can ask for one, and they are in no list. */
export const isInternal = (repository: string): boolean => repository.startsWith('<');

function digestOf(commit: RepositoryCommit): Digest {
  const algorithm = commit.digest === undefined ? 'sha256' : algorithmOf(commit.digest);
  const digest: Digest = `${algorithm}:${createHash(algorithm).update(commit.bytes).digest('hex')}`;
  if (commit.digest !== undefined && commit.digest !== digest) {
    throw new SlipwayError('DIGEST_MISMATCH', `the manifest has the digest ${digest}, not ${commit.digest}`, {
      details: { expected: commit.digest, actual: digest },
    });
  }
  return digest;
}

export function checkTag(tag: string): void {
  if (isTag(tag)) return;
  throw new SlipwayError('INVALID_REFERENCE', `${JSON.stringify(tag.slice(0, 140))} is not a tag`, {
    hint: 'A tag has 1 to 128 letters, digits, _, . and -, and does not start with . or -.',
  });
}

/** Writes that belong together; all carry the removal checks of the repositories they are for. */
interface Group {
  readonly repository: string;
  readonly writes: readonly Write[];
}

interface Attempt {
  readonly links: readonly Group[];
  readonly manifests: readonly Group[];
  readonly tags: readonly Group[];
}

type Checks = ReadonlyMap<string, Write>;

const nameOf = (key: Key): string => `${key.partition}\n${key.sort}`;

export async function commitAll(
  parts: CatalogParts,
  commits: readonly RepositoryCommit[],
  options?: Options,
): Promise<readonly ManifestRecord[]> {
  const at = parts.clock();
  const read = commits.map((commit) => {
    for (const tag of commit.tags ?? []) checkTag(tag);
    return readManifest(commit.bytes, commit.mediaType, digestOf(commit), at);
  });
  return await retrying(async () => {
    const checks: Map<string, Write> = new Map();
    for (const { repository } of commits) {
      if (!checks.has(repository)) checks.set(repository, await unremoved(parts.table, repository, parts.clock, options));
    }
    const present = await presentManifests(parts, commits, read, options);
    const attempt: Attempt = {
      links: await linkGroups(parts, commits, read, options),
      manifests: await manifestGroups(parts, commits, read, present, options),
      tags: await tagGroups(parts, commits, read, present, options),
    };
    await write(parts.table, attempt, checks, options);
    return read.map(({ stored }, i) => manifestRecord(present[i] ?? stored));
  }, options?.signal);
}

async function presentManifests(
  { table }: CatalogParts,
  commits: readonly RepositoryCommit[],
  read: readonly ReadManifest[],
  options?: Options,
): Promise<readonly (StoredManifest | undefined)[]> {
  const keys = read.map(({ stored }, i) => catalogKeys.manifest(commits[i]!.repository, stored.digest));
  return (await table.getMany(keys, options)).map((record) => record && asStoredManifest(record));
}

const missing = (digests: readonly Digest[], what: string): SlipwayError =>
  new SlipwayError('NOT_FOUND', `${what}: ${digests.slice(0, 3).join(', ')}${digests.length > 3 ? ', ...' : ''}`, {
    details: { missing: digests },
  });

/** Checks that all the manifests need is there, and answers the writes for the links that are new. */
async function linkGroups(
  { table, blobs, clock }: CatalogParts,
  commits: readonly RepositoryCommit[],
  read: readonly ReadManifest[],
  options?: Options,
): Promise<readonly Group[]> {
  interface Want {
    readonly repository: string;
    readonly digest: Digest;
    readonly size?: number;
  }
  const wants = new Map<string, Want>();
  const members: Want[] = [];
  const coming = new Set<string>();
  commits.forEach(({ repository, links = [] }, i) => {
    const { stored, needs } = read[i]!;
    for (const { digest, size } of links) wants.set(`${repository}\n${digest}`, { repository, digest, size });
    // Also of a manifest that is here already: a client may have unlinked a blob since.
    for (const digest of needs.blobs) {
      if (!wants.has(`${repository}\n${digest}`)) wants.set(`${repository}\n${digest}`, { repository, digest });
    }
    for (const digest of needs.manifests) {
      if (!coming.has(`${repository}\n${digest}`)) members.push({ repository, digest });
    }
    coming.add(`${repository}\n${stored.digest}`);
  });
  const all = [...wants.values()];
  const [links, manifests] = await Promise.all([
    table.getMany(
      all.map(({ repository, digest }) => catalogKeys.link(repository, digest)),
      options,
    ),
    table.getMany(
      members.map(({ repository, digest }) => catalogKeys.manifest(repository, digest)),
      options,
    ),
  ]);
  const lost = members.filter((_, i) => manifests[i] === undefined).map(({ digest }) => digest);
  if (lost.length > 0) throw missing(lost, 'the index names manifests that the repository does not have');
  const fresh = all.filter((_, i) => links[i] === undefined);
  const unlinked = fresh.filter(({ size }) => size === undefined).map(({ digest }) => digest);
  if (unlinked.length > 0) throw missing(unlinked, 'the manifest names blobs that the repository does not have');
  // Somebody relies on them from now on: a collection's mark goes, and a collection that is just about to unlink one fails.
  const kept = all.flatMap(({ repository }, i): readonly Group[] => {
    const link = links[i];
    if (link === undefined || fadingSince(link) === undefined) return [];
    const condition = { ifVersion: link.version };
    return [
      {
        repository,
        writes: [{ kind: 'put', key: { partition: link.partition, sort: link.sort }, value: unfaded(link), condition }],
      },
    ];
  });
  if (fresh.length === 0) return kept;
  const uncondemnedChecks = await uncondemned(
    table,
    fresh.map(({ digest }) => digest),
    clock,
    options,
  );
  const stats = await mapBounded(fresh, ({ digest }) => blobs.stat(digest, options));
  const absent = fresh.filter((_, i) => stats[i] === undefined).map(({ digest }) => digest);
  if (absent.length > 0) throw missing(absent, 'the manifest names blobs that are not stored');
  const made = fresh.map(({ repository, digest }, i) => ({
    repository,
    writes: [...linkWrites(repository, digest, stats[i]!.size, clock()), uncondemnedChecks[i]!],
  }));
  return [...kept, ...made];
}

export const linkWrites = (repository: string, digest: Digest, size: number, at: number): readonly Write[] => [
  { kind: 'put', key: catalogKeys.link(repository, digest), value: { size, at } },
  { kind: 'put', key: catalogKeys.blobLink(digest, repository), value: { at } },
];

async function manifestGroups(
  { table, blobs, clock }: CatalogParts,
  commits: readonly RepositoryCommit[],
  read: readonly ReadManifest[],
  present: readonly (StoredManifest | undefined)[],
  options?: Options,
): Promise<readonly Group[]> {
  const fresh = commits.map((commit, i) => ({ commit, stored: read[i]!.stored })).filter((_, i) => present[i] === undefined);
  if (fresh.length === 0) return [];
  const named = [...new Set(fresh.map(({ commit }) => commit.repository))].filter((repository) => !isInternal(repository));
  const listed = await table.getMany(named.map(catalogKeys.repository), options);
  const unlisted = new Set(named.filter((_, i) => listed[i] === undefined));
  const checks = await uncondemned(
    table,
    fresh.map(({ stored }) => stored.digest),
    clock,
    options,
  );
  // The bytes are there before anything points at them.
  for (const { commit, stored } of fresh) {
    await blobs.put(one(commit.bytes), { digest: stored.digest, size: stored.size }, options);
  }
  return fresh.map(({ commit: { repository }, stored }, i) => ({
    repository,
    writes: [
      { kind: 'put', key: catalogKeys.manifest(repository, stored.digest), value: asJson(stored) },
      { kind: 'put', key: catalogKeys.holder(stored.digest, repository), value: { digest: stored.digest, repository } },
      checks[i]!,
      ...(stored.subject
        ? [{ kind: 'put', key: catalogKeys.referrer(repository, stored.subject, stored.digest), value: asJson(stored) } as const]
        : []),
      ...(unlisted.has(repository)
        ? [{ kind: 'put', key: catalogKeys.repository(repository), value: { at: clock() } } as const]
        : []),
    ],
  }));
}

async function* one(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  yield bytes;
}

async function tagGroups(
  parts: CatalogParts,
  commits: readonly RepositoryCommit[],
  read: readonly ReadManifest[],
  present: readonly (StoredManifest | undefined)[],
  options?: Options,
): Promise<readonly Group[]> {
  // One name given twice: the last one holds.
  const moves = new Map<string, TagMove>();
  commits.forEach(({ repository, tags = [], by }, i) => {
    for (const tag of tags)
      moves.set(`${repository}\n${tag}`, { repository, tag, to: present[i] ?? read[i]!.stored, ...(by && { by }) });
  });
  return await tagMoves(parts, [...moves.values()], options);
}

export interface TagMove {
  readonly repository: string;
  readonly tag: string;
  /** Absent: the tag goes. */
  readonly to?: StoredManifest;
  readonly by?: string;
}

/** The writes that move tags, each with its line of history; none for a tag that points there already. */
export async function tagMoves(
  { table, clock }: CatalogParts,
  moves: readonly TagMove[],
  options?: Options,
): Promise<readonly Group[]> {
  const current = await table.getMany(
    moves.map(({ repository, tag }) => catalogKeys.tag(repository, tag)),
    options,
  );
  const groups: Group[] = [];
  for (const [i, move] of moves.entries()) {
    const record = current[i];
    const from = record && asStoredTag(record);
    if (from?.digest === move.to?.digest) continue;
    const moved = Math.max(Math.floor(clock()), (from?.moved ?? (await lastMove(table, move, options))) + 1);
    groups.push({ repository: move.repository, writes: moveWrites(move, record, moved) });
  }
  return groups;
}

function moveWrites({ repository, tag, to, by }: TagMove, record: TableRecord | undefined, moved: number): readonly Write[] {
  const key = catalogKeys.tag(repository, tag);
  const from = record && asStoredTag(record).digest;
  const history: StoredMove = { ...(from && { from }), ...(to && { to: to.digest }), ...(by && { by }) };
  const move: Write = { kind: 'put', key: catalogKeys.move(repository, tag, moved), value: asJson(history) };
  if (to === undefined) return [{ kind: 'delete', key, condition: { ifVersion: record!.version } }, move];
  const value = asJson({ digest: to.digest, moved, manifest: brief(to) });
  return [{ kind: 'put', key, value, condition: record ? { ifVersion: record.version } : { ifAbsent: true } }, move];
}

/** When the tag moved last, for one that is not there now: a time in its history is used once, even if clocks disagree. */
async function lastMove(table: Table, { repository, tag }: TagMove, options?: Options): Promise<number> {
  const page = { prefix: catalogKeys.movePrefix(tag), limit: 1, reverse: true };
  const [last] = await table.query(catalogKeys.moves(repository), page, options);
  if (last === undefined) return 0;
  asStoredMove(last);
  return Number(last.sort.slice(page.prefix.length));
}

/** One transaction where all fits into one; else links (harmless alone), then manifests, then tags, in as few as possible. */
async function write(table: Table, attempt: Attempt, checks: Checks, options?: Options): Promise<void> {
  const together = merge([...attempt.links, ...attempt.manifests, ...attempt.tags], checks);
  if (together.length <= transactionLimit) {
    // Only checks: nothing is new.
    if (together.some(({ kind }) => kind !== 'check')) await table.transact(together, options);
    return;
  }
  for (const groups of [attempt.links, attempt.manifests, attempt.tags]) {
    await writeGroups(table, groups, checks, options);
  }
}

/** Each group whole, as many as fit into a transaction at a time. */
export async function writeGroups(table: Table, groups: readonly Group[], checks: Checks, options?: Options): Promise<void> {
  let batch: Group[] = [];
  for (const group of groups) {
    if (merge([...batch, group], checks).length > transactionLimit) {
      await table.transact(merge(batch, checks), options);
      batch = [];
    }
    batch.push(group);
  }
  if (batch.length > 0) await table.transact(merge(batch, checks), options);
}

/** The writes of all groups and the checks of their repositories, one for each key: equal keys have equal writes. */
function merge(groups: readonly Group[], checks: Checks): readonly Write[] {
  const writes = new Map<string, Write>();
  for (const group of groups) {
    const check = checks.get(group.repository);
    for (const each of check ? [check, ...group.writes] : group.writes) {
      const name = nameOf(each.key);
      if (!writes.has(name)) writes.set(name, each);
    }
  }
  return [...writes.values()];
}
