// The cache as one build of an account sees it. Two things differ from the plain one. With --no-cache a build still finds what it made
// itself, because its stages may be run again by another process. And what a runner says a RUN made counts only once it was checked here.
import { BuildCache, type CachedStep } from '../build/cache.ts';
import { type KeyStruct, keyOf } from '../build/key.ts';
import { type Digest, isDigest } from '../oci/digest.ts';
import { workKeys } from '../store/keys.ts';
import type { Table } from '../store/table.ts';

export interface ScopedCacheOptions {
  readonly table: Table;
  readonly build: string;
  readonly noCache: boolean;
  /** Seconds since 1970 until which the build's own records are kept. */
  readonly expires: () => number;
  /** Looks for a runner's claim on this key, and settles it: the layer checked and recorded. */
  readonly settle?: (key: Digest, signal?: AbortSignal) => Promise<CachedStep | undefined>;
}

/** A cache that has more to go by than its table. */
export class WorkflowCache<Options extends { readonly table: Table }> extends BuildCache {
  protected readonly options: Options;

  constructor(options: Options) {
    super(options.table);
    this.options = options;
  }
}

export class ScopedCache extends WorkflowCache<ScopedCacheOptions> {
  override async lookup(struct: KeyStruct, signal?: AbortSignal): Promise<CachedStep | undefined> {
    const known = this.options.noCache ? await this.#own(struct, signal) : await super.lookup(struct, signal);
    if (known !== undefined || struct.operation.kind !== 'run') return known;
    const settled = await this.options.settle?.(keyOf(struct), signal);
    if (settled !== undefined) await this.save(struct, settled, signal);
    return settled;
  }

  override async save(struct: KeyStruct, step: CachedStep, signal?: AbortSignal): Promise<void> {
    await super.save(struct, step, signal);
    const { noCache, table, build, expires } = this.options;
    if (!noCache) return;
    const value = { diffId: step.diffId, made: step.made };
    await table.put(workKeys.made(build, keyOf(struct)), value, { expires: expires() }, signal === undefined ? {} : { signal });
  }

  async #own(struct: KeyStruct, signal: AbortSignal | undefined): Promise<CachedStep | undefined> {
    const { table, build } = this.options;
    const record = await table.get(workKeys.made(build, keyOf(struct)), signal === undefined ? {} : { signal });
    const { diffId, made } = (record?.value ?? {}) as { readonly diffId?: unknown; readonly made?: unknown };
    if (typeof diffId !== 'string' || !isDigest(diffId) || typeof made !== 'number') return undefined;
    return { diffId, made };
  }
}
