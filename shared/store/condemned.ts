// Freeing a blob while others link it. A link is written after its blob is seen to be there; a blob is deleted after it is seen to
// have no links. Interleaved, a link could end up with no blob:
//
//   commit: blob is there        free: no links
//   commit: writes link          free: deletes the blob
//
// So whoever frees a blob first writes its `condemned` record, and only then looks for links. Whoever links a blob reads that record
// before it looks for the blob, waits while it is active, and its transaction checks that the record has not changed. Either the link
// is there before the other looks (and the blob stays), or the link's transaction fails and starts again (and finds the blob gone).
// The record is kept for a day after the blob is gone: a change of it is what a slow commit has to notice.
import { SlipwayError, throwIfCancelled } from '../errors.ts';
import type { Digest } from '../oci/digest.ts';
import type { Blobs, Options } from './blobs.ts';
import { catalogKeys } from './keys.ts';
import { ignoreConflict, pause } from './removal.ts';
import type { Condition, Table, TableRecord, Write } from './table.ts';

/** Milliseconds after which a process that was freeing a blob is taken for dead. */
const lease = 60_000;
/** It does not delete any more when so much of its lease is gone: a pause in between must not end in a late delete. */
const useful = lease / 2;
/** Seconds for which the record outlives the blob. */
const memory = 24 * 3600;
/** Milliseconds after which waiting is an error. */
const patience = 2 * lease;

interface Condemned {
  /** Milliseconds since 1970; 0 when it is over. */
  readonly until: number;
}

const isActive = (record: TableRecord, clock: () => number): boolean => {
  const { until } = record.value as unknown as Condemned;
  return until !== 0 && until > clock();
};

const unchanged = (record: TableRecord | undefined): Condition =>
  record === undefined ? { ifAbsent: true } : { ifVersion: record.version };

/** For each blob: the check for the transaction that links it. Waits while one is being freed. Look for the blobs after this. */
export async function uncondemned(
  table: Table,
  digests: readonly Digest[],
  clock: () => number,
  options?: Options,
): Promise<readonly (Write & { readonly kind: 'check' })[]> {
  const keys = digests.map((digest) => catalogKeys.condemned(digest));
  const deadline = performance.now() + patience;
  for (;;) {
    throwIfCancelled(options?.signal);
    const records = await table.getMany(keys, options);
    const active = records.find((record) => record !== undefined && isActive(record, clock));
    if (active === undefined) {
      return keys.map((key, i) => ({ kind: 'check', key, condition: unchanged(records[i]) }));
    }
    if (performance.now() > deadline) {
      throw new SlipwayError('STORE_CONFLICT', `${active.partition}: the blob is being freed and that does not come to an end`, {
        hint: 'Try again.',
      });
    }
    await pause(5, options?.signal);
  }
}

/** True when some repository links the blob or has it as a manifest. */
export async function isHeld(table: Table, digest: Digest, options?: Options): Promise<boolean> {
  const [links, holders] = await Promise.all([
    table.query(catalogKeys.blobLinks(digest), { prefix: catalogKeys.blobLinkPrefix, limit: 1 }, options),
    table.query(catalogKeys.holders(digest), { prefix: digest, limit: 1 }, options),
  ]);
  return links.length + holders.length > 0;
}

/**
 * Deletes those blobs that nothing holds: no repository, and nothing that `alsoNeeded` knows of (builds under way). What stays for that
 * reason is left to a collection.
 * Answers what was deleted, in bytes too.
 */
export async function freeBlobs(
  parts: { readonly table: Table; readonly blobs: Blobs; readonly clock: () => number },
  digests: readonly Digest[],
  alsoNeeded: (digest: Digest) => Promise<boolean>,
  options?: Options,
): Promise<{ readonly freed: readonly Digest[]; readonly bytes: number }> {
  const freed: Digest[] = [];
  let bytes = 0;
  for (const digest of new Set(digests)) {
    throwIfCancelled(options?.signal);
    const size = await freeBlob(parts, digest, alsoNeeded, options);
    if (size === undefined) continue;
    freed.push(digest);
    bytes += size;
  }
  return { freed, bytes };
}

async function freeBlob(
  { table, blobs, clock }: { readonly table: Table; readonly blobs: Blobs; readonly clock: () => number },
  digest: Digest,
  alsoNeeded: (digest: Digest) => Promise<boolean>,
  options?: Options,
): Promise<number | undefined> {
  const stat = await blobs.stat(digest, options);
  if (stat === undefined || (await isHeld(table, digest, options)) || (await alsoNeeded(digest))) return undefined;
  const key = catalogKeys.condemned(digest);
  const before = await table.get(key, options);
  // Another process is at it: it will do.
  if (before !== undefined && isActive(before, clock)) return undefined;
  const began = clock();
  let version: string;
  try {
    version = await table.put(key, { until: began + lease }, { condition: unchanged(before) }, options);
  } catch (error) {
    ignoreConflict(error);
    return undefined;
  }
  let deleted = false;
  try {
    // Marked before anybody is asked whether he needs it: who comes afterwards takes the mark off, and then it is not dropped.
    const since = await blobs.fading?.fade(digest, began, options);
    const held = (await isHeld(table, digest, options)) || (await alsoNeeded(digest));
    if (!held && clock() < began + useful) {
      deleted = since === undefined ? await blobs.delete(digest, options) : await blobs.fading!.drop(digest, since, options);
    }
  } finally {
    // Without its lease it is no longer ours; whoever took over wrote it.
    await table
      .put(key, { until: 0 }, { condition: { ifVersion: version }, expires: clock() / 1000 + memory })
      .catch(ignoreConflict);
  }
  return deleted ? stat.size : undefined;
}
