import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { describe, expect, test } from 'vitest';
import { SqliteTable } from '../../shared/store/sqlite-table.ts';
import { openTable } from './drivers.ts';
import { tableSuite } from './table-suite.ts';

tableSuite('SqliteTable', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'slipway-table-'));
  const spec = { driver: 'sqlite', file: join(folder, 'table.db') } as const;
  const opened = [await openTable(spec)];
  return {
    table: opened[0]!,
    spec,
    later: async (seconds) => {
      const table = await openTable(spec, seconds);
      opened.push(table);
      return table;
    },
    async [Symbol.asyncDispose]() {
      for (const table of opened) table[Symbol.dispose]?.();
      rmSync(folder, { recursive: true });
    },
  };
});

describe('SqliteTable file', () => {
  const inFolder = async (work: (file: string) => Promise<void>): Promise<void> => {
    const folder = mkdtempSync(join(tmpdir(), 'slipway-table-'));
    try {
      await work(join(folder, 'table.db'));
    } finally {
      rmSync(folder, { recursive: true });
    }
  };
  const key = { partition: 'p', sort: 's' };

  test('is in WAL mode, and opens again with what was put', () =>
    inFolder(async (file) => {
      {
        using table = SqliteTable.open(file);
        await table.put(key, 1);
      }
      using table = SqliteTable.open(file);
      expect((await table.get(key))?.value).toBe(1);
      using db = new DatabaseSync(file);
      expect(db.prepare('PRAGMA journal_mode').get()).toEqual({ journal_mode: 'wal' });
    }));

  test('gives expired records back their room', () =>
    inFolder(async (file) => {
      const now = 1000;
      using table = SqliteTable.open(file, { now: () => now });
      for (let n = 0; n < 100; n++) await table.put({ partition: 'old', sort: `${n}` }, n, { expires: 1001 });
      using later = SqliteTable.open(file, { now: () => now + 10 });
      for (let n = 0; n < 100; n++) await later.put({ partition: 'new', sort: `${n}` }, n);
      using db = new DatabaseSync(file);
      expect(db.prepare("SELECT count(*) AS n FROM record WHERE partition = 'old'").get()).toEqual({ n: 0 });
      expect(db.prepare("SELECT count(*) AS n FROM record WHERE partition = 'new'").get()).toEqual({ n: 100 });
    }));

  test.each([
    ['is no database', (file: string) => writeFileSync(file, 'hello '.repeat(1000))],
    ['is another program’s database', (file: string) => new DatabaseSync(file).exec('CREATE TABLE theirs (x)')],
    ['was made by a newer release', (file: string) => new DatabaseSync(file).exec('PRAGMA user_version = 99')],
  ])('that %s is refused by name', (_, make) =>
    inFolder(async (file) => {
      make(file);
      expect(() => SqliteTable.open(file)).toThrow(
        expect.objectContaining({ code: 'STORE', message: expect.stringContaining(file) }),
      );
    }),
  );
});
