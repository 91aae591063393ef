// What the suites of the catalog share: one store for all tests of a suite, and a clock that tests move.
import { afterAll, beforeAll } from 'vitest';
import type { Blobs } from '../../shared/store/blobs.ts';
import { TableCatalog } from '../../shared/store/catalog-table.ts';
import type { Table } from '../../shared/store/table.ts';

export interface CatalogParts extends AsyncDisposable {
  readonly table: Table;
  readonly blobs: Blobs;
}

/** What the tests of a suite work on. */
export interface CatalogUnderTest {
  readonly parts: CatalogParts;
  readonly catalog: TableCatalog;
  /** Milliseconds, near the table's own time, which decides what has expired. */
  now: number;
  readonly clock: () => number;
  /** A name that no other test of the suite uses. */
  fresh(): string;
}

/** Opens a store for the suite that calls this, and closes it after. */
export function allOn(open: () => Promise<CatalogParts>): CatalogUnderTest {
  let parts: CatalogParts;
  let catalog: TableCatalog;
  let count = 0;
  const on: CatalogUnderTest = {
    get parts() {
      return parts;
    },
    get catalog() {
      return catalog;
    },
    now: Math.floor(Date.now() / 1000) * 1000,
    clock: () => on.now,
    fresh: () => `repo-${++count}`,
  };
  beforeAll(async () => {
    parts = await open();
    catalog = new TableCatalog({ ...parts, clock: on.clock });
  });
  afterAll(async () => {
    await parts?.[Symbol.asyncDispose]();
  });
  return on;
}
