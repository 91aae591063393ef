// What a collection works with, and what it counts.
import type { Blobs, FadingBlobs } from '../store/blobs.ts';
import type { Table } from '../store/table.ts';

export interface CollectionParts {
  readonly table: Table;
  readonly blobs: Blobs & { readonly fading: FadingBlobs };
  /** Milliseconds since 1970. */
  readonly clock: () => number;
}

/** What a collection has done so far. */
export interface Collected {
  /** Blobs deleted, and their bytes. */
  readonly blobs: number;
  readonly bytes: number;
  /** Blobs that are marked and will go unless somebody asks for them, and their bytes. */
  readonly waiting: number;
  readonly waitingBytes: number;
  /** Links of repositories whose manifests do not name the blob any more. */
  readonly links: number;
  /** Records of what is no longer stored. */
  readonly records: number;
  /** Records of builds that ended long ago, each with all that was kept of it. */
  readonly builds: number;
  /** Objects that belonged to nothing, and their bytes. */
  readonly strays: number;
  readonly strayBytes: number;
}

export const nothingCollected: Collected = {
  blobs: 0,
  bytes: 0,
  waiting: 0,
  waitingBytes: 0,
  links: 0,
  records: 0,
  builds: 0,
  strays: 0,
  strayBytes: 0,
};

export function addCollected(a: Collected, b: Partial<Collected>): Collected {
  const sum: Record<string, number> = { ...a };
  for (const [name, count] of Object.entries(b)) sum[name] = (sum[name] ?? 0) + count;
  return sum as unknown as Collected;
}
