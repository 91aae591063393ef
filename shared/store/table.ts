// Port two of two: small records under (partition, sort) keys, with conditional writes. All keys are made in keys.ts.
import type { Options } from './blobs.ts';

/** What a record holds: JSON, at most 300 KB encoded (DynamoDB's item limit is 400 KB with keys and overhead). */
export type Json = null | boolean | number | string | readonly Json[] | { readonly [name: string]: Json | undefined };

export interface Key {
  /** 1 to 1024 bytes. */
  readonly partition: string;
  /** 1 to 1024 bytes of UTF-8; ordered by its bytes. */
  readonly sort: string;
}

export interface TableRecord extends Key {
  readonly value: Json;
  /** Changes with every write and is never used twice for a key in its life: compare it, do not count with it. */
  readonly version: string;
  /** Seconds since 1970 after which the record is treated as absent. */
  readonly expires?: number;
}

export type Condition = { readonly ifAbsent: true } | { readonly ifVersion: string };

export type Write =
  | { readonly kind: 'put'; readonly key: Key; readonly value: Json; readonly expires?: number; readonly condition?: Condition }
  | { readonly kind: 'delete'; readonly key: Key; readonly condition?: { readonly ifVersion: string } }
  | { readonly kind: 'check'; readonly key: Key; readonly condition: Condition };

export interface Query {
  readonly prefix?: string;
  /** Starts after this sort key (before it when `reverse`), exclusive; it need not exist. */
  readonly after?: string;
  readonly limit: number;
  readonly reverse?: boolean;
}

/** An expired record is absent to every method, whether or not it has been removed yet. */
export interface Table {
  /** Sees every write that resolved before the call. Absence is `undefined`. */
  get(key: Key, options?: Options): Promise<TableRecord | undefined>;
  /** Many at once, in no promised order of work; answers in the order asked. */
  getMany(keys: readonly Key[], options?: Options): Promise<readonly (TableRecord | undefined)[]>;
  /** A condition that does not hold is STORE_CONFLICT, with the record there now (if any) in `details.current`. Answers the new version. */
  put(
    key: Key,
    value: Json,
    write?: { readonly condition?: Condition; readonly expires?: number },
    options?: Options,
  ): Promise<string>;
  /** True when there was a record. A condition that does not hold is STORE_CONFLICT. */
  delete(key: Key, write?: { readonly condition?: { readonly ifVersion: string } }, options?: Options): Promise<boolean>;
  /** Sorted by sort key. Fewer than `limit` records means there are no more. */
  query(partition: string, query: Query, options?: Options): Promise<readonly TableRecord[]>;
  /** All or nothing; at most 100 writes (DynamoDB's limit), one per key. STORE_CONFLICT names the first failed one in `details.key`. */
  transact(writes: readonly Write[], options?: Options): Promise<void>;
}
