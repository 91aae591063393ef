// The build cache: key to the layer that a step made. Written per finished step, so a failed build still helps the next (F75).
import { type Digest, isDigest, sha256 } from '../oci/digest.ts';
import { canonicalJson } from '../oci/encode.ts';
import { cacheKeys } from '../store/keys.ts';
import type { Json, Table } from '../store/table.ts';
import { type KeyStruct, keyOf } from './key.ts';

export interface CachedStep {
  readonly diffId: Digest;
  /** Seconds since 1970 at which the layer was made (or SOURCE_DATE_EPOCH): what history says of it, so that a cached build repeats its image. */
  readonly made: number;
}

export class BuildCache {
  readonly #table: Table;

  constructor(table: Table) {
    this.#table = table;
  }

  /** What is cached under the key; the caller checks that the layer is still stored. */
  async lookup(struct: KeyStruct, signal?: AbortSignal): Promise<CachedStep | undefined> {
    const record = await this.#table.get(cacheKeys.step(keyOf(struct)), signal === undefined ? {} : { signal });
    const value = record?.value as { readonly diffId?: unknown; readonly made?: unknown } | undefined;
    if (typeof value?.diffId !== 'string' || !isDigest(value.diffId) || typeof value.made !== 'number') return undefined;
    return { diffId: value.diffId, made: value.made };
  }

  /** Idempotent; the last writer wins, and both are right: equal keys mean exchangeable results. */
  async save(struct: KeyStruct, step: CachedStep, signal?: AbortSignal): Promise<void> {
    const value: Json = { ...step, parts: struct as unknown as Json };
    await this.#table.put(cacheKeys.step(keyOf(struct)), value, {}, signal === undefined ? {} : { signal });
  }

  /**
   * The layer that the same instruction made last time, whatever it read then: its unchanged members are copied rather than compressed
   * again (docs/decisions/0002). `scope` keeps projects apart.
   */
  async previous(slot: Slot): Promise<Digest | undefined> {
    const record = await this.#table.get(cacheKeys.slot(slotDigest(slot)));
    const value = record?.value as { readonly diffId?: unknown } | undefined;
    return typeof value?.diffId === 'string' && isDigest(value.diffId) ? value.diffId : undefined;
  }

  async remember(slot: Slot, diffId: Digest): Promise<void> {
    await this.#table.put(cacheKeys.slot(slotDigest(slot)), { diffId });
  }
}

export interface Slot {
  readonly scope: string;
  readonly instruction: string;
}

const slotDigest = (slot: Slot): Digest => sha256(canonicalJson({ scope: slot.scope, instruction: slot.instruction }));
