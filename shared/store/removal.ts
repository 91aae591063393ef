// Taking things out of a repository while others put things in. A commit reads what the repository has (links, members of an index)
// and then writes a manifest that relies on it; a removal reads which manifests there are and then takes away what none of them
// needs. Interleaved, each could miss the other:
//
//   commit: sees link L          removal: sees no manifest with L
//   commit: writes manifest      removal: deletes L                 -> a manifest without its layer
//
// So a repository has a `removal` record. A removal makes it busy before it looks and idle when it is done; a commit reads it first,
// waits while it is busy, and its transaction checks that it is still the version that was read. Either the commit's writes are there
// before the removal looks, or the commit starts again. Commits do not hinder one another: they only check the record.
// A removal that dies leaves a lease that runs out; everything it deletes is deleted under a check of its own lease, so one that was
// only asleep does nothing after it was taken over.
import { setTimeout as sleep } from 'node:timers/promises';
import { isCode, SlipwayError, throwIfCancelled } from '../errors.ts';
import type { Options } from './blobs.ts';
import { catalogKeys } from './keys.ts';
import type { Table, Write } from './table.ts';

/** Milliseconds a removal may take between two of its transactions. */
const lease = 60_000;
/** Milliseconds after which waiting for others is an error. */
const patience = 120_000;

/** A write that holds only while the repository has seen no removal since the check was made. */
export type RemovalCheck = Write & { readonly kind: 'check' };

interface Removal {
  /** Milliseconds since 1970; 0 when idle. */
  readonly busyUntil: number;
}

/** Runs `attempt` until it does not end in STORE_CONFLICT: another writer was first, and it decides anew. */
export async function retrying<T>(attempt: () => Promise<T>, signal?: AbortSignal): Promise<T> {
  for (let tries = 1; ; tries++) {
    throwIfCancelled(signal);
    try {
      return await attempt();
    } catch (error) {
      if (!isCode(error, 'STORE_CONFLICT') || tries >= 500) throw error;
      // Someone got through each time one of us did not; the wait only keeps many writers from colliding for ever.
      if (tries > 2) await pause(Math.random() * Math.min(tries, 40), signal);
    }
  }
}

/** Waits until nothing is being removed from the repository, and answers the check for the transaction that relies on that. */
export async function unremoved(table: Table, repository: string, clock: () => number, options?: Options): Promise<RemovalCheck> {
  const key = catalogKeys.removal(repository);
  const deadline = performance.now() + patience;
  for (;;) {
    throwIfCancelled(options?.signal);
    const record = await table.get(key, options);
    if (record === undefined) return { kind: 'check', key, condition: { ifAbsent: true } };
    const { busyUntil } = record.value as unknown as Removal;
    if (busyUntil === 0) return { kind: 'check', key, condition: { ifVersion: record.version } };
    if (busyUntil < clock()) {
      // Its owner is gone. Whoever makes it idle first wins; all look again.
      await table.put(key, { busyUntil: 0 }, { condition: { ifVersion: record.version } }, options).catch(ignoreConflict);
      continue;
    }
    if (performance.now() > deadline) throw stuck(repository);
    await pause(5, options?.signal);
  }
}

/** Runs `work` as the only removal of the repository. Every transaction of `work` must contain the check it is given. */
export async function removing<T>(
  table: Table,
  repository: string,
  clock: () => number,
  work: (check: RemovalCheck) => Promise<T>,
  options?: Options,
): Promise<T> {
  const key = catalogKeys.removal(repository);
  const version = await retrying(async () => {
    const { condition } = await unremoved(table, repository, clock, options);
    return await table.put(key, { busyUntil: clock() + lease }, { condition }, options);
  }, options?.signal);
  try {
    return await work({ kind: 'check', key, condition: { ifVersion: version } });
  } finally {
    // Taken over after the lease ran out: then the record is no longer ours to change.
    await table.put(key, { busyUntil: 0 }, { condition: { ifVersion: version } }).catch(ignoreConflict);
  }
}

/** Waits so many milliseconds; CANCELLED when the signal fires. */
export async function pause(milliseconds: number, signal?: AbortSignal): Promise<void> {
  try {
    await sleep(milliseconds, undefined, { signal });
  } catch (error) {
    throwIfCancelled(signal);
    throw error;
  }
}

export function ignoreConflict(error: unknown): void {
  if (!isCode(error, 'STORE_CONFLICT')) throw error;
}

const stuck = (repository: string): SlipwayError =>
  new SlipwayError('STORE_CONFLICT', `repository ${repository}: something is being removed from it and does not come to an end`, {
    hint: 'Try again; a removal that died is passed over after a minute.',
  });
