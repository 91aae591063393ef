// What every Table driver must do. `open` gives a fresh, empty table; `spec` lets other OS processes open the same one.
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { isCode, SlipwayError } from '../../shared/errors.ts';
import type { Key, Table, TableRecord } from '../../shared/store/table.ts';
import { runChild, startChild } from './child-process.ts';
import type { TableSpec } from './drivers.ts';

export interface TableUnderTest extends AsyncDisposable {
  readonly table: Table;
  readonly spec: TableSpec;
  /** Another instance over the same records, which believes that it is `seconds` later. */
  later(seconds: number): Promise<Table>;
}

const key = (sort: string, partition = 'p'): Key => ({ partition, sort });
const sorts = (records: readonly TableRecord[]): string[] => records.map((record) => record.sort);
const now = (): number => Math.floor(Date.now() / 1000);

/** The error that `work` ends in; fails the test if it does not. */
export async function failure(work: Promise<unknown>): Promise<SlipwayError> {
  const error = await work.then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  if (error instanceof SlipwayError) return error;
  throw new Error(`expected a SlipwayError, got ${String(error)}`, { cause: error });
}

export function tableSuite(name: string, open: () => Promise<TableUnderTest>): void {
  describe(name, () => {
    let tested: TableUnderTest;
    let table: Table;
    beforeEach(async () => {
      tested = await open();
      table = tested.table;
    });
    afterEach(() => tested[Symbol.asyncDispose]());

    test('keeps what was put, and answers absence with undefined', async () => {
      const value = { text: 'ä𝄞\u0000\n"', number: 1.5e300, list: [null, true, -0.1], nested: { empty: {} } };
      const version = await table.put(key('a'), value);
      expect(await table.get(key('a'))).toEqual({ partition: 'p', sort: 'a', value, version });
      expect(await table.get(key('b'))).toBeUndefined();
      expect(await table.get(key('a', 'q'))).toBeUndefined();
      for (const whole of [null, 0, '', false, [], {}]) {
        await table.put(key('whole'), whole);
        expect((await table.get(key('whole')))?.value).toEqual(whole);
      }
    });

    test('gives a new version for each write, never one it gave before', async () => {
      const versions = new Set<string>();
      for (let round = 0; round < 10; round++) {
        versions.add(await table.put(key('a'), 'same'));
        if (round % 3 === 0) await table.delete(key('a'));
      }
      expect(versions.size).toBe(10);
    });

    test('getMany answers in the order asked, with gaps and repeats', async () => {
      for (let n = 0; n < 130; n++) await table.put(key(`k${n}`), n);
      const asked = [...Array(130).keys()].reverse().flatMap((n) => [key(`k${n}`), key(`gap${n}`)]);
      asked.push(key('k7'), key('k7'));
      const found = await table.getMany(asked);
      expect(found).toHaveLength(asked.length);
      found.forEach((record, index) => {
        const { sort } = asked[index]!;
        expect(record?.value).toBe(sort.startsWith('gap') ? undefined : Number(sort.slice(1)));
      });
      expect(await table.getMany([])).toEqual([]);
    });

    test('puts only where nothing is, when asked to', async () => {
      const version = await table.put(key('a'), 1, { condition: { ifAbsent: true } });
      const error = await failure(table.put(key('a'), 2, { condition: { ifAbsent: true } }));
      expect(error.code).toBe('STORE_CONFLICT');
      expect(error.details).toMatchObject({ key: key('a'), current: { value: 1, version } });
      expect((await table.get(key('a')))?.value).toBe(1);
    });

    test('puts only over the version it was told', async () => {
      expect((await failure(table.put(key('a'), 0, { condition: { ifVersion: 'never' } }))).details?.current).toBeUndefined();
      expect(await table.get(key('a'))).toBeUndefined();
      const first = await table.put(key('a'), 1);
      const second = await table.put(key('a'), 2, { condition: { ifVersion: first } });
      const error = await failure(table.put(key('a'), 3, { condition: { ifVersion: first } }));
      expect(error.code).toBe('STORE_CONFLICT');
      expect(error.details?.current).toMatchObject({ value: 2, version: second });
    });

    test('deletes, and says whether there was something', async () => {
      const version = await table.put(key('a'), 1);
      expect((await failure(table.delete(key('a'), { condition: { ifVersion: 'other' } }))).code).toBe('STORE_CONFLICT');
      expect(await table.delete(key('a'), { condition: { ifVersion: version } })).toBe(true);
      expect(await table.delete(key('a'))).toBe(false);
      expect((await failure(table.delete(key('a'), { condition: { ifVersion: version } }))).code).toBe('STORE_CONFLICT');
      await table.put(key('a'), 2);
      expect(await table.delete(key('a'))).toBe(true);
      expect(await table.get(key('a'))).toBeUndefined();
    });

    describe('query', () => {
      // In byte order; UTF-16 order would put U+FF5E after U+1D11E.
      const ordered = [
        '!',
        'A',
        'a',
        'a#1',
        'a#10',
        'a#2',
        'a\u{d7ff}',
        'a\u{ff5e}',
        'a\u{1d11e}',
        'a\u{10ffff}',
        'a\u{10ffff}z',
        'b',
        'ä',
      ];
      beforeEach(async () => {
        for (const sort of [...ordered].reverse()) await table.put(key(sort), sort);
        await table.put(key('a', 'p2'), 'another partition');
        await table.put(key('a', 'o'), 'another partition');
      });

      test('sorts by bytes, both ways', async () => {
        expect(sorts(await table.query('p', { limit: 100 }))).toEqual(ordered);
        expect(sorts(await table.query('p', { limit: 100, reverse: true }))).toEqual([...ordered].reverse());
        expect(await table.query('none', { limit: 5 })).toEqual([]);
      });

      test('honours prefix, after, limit and reverse in every combination', async () => {
        const marks = ['', ' ', 'a', 'a#', 'a#1', 'a#15', 'a\u{ff5e}', 'a\u{10ffff}', 'b', 'zz', '\u{10ffff}'];
        for (const prefix of marks) {
          for (const after of [undefined, ...marks]) {
            for (const reverse of [false, true]) {
              for (const limit of [1, 3, 100]) {
                const wanted = ordered.filter((sort) => sort.startsWith(prefix));
                if (reverse) wanted.reverse();
                const order = (sort: string): number => Buffer.compare(Buffer.from(sort), Buffer.from(after ?? ''));
                const left = wanted.filter((sort) => after === undefined || (reverse ? order(sort) < 0 : order(sort) > 0));
                const query = { prefix, limit, reverse, ...(after === undefined ? {} : { after }) };
                expect([query, sorts(await table.query('p', query))]).toEqual([query, left.slice(0, limit)]);
              }
            }
          }
        }
      });

      test('pages through everything, each record once', async () => {
        const seen: string[] = [];
        for (let after: string | undefined; ; ) {
          const page = await table.query('p', { limit: 4, ...(after === undefined ? {} : { after }) });
          seen.push(...sorts(page));
          after = page.at(-1)?.sort;
          if (page.length < 4) break;
        }
        expect(seen).toEqual(ordered);
      });
    });

    test('answers pages that are larger than one response of the service', async () => {
      const body = 'x'.repeat(250_000);
      for (let n = 10; n < 22; n++) await table.put(key(`big${n}`), body);
      expect(sorts(await table.query('p', { prefix: 'big', limit: 12 }))).toHaveLength(12);
      const many = await table.getMany([...Array(12).keys()].map((n) => key(`big${n + 10}`)));
      expect(many.filter((record) => record?.value === body)).toHaveLength(12);
    });

    describe('expiry', () => {
      test('treats an expired record as absent everywhere', async () => {
        const expires = now() + 100;
        const live = await table.put(key('a'), 'live', { expires });
        await table.put(key('b'), 'for ever');
        expect((await table.get(key('a')))?.expires).toBe(Math.ceil(expires));
        const later = await tested.later(101);
        expect(await later.get(key('a'))).toBeUndefined();
        expect(await later.getMany([key('a'), key('b')])).toMatchObject([undefined, { value: 'for ever' }]);
        expect(sorts(await later.query('p', { limit: 10 }))).toEqual(['b']);
        expect(sorts(await later.query('p', { limit: 10, reverse: true }))).toEqual(['b']);
        expect((await failure(later.put(key('a'), 1, { condition: { ifVersion: live } }))).details?.current).toBeUndefined();
        expect(isCode(await failure(later.delete(key('a'), { condition: { ifVersion: live } })), 'STORE_CONFLICT')).toBe(true);
        const check = [{ kind: 'check', key: key('a'), condition: { ifVersion: live } }] as const;
        expect((await failure(later.transact(check))).code).toBe('STORE_CONFLICT');
        await later.transact([{ kind: 'check', key: key('a'), condition: { ifAbsent: true } }]);
        expect(await later.delete(key('a'))).toBe(false);
      });

      test('lets a record be put where an expired one was', async () => {
        await table.put(key('a'), 1, { expires: now() + 100 });
        expect((await failure(table.put(key('a'), 2, { condition: { ifAbsent: true } }))).code).toBe('STORE_CONFLICT');
        const later = await tested.later(101);
        await later.put(key('a'), 2, { condition: { ifAbsent: true } });
        expect((await later.get(key('a')))?.value).toBe(2);
        expect((await later.get(key('a')))?.expires).toBeUndefined();
      });

      test('fills a page with live records although expired ones lie between', async () => {
        for (let n = 10; n < 60; n++) await table.put(key(`k${n}`), n, n % 10 === 0 ? {} : { expires: now() + 50 });
        const later = await tested.later(51);
        expect(sorts(await later.query('p', { limit: 3 }))).toEqual(['k10', 'k20', 'k30']);
        expect(sorts(await later.query('p', { limit: 3, after: 'k30' }))).toEqual(['k40', 'k50']);
      });

      test('goes on serving after many expired writes', async () => {
        const later = await tested.later(10);
        for (let n = 0; n < 200; n++) await table.put(key(`k${n}`), n, { expires: now() + 1 });
        for (let n = 0; n < 200; n++) await later.put(key(`m${n}`), n);
        expect(await later.query('p', { limit: 500, prefix: 'k' })).toEqual([]);
        expect(await later.query('p', { limit: 500, prefix: 'm' })).toHaveLength(200);
      });
    });

    describe('transactions', () => {
      test('write, delete and check together', async () => {
        const old = await table.put(key('old'), 1);
        const guard = await table.put(key('guard'), 1);
        await table.transact([
          { kind: 'put', key: key('new'), value: 2, condition: { ifAbsent: true } },
          { kind: 'put', key: key('other', 'q'), value: 3, expires: now() + 100 },
          { kind: 'delete', key: key('old'), condition: { ifVersion: old } },
          { kind: 'check', key: key('guard'), condition: { ifVersion: guard } },
          { kind: 'check', key: key('nothing'), condition: { ifAbsent: true } },
          { kind: 'delete', key: key('never was') },
        ]);
        const found = await table.getMany([key('new'), key('other', 'q'), key('old')]);
        expect(found.map((record) => record?.value)).toEqual([2, 3, undefined]);
        expect(found[1]?.expires).toBeGreaterThan(now());
      });

      test.each([
        ['a put that meets a record', { kind: 'put', key: key('there'), value: 9, condition: { ifAbsent: true } }],
        ['a put over another version', { kind: 'put', key: key('there'), value: 9, condition: { ifVersion: 'x' } }],
        ['a delete of another version', { kind: 'delete', key: key('there'), condition: { ifVersion: 'x' } }],
        ['a check for absence', { kind: 'check', key: key('there'), condition: { ifAbsent: true } }],
        ['a check for a version', { kind: 'check', key: key('there'), condition: { ifVersion: 'x' } }],
      ] as const)('do nothing at all on %s', async (_, failing) => {
        const there = await table.put(key('there'), 'before');
        await table.put(key('doomed'), 'before');
        const error = await failure(
          table.transact([
            { kind: 'put', key: key('fresh'), value: 1 },
            { kind: 'delete', key: key('doomed') },
            failing,
            { kind: 'put', key: key('last'), value: 1 },
          ]),
        );
        expect(error.code).toBe('STORE_CONFLICT');
        expect(error.details).toMatchObject({ key: key('there'), current: { version: there, value: 'before' } });
        const found = await table.getMany([key('fresh'), key('doomed'), key('last'), key('there')]);
        expect(found.map((record) => record?.value)).toEqual([undefined, 'before', undefined, 'before']);
      });

      test('take a hundred writes, and no more, and each key once', async () => {
        const put = (n: number) => ({ kind: 'put', key: key(`k${n}`), value: n }) as const;
        await table.transact(Array.from({ length: 100 }, (_, n) => put(n)));
        expect(await table.query('p', { limit: 200 })).toHaveLength(100);
        expect((await failure(table.transact(Array.from({ length: 101 }, (_, n) => put(n))))).code).toBe('USAGE');
        expect((await failure(table.transact([put(1), put(2), put(1)]))).code).toBe('USAGE');
        const heavy = Array.from({ length: 20 }, (_, n) => ({ ...put(n), value: 'x'.repeat(250_000) }));
        expect((await failure(table.transact(heavy))).code).toBe('TOO_LARGE');
        await table.transact([]);
      });

      test('of which many move one counter lose no move', async () => {
        await table.put(key('counter'), 0);
        await table.put(key('sum'), 0);
        const move = async (): Promise<void> => {
          for (;;) {
            const [counter, sum] = await table.getMany([key('counter'), key('sum')]);
            try {
              await table.transact([
                {
                  kind: 'put',
                  key: key('counter'),
                  value: Number(counter!.value) + 1,
                  condition: { ifVersion: counter!.version },
                },
                { kind: 'put', key: key('sum'), value: Number(sum!.value) + 2, condition: { ifVersion: sum!.version } },
              ]);
              return;
            } catch (error) {
              if (!isCode(error, 'STORE_CONFLICT')) throw error;
            }
          }
        };
        await Promise.all(Array.from({ length: 8 }, move));
        expect((await table.get(key('counter')))?.value).toBe(8);
        expect((await table.get(key('sum')))?.value).toBe(16);
      });
    });

    test('lets exactly one of many writers put where nothing is', async () => {
      const writers = await Promise.all([table, tested.later(0), tested.later(0)]);
      const outcomes = await Promise.allSettled(
        Array.from({ length: 30 }, (_, n) => writers[n % 3]!.put(key('seat'), n, { condition: { ifAbsent: true } })),
      );
      const winners = outcomes.flatMap(({ status }, n) => (status === 'fulfilled' ? [n] : []));
      expect(winners).toHaveLength(1);
      expect((await table.get(key('seat')))?.value).toBe(winners[0]);
      for (const outcome of outcomes) {
        if (outcome.status === 'rejected') expect(isCode(outcome.reason, 'STORE_CONFLICT')).toBe(true);
      }
    });

    test('lets exactly one of many processes put, and loses none of their counts', async () => {
      const seats = 20;
      const counts = 25;
      const children = [1, 2, 3].map((n) => startChild('contend', tested.spec, `process ${n}`, seats, counts));
      // All are up before one begins: the files and connections are open.
      await Promise.all(children.map((child) => child.line()));
      for (const child of children) child.say('go');
      const won = (await Promise.all(children.map((child) => child.result<string[]>()))).flat();
      expect(won.length).toBe(seats);
      expect(new Set(won).size).toBe(seats);
      expect((await table.get(key('count', 'contend')))?.value).toBe(3 * counts);
    });

    test('keeps what a process put, although it was killed at once', async () => {
      const child = startChild('put-and-hang', tested.spec);
      await child.line();
      await child.kill();
      expect((await table.get(key('kept', 'killed')))?.value).toBe('for good');
      await runChild('contend', tested.spec, 'after', 1, 1);
    });

    test('refuses what it cannot keep', async () => {
      const codes = async (...work: (() => Promise<unknown>)[]) =>
        Promise.all(work.map(async (one) => (await failure(one())).code));
      const long = 'ä'.repeat(513);
      expect(
        await codes(
          () => table.get(key('')),
          () => table.put(key('a', ''), 1),
          () => table.put(key(long), 1),
          () => table.get(key('a', long)),
          () => table.put(key('\ud800'), 1),
          () => table.query('', { limit: 1 }),
          () => table.query('p', { limit: 0 }),
          () => table.query('p', { limit: 1.5 }),
          () => table.query('p', { limit: 1, after: long }),
          () => table.put(key('a'), 1, { expires: Number.NaN }),
        ),
      ).toEqual(Array(10).fill('USAGE'));
      await table.put(key('ä'.repeat(512), 'ä'.repeat(512)), 1);
      await table.put(key('full'), 'x'.repeat(300 * 1024 - 2));
      expect((await failure(table.put(key('over'), 'x'.repeat(300 * 1024 - 1)))).code).toBe('TOO_LARGE');
      expect(await table.get(key('over'))).toBeUndefined();
    });

    test('stops when cancelled, before it has written', async () => {
      const options = { signal: AbortSignal.abort('enough') };
      for (const work of [
        table.get(key('a'), options),
        table.getMany([key('a')], options),
        table.put(key('a'), 1, {}, options),
        table.delete(key('a'), {}, options),
        table.query('p', { limit: 1 }, options),
        table.transact([{ kind: 'put', key: key('a'), value: 1 }], options),
      ]) {
        expect((await failure(work)).code).toBe('CANCELLED');
      }
      expect(await table.get(key('a'))).toBeUndefined();
    });
  });
}
