// The collection: takes away what nothing needs any more, while builds, pushes and pulls go on. docs/decisions/0015 says why nobody loses
// anything by it. It goes through a home page by page and writes down how far it is, so it can be stopped or killed anywhere and the next
// call goes on; a call takes as long as it is given.
import { isCode, SlipwayError, throwIfCancelled } from '../errors.ts';
import { type Digest, isDigest } from '../oci/digest.ts';
import type { Blobs, Options } from '../store/blobs.ts';
import { collectionKeys } from '../store/keys.ts';
import type { Json, Table, TableRecord } from '../store/table.ts';
import type { DigestSet } from './digest-set.ts';
import { RepositoryUses } from './idle-links.ts';
import { layerNotes } from './needed.ts';
import { collectBuilds } from './old-builds.ts';
import { addCollected, type Collected, type CollectionParts, nothingCollected } from './parts.ts';
import { collectRecords, recordPartitions } from './stale-records.ts';
import { collectBlobs } from './unused-blobs.ts';

/** Milliseconds after which a collection that says nothing is taken for dead. */
const lease = 120_000;
/** Records looked at before it is written down how far it is. */
const recordsAtOnce = 500;

export interface CollectOptions extends Options {
  /** Milliseconds for which something must have been unused, and asked for by nobody, before it goes. */
  readonly grace: number;
  /** Milliseconds for which a build that has ended is remembered. */
  readonly keepBuilds: number;
  /**
   * When the oldest work under way began that may rely on blobs it has not written down yet (milliseconds since 1970); `undefined` when
   * there is none. Nothing that was marked since then goes.
   */
  readonly oldestWork: () => Promise<number | undefined>;
  /** Asked after every page: true ends the call, and the next one goes on. */
  readonly stop?: () => boolean;
}

export interface Collection {
  /** False when it was stopped before its end. */
  readonly done: boolean;
  /** Milliseconds since 1970. */
  readonly began: number;
  readonly collected: Collected;
}

interface State {
  readonly began: number;
  /** Where it goes on: `blobs`, a partition of the table, `old-builds`, or `objects`. Absent when it has ended. */
  readonly at?: string;
  readonly after?: string;
  readonly collected: Collected;
  /** Milliseconds since 1970 until which somebody works on it; 0 for nobody. */
  readonly busyUntil: number;
}

const stateOf = (record: TableRecord | undefined): State | undefined => record?.value as State | undefined;

export function collectionParts(parts: {
  readonly table: Table;
  readonly blobs: Blobs;
  readonly clock: () => number;
}): CollectionParts {
  const { blobs, table, clock } = parts;
  const { fading } = blobs;
  if (fading === undefined) throw new SlipwayError('UNSUPPORTED', 'this store cannot take away what is unused');
  return { table, clock, blobs: blobs as CollectionParts['blobs'] };
}

/** How far the collection under way is, or what the last one did; `undefined` before the first. */
export async function lastCollection(table: Table, options?: Options): Promise<Collection | undefined> {
  const state = stateOf(await table.get(collectionKeys.state, options));
  return state && { done: state.at === undefined, began: state.began, collected: state.collected };
}

/** Marks all blobs that are unused now, and takes nothing away. What it says is waiting is what a collection could take. */
export async function markUnused(parts: CollectionParts, options: Options = {}): Promise<Collected> {
  const notes = await layerNotes(parts, options);
  const uses = new RepositoryUses(parts);
  let sum = nothingCollected;
  for (let after: Digest | undefined; ; ) {
    const page = { notes, uses, horizon: Number.NEGATIVE_INFINITY, ...(after === undefined ? {} : { after }) };
    const { next, collected } = await collectBlobs(parts, page, options);
    sum = addCollected(sum, collected);
    if (next === undefined) return sum;
    after = next;
  }
}

/**
 * Begins a collection, or goes on with the one that was stopped.
 * @throws CONFLICT while another call works on it
 */
export async function runCollection(parts: CollectionParts, options: CollectOptions): Promise<Collection> {
  const { table, clock } = parts;
  const key = collectionKeys.state;
  const before = await table.get(key, options);
  const known = stateOf(before);
  if (known !== undefined && known.busyUntil > clock()) throw busy();
  let state: State = known?.at === undefined ? { began: clock(), at: 'blobs', collected: nothingCollected, busyUntil: 0 } : known;
  let version = before?.version;
  const keep = async (next: State): Promise<void> => {
    state = next;
    const condition = version === undefined ? ({ ifAbsent: true } as const) : { ifVersion: version };
    try {
      version = await table.put(key, asJson(next), { condition }, options);
    } catch (error) {
      throw isCode(error, 'STORE_CONFLICT') ? busy() : error;
    }
  };
  await keep({ ...state, busyUntil: clock() + lease });
  const work = new Pages(parts, options);
  try {
    while (state.at !== undefined) {
      throwIfCancelled(options.signal);
      const { at, after, collected } = await work.do(state.at, state.after);
      const sum = addCollected(state.collected, collected);
      const { began } = state;
      await keep({
        began,
        collected: sum,
        busyUntil: clock() + lease,
        ...(at === undefined ? {} : { at }),
        ...(after === undefined ? {} : { after }),
      });
      if (options.stop?.()) break;
    }
  } finally {
    // Only so that the next one need not wait for the lease to end, as it does when this cannot be written.
    const condition = { ifVersion: version! };
    await table.put(key, asJson({ ...state, busyUntil: 0 }), { condition }).catch(() => undefined);
  }
  return { done: state.at === undefined, began: state.began, collected: state.collected };
}

const asJson = (state: State): Json => ({ ...state, collected: { ...state.collected } });

const busy = (): SlipwayError =>
  new SlipwayError('CONFLICT', 'a collection is under way already', {
    hint: 'Wait for it to end. One whose process died is passed over after two minutes.',
  });

interface Step {
  /** Where it goes on; absent at the end. */
  readonly at?: string;
  readonly after?: string;
  readonly collected: Partial<Collected>;
}

/** The pages of a collection, in order: blobs, the partitions of records, builds of long ago, what the medium holds without a record. */
class Pages {
  readonly #parts: CollectionParts;
  readonly #options: CollectOptions;
  readonly #uses: RepositoryUses;
  #notes: DigestSet | undefined;
  #horizon: number | undefined;

  constructor(parts: CollectionParts, options: CollectOptions) {
    this.#parts = parts;
    this.#options = options;
    this.#uses = new RepositoryUses(parts);
  }

  async do(at: string, after: string | undefined): Promise<Step> {
    if (at === 'blobs') return this.#blobs(after);
    if (at === 'old-builds') return this.#builds(after);
    if (at === 'objects') return this.#objects(after);
    return this.#records(at, after);
  }

  async #blobs(after: string | undefined): Promise<Step> {
    this.#notes ??= await layerNotes(this.#parts, this.#options);
    this.#horizon ??= await this.#horizonNow();
    const { next, collected } = await collectBlobs(
      this.#parts,
      {
        notes: this.#notes,
        uses: this.#uses,
        horizon: this.#horizon,
        ...(after !== undefined && isDigest(after) ? { after } : {}),
      },
      this.#options,
    );
    if (next !== undefined) return { at: 'blobs', after: next, collected };
    const [first] = (await recordPartitions(this.#parts, this.#options)).keys();
    return { at: first ?? 'old-builds', collected };
  }

  /** Work that begins later asks for what it needs later, and then the marks are off. */
  async #horizonNow(): Promise<number> {
    const { oldestWork, grace } = this.#options;
    const now = this.#parts.clock();
    const oldest = await oldestWork();
    // Of the same millisecond it cannot be told which was first.
    return Math.min(now - grace, oldest === undefined ? now : oldest - 1);
  }

  async #records(partition: string, after: string | undefined): Promise<Step> {
    const partitions = [...(await recordPartitions(this.#parts, this.#options))];
    let index = partitions.findIndex(([name]) => name === partition);
    // Of an older release, or of a project that is gone: nothing there.
    if (index < 0) return { at: 'old-builds', collected: {} };
    let records = 0;
    let from = after;
    // Many are nearly empty: several at a time.
    for (let seen = 0; index < partitions.length; ) {
      const [name, kind] = partitions[index]!;
      const page = await collectRecords(this.#parts, name, kind, from, this.#options);
      records += page.records;
      seen += page.seen;
      from = page.next;
      if (page.next === undefined) index++;
      if (seen >= recordsAtOnce) break;
    }
    const at = partitions[index]?.[0] ?? 'old-builds';
    return { at, collected: { records }, ...(from === undefined ? {} : { after: from }) };
  }

  async #builds(after: string | undefined): Promise<Step> {
    const before = this.#parts.clock() - this.#options.keepBuilds;
    const { next, builds } = await collectBuilds(this.#parts, before, after, this.#options);
    return next === undefined
      ? { at: 'objects', collected: { builds } }
      : { at: 'old-builds', after: next, collected: { builds } };
  }

  async #objects(after: string | undefined): Promise<Step> {
    const { clock, blobs } = this.#parts;
    const before = clock() - this.#options.grace;
    const { next, deleted, bytes } = await blobs.fading.sweep(
      { before, ...(after === undefined ? {} : { after }) },
      this.#options,
    );
    const collected = { strays: deleted, strayBytes: bytes };
    return next === undefined ? { collected } : { at: 'objects', after: next, collected };
  }
}
