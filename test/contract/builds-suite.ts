// What stored builds promise, on any driver of the two ports.
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type BuildRecord, BuildRecords, type BuildRecordsOptions } from '../../shared/build/build-records.ts';
import type { BuildEvent } from '../../shared/build/events.ts';
import type { BuildRequest } from '../../shared/build/request.ts';
import type { StageImage } from '../../shared/build/stage-image.ts';
import type { NumberedEvent } from '../../shared/build/stored-log.ts';
import { UsageRecords } from '../../shared/build/usage-records.ts';
import { type Digest, sha256 } from '../../shared/oci/digest.ts';
import type { Blobs } from '../../shared/store/blobs.ts';
import type { Table } from '../../shared/store/table.ts';

export const someRequest = (more: Partial<BuildRequest> = {}): BuildRequest => ({
  context: { kind: 'none' },
  dockerfile: { name: 'Dockerfile', text: 'FROM scratch\n' },
  tags: ['app:1'],
  buildArgs: {},
  labels: {},
  noCache: false,
  pull: false,
  ...more,
});

const image = (name: string): StageImage => ({
  config: { architecture: 'arm64', os: 'linux', rootfs: { type: 'layers', diff_ids: [] }, config: { Cmd: [name] } },
  layers: [],
  chain: '',
  time: undefined,
});
const digest: Digest = sha256('image');
const started = (id: number, name = `step ${id}`): BuildEvent => ({ type: 'started', id, name, at: 1 });
const log = (id: number, text: string): BuildEvent => ({ type: 'log', id, stream: 'stdout', text, at: 2 });
const done = (id: number): BuildEvent => ({ type: 'done', id, at: 3 });

export function buildRecordsContract(name: string, home: () => { readonly table: Table; readonly blobs: Blobs }): void {
  // Later and later, and near the tables' own clock, which expiry goes by.
  let time = Date.now();
  const open = (more: Partial<BuildRecordsOptions> = {}): BuildRecords =>
    new BuildRecords({ ...home(), clock: () => (time += 10), ...more });
  const made = async (records: BuildRecords, begun = true): Promise<string> => {
    const { build } = await records.create(someRequest());
    if (begun) await records.start(build.id);
    return build.id;
  };
  const all = (records: BuildRecords, id: string): Promise<readonly NumberedEvent[]> =>
    records.events(id, { after: 0, limit: 1_000_000 });
  const plan = { name: 'plan', attempt: 1 };

  describe(`stored builds on ${name}`, () => {
    it('are created queued, found again, and unknown otherwise', async () => {
      const records = open();
      const { build, fresh } = await records.create(someRequest({ target: 'x', platform: 'linux/arm64' }), { by: 'ana' });
      expect(fresh).toBe(true);
      expect(build).toMatchObject({ state: 'queued', tags: ['app:1'], by: 'ana', target: 'x', platform: 'linux/arm64' });
      expect(await records.get(build.id)).toEqual(build);
      expect(await records.request(build.id)).toEqual(someRequest({ target: 'x', platform: 'linux/arm64' }));
      expect(await records.events(build.id, { after: 0, limit: 10 })).toEqual([]);
      for (const id of ['', '../x', '0190a1b2-0000-7000-8000-000000000000', 'x'.repeat(2000)]) {
        expect(await records.get(id)).toBeUndefined();
        await expect(records.events(id, { after: 0, limit: 10 })).rejects.toMatchObject({ code: 'NOT_FOUND' });
        await expect(records.start(id)).rejects.toMatchObject({ code: 'NOT_FOUND' });
        await expect(records.request(id)).rejects.toMatchObject({ code: 'NOT_FOUND' });
      }
    });

    it('are one for one client token, however often and however many at once ask', async () => {
      const records = open();
      const asked = await Promise.all(
        Array.from({ length: 6 }, () => records.create(someRequest(), { clientToken: 'token', by: 'b' })),
      );
      expect(new Set(asked.map(({ build }) => build.id)).size).toBe(1);
      expect(asked.filter(({ fresh }) => fresh)).toHaveLength(1);
      const again = await records.create(someRequest(), { clientToken: 'token', by: 'b' });
      expect(again).toMatchObject({ fresh: false, build: { id: asked[0]!.build.id } });
      const other = await records.create(someRequest(), { clientToken: 'token', by: 'somebody else' });
      expect(other.build.id).not.toBe(asked[0]!.build.id);
      await expect(records.create(someRequest({ tags: ['b'] }), { clientToken: 'token', by: 'b' })).rejects.toMatchObject({
        code: 'CONFLICT',
        details: { id: asked[0]!.build.id },
      });
    });

    it('are listed newest first, a page at a time', async () => {
      const records = open();
      const ids: string[] = [];
      for (let i = 0; i < 5; i++) ids.unshift(await made(records, false));
      const first = await records.list({ limit: 2 });
      expect(first.map((b) => b.id)).toEqual(ids.slice(0, 2));
      const second = await records.list({ limit: 3, after: first[1]!.id });
      expect(second.map((b) => b.id)).toEqual(ids.slice(2, 5));
    });

    it('go through their states once', async () => {
      const records = open();
      const id = await made(records, false);
      expect(await records.succeed(id, { digest, tags: [] })).toMatchObject({ state: 'queued' });
      const running = await records.start(id, { execution: 'arn:1' });
      expect(running).toMatchObject({ state: 'running', execution: 'arn:1' });
      expect(await records.start(id, { execution: 'arn:2' })).toEqual(running);
      const ended = await records.succeed(id, { digest, tags: ['app:1'] });
      expect(ended).toMatchObject({ state: 'succeeded', image: digest });
      expect(await records.succeed(id, { digest: sha256('other'), tags: [] })).toEqual(ended);
      expect(await records.fail(id, { code: 'INTERNAL', message: 'late' })).toEqual(ended);
      expect(await records.requestCancel(id)).toEqual(ended);
      expect(await records.start(id)).toEqual(ended);
      expect((await all(records, id)).map((e) => e.event)).toEqual([
        { type: 'result', digest, tags: ['app:1'], at: ended.ended },
      ]);
    });

    it('end once when everybody ends them at once', async () => {
      const records = open();
      for (let round = 0; round < 4; round++) {
        const id = await made(records);
        const ends: readonly BuildRecord[] = await Promise.all([
          records.succeed(id, { digest, tags: [] }),
          records.fail(id, { code: 'STEP_FAILED', message: 'a' }),
          records.fail(id, { code: 'CANCELLED', message: 'b' }),
          records.succeed(id, { digest, tags: [] }),
        ]);
        const [first] = ends;
        for (const end of ends) expect(end).toEqual(first);
        const events = await all(records, id);
        expect(events).toHaveLength(1);
        expect(events[0]!.event.type).toBe(first!.state === 'succeeded' ? 'result' : 'error');
      }
    });

    it('are cancelled at once while queued, and asked to stop while running', async () => {
      const records = open();
      const queued = await made(records, false);
      expect(await records.isCancelled(queued)).toBe(false);
      expect(await records.requestCancel(queued)).toMatchObject({ state: 'cancelled', failure: { code: 'CANCELLED' } });
      expect(await records.start(queued)).toMatchObject({ state: 'cancelled' });
      const running = await made(records);
      const asked = await records.requestCancel(running);
      expect(asked).toMatchObject({ state: 'running' });
      expect(await records.requestCancel(running)).toEqual(asked);
      expect(await records.isCancelled(running)).toBe(true);
      expect(await records.fail(running, { code: 'CANCELLED', message: 'cancelled' })).toMatchObject({ state: 'cancelled' });
      expect((await all(records, running)).at(-1)!.event).toMatchObject({ type: 'error', failure: { code: 'CANCELLED' } });
    });

    it('keep the first plan and the first image of each stage', async () => {
      const records = open();
      const id = await made(records);
      expect(await records.plan(id)).toBeUndefined();
      expect(await records.savePlan(id, { a: 1 })).toEqual({ a: 1 });
      expect(await records.savePlan(id, { a: 1 })).toEqual({ a: 1 });
      expect(await records.savePlan(id, { a: 2 })).toEqual({ a: 1 });
      expect(await records.plan(id)).toEqual({ a: 1 });
      expect(await records.saveStage(id, 2, image('first'))).toEqual(image('first'));
      expect(await records.saveStage(id, 2, image('second'))).toEqual(image('first'));
      await Promise.all([records.saveStage(id, 10, image('ten')), records.saveStage(id, 10, image('ten'))]);
      expect(await records.finishedStages(id)).toEqual([2, 10]);
      expect([...(await records.stages(id))]).toEqual([
        [2, image('first')],
        [10, image('ten')],
      ]);
      expect([...(await records.stages(id, new Set([10, 11]))).keys()]).toEqual([10]);
    });

    it('keep what each part used', async () => {
      const usages = new UsageRecords(home().table);
      const id = await made(open());
      const first = await usages.save(id, 'stage.a', { at: 5, usage: { s3Reads: 3 } });
      await usages.save(id, 'plan.b', { at: 1, usage: { s3Reads: 1 } });
      // The part goes on counting, with and without the version that was answered.
      await usages.save(id, 'stage.a', { at: 6, usage: { s3Reads: 4 } }, first);
      await usages.save(id, 'stage.a', { at: 7, usage: { s3Reads: 5 } });
      // What comes late changes nothing.
      await usages.save(id, 'stage.a', { at: 6, usage: { s3Reads: 99 } }, first);
      await usages.save(id, 'stage.a', { at: 7, usage: { s3Reads: 99 } });
      expect(await usages.parts(id)).toEqual(
        new Map([
          ['plan.b', { at: 1, usage: { s3Reads: 1 } }],
          ['stage.a', { at: 7, usage: { s3Reads: 5 } }],
        ]),
      );
      expect((await usages.part(id, 'stage.a'))?.usage).toEqual({ at: 7, usage: { s3Reads: 5 } });
      expect(await usages.part(id, 'other')).toBeUndefined();
    });

    it('keep the last report of a part when several are under way', async () => {
      const usages = new UsageRecords(home().table);
      const id = await made(open());
      const reports = Array.from({ length: 8 }, (_, at) => usages.save(id, 'jobs.a', { at, usage: { s3Reads: at } }));
      await Promise.all(reports);
      expect((await usages.parts(id)).get('jobs.a')).toEqual({ at: 7, usage: { s3Reads: 7 } });
    });

    it('give the events of several writers one order, and steps one numbering', async () => {
      const records = open();
      const id = await made(records);
      await records.append(id, { ...plan, first: 0 }, [started(1, 'plan'), done(1)]);
      const stages = ['stage-0', 'stage-1', 'stage-2', 'stage-3'];
      await Promise.all(
        stages.map(async (source) => {
          let first = 0;
          for (let i = 1; i <= 5; i++) {
            const events = [started(i, `${source} ${i}`), log(i, `out of ${source} ${i}`), done(i)];
            ({ next: first } = await records.append(id, { name: source, attempt: 1, first }, events));
          }
        }),
      );
      await records.succeed(id, { digest, tags: [] });
      const events = await all(records, id);
      expect(events.map((e) => e.number)).toEqual(Array.from({ length: 2 + 4 * 15 + 1 }, (_, i) => i + 1));
      const names = new Map<number, string>();
      for (const { event } of events) {
        if (event.type === 'started') {
          expect(event.id).toBe(names.size + 1);
          names.set(event.id, event.name);
        }
        if (event.type === 'log') expect(event.text).toBe(`out of ${names.get(event.id)}`);
      }
      for (const source of stages) {
        expect([...names.values()].filter((n) => n.startsWith(source))).toEqual([1, 2, 3, 4, 5].map((i) => `${source} ${i}`));
      }
    });

    it('can be followed from any point, while running and afterwards', async () => {
      const records = open();
      const id = await made(records);
      const seen: NumberedEvent[] = [];
      let ended = false;
      const follower = (async () => {
        for (let after = 0; !ended || seen.at(-1)?.event.type !== 'result'; after = seen.at(-1)?.number ?? 0) {
          seen.push(...(await records.events(id, { after, limit: 3 })));
          await new Promise((resolve) => setTimeout(resolve, 1));
        }
      })();
      await records.append(id, { ...plan, first: 0 }, [started(1)]);
      for (let i = 0; i < 20; i++) await records.append(id, { ...plan, first: i + 1 }, [log(1, `line ${i}\n`)]);
      await records.append(id, { ...plan, first: 21 }, [done(1)]);
      await records.succeed(id, { digest, tags: [] });
      ended = true;
      await follower;
      const whole = await all(records, id);
      expect(seen).toEqual(whole);
      await fc.assert(
        fc.asyncProperty(fc.nat({ max: whole.length + 2 }), fc.integer({ min: 1, max: 30 }), async (after, limit) => {
          expect(await records.events(id, { after, limit })).toEqual(whole.slice(after, after + limit));
        }),
        { numRuns: 25 },
      );
    });

    it('store an event once, however often and however cut it is delivered', async () => {
      const records = open();
      const id = await made(records);
      const events = [started(1), log(1, 'a'), started(2), log(2, 'b'), log(1, 'c'), done(1), log(2, 'd'), done(2)];
      for (const [first, end] of [
        [0, 3],
        [0, 3],
        [2, 5],
        [0, 5],
        [5, 8],
        [7, 8],
        [0, 8],
      ] as const) {
        const { next } = await records.append(id, { ...plan, first }, events.slice(first, end));
        expect(next).toBeGreaterThanOrEqual(end);
      }
      await Promise.all(
        Array.from({ length: 4 }, () => records.append(id, { name: 'twice', attempt: 1, first: 0 }, [started(1), done(1)])),
      );
      expect((await all(records, id)).map((e) => e.event)).toEqual([...events, { ...started(1), id: 3 }, { ...done(1), id: 3 }]);
      await expect(records.append(id, { ...plan, first: 20 }, [done(1)])).rejects.toMatchObject({
        code: 'CONFLICT',
        details: { next: 8 },
      });
      await expect(records.append(id, { ...plan, first: 8 }, [log(7, 'x')])).rejects.toMatchObject({ code: 'INTERNAL' });
    });

    it('let a later attempt take over, and an earlier one write nothing more', async () => {
      const records = open();
      const id = await made(records);
      await records.append(id, { name: 's', attempt: 1, first: 0 }, [started(1, 'first'), log(1, 'a')]);
      await records.append(id, { name: 's', attempt: 2, first: 0 }, [started(1, 'second')]);
      expect(await records.append(id, { name: 's', attempt: 1, first: 2 }, [log(1, 'late'), done(1)])).toMatchObject({
        closed: true,
      });
      await records.append(id, { name: 's', attempt: 2, first: 1 }, [done(1)]);
      expect((await all(records, id)).map((e) => e.event)).toMatchObject([
        { type: 'started', id: 1 },
        { type: 'log', id: 1 },
        { type: 'note', id: 1 },
        { type: 'cancelled', id: 1 },
        { type: 'started', id: 2, name: 'second' },
        { type: 'done', id: 2 },
      ]);
    });

    it('say nothing after their last event', async () => {
      const records = open();
      const id = await made(records);
      await records.append(id, { ...plan, first: 0 }, [started(1)]);
      await records.fail(id, { code: 'STEP_FAILED', message: 'no' });
      expect(await records.append(id, { ...plan, first: 1 }, [log(1, 'late')])).toMatchObject({ closed: true });
      expect((await all(records, id)).map((e) => e.event.type)).toEqual(['started', 'error']);
    });

    it('keep records small and output bounded, whatever a step prints', async () => {
      const records = open({ keptOutput: 600_000 });
      const id = await made(records);
      const flood = Array.from({ length: 60 }, (_, i) => log(1, `${i}${'\u0000'.repeat(3000)}`));
      await records.append(id, { ...plan, first: 0 }, [started(1), ...flood, done(1)]);
      const events = await all(records, id);
      const kept = events.filter((e) => e.event.type === 'log');
      expect(kept.length).toBeGreaterThan(25);
      expect(kept.length).toBeLessThan(40);
      expect(events.filter((e) => e.event.type === 'note')).toHaveLength(1);
      expect(events.at(-1)!.event).toMatchObject({ type: 'done', id: 1 });
      expect((await home().table.query(`build#${id}`, { prefix: 'event#', limit: 100 })).length).toBeGreaterThan(2);
      await expect(
        records.append(id, { name: 'x', attempt: 1, first: 0 }, [started(1, 'x'.repeat(260_000))]),
      ).rejects.toMatchObject({
        code: 'TOO_LARGE',
      });
      const failed = await records.fail(id, {
        code: 'STEP_FAILED',
        message: 'm'.repeat(400_000),
        details: { output: 'x'.repeat(400_000) },
      });
      expect(failed.failure!.message.length).toBeLessThan(5000);
    });
  });
}
