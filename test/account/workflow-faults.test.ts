import { expect, test, vi } from 'vitest';
import { withBase } from '../support/account-base.ts';
import { eventsOf, requestOf, startBuild } from '../support/account-home.ts';
import { type AccountWorld, accountWorld } from '../support/account-world.ts';
import { atWrite, type Fault, rearm } from '../support/faulty.ts';
import { whyNoRoot } from '../support/roots.ts';

// Hundreds of builds.
vi.setConfig({ testTimeout: 600_000 });

// Layers are unpacked with their owners.
const why = whyNoRoot('busybox');

/**
 * Each way of breaking takes every third write, the next way the next write: together they break each one. SLIPWAY_FAULTS=all has every write
 * broken in every way.
 */
const all = process.env.SLIPWAY_FAULTS === 'all';
const stride = all ? 1 : 3;
const ways: readonly (readonly [Fault, number])[] = [
  ['before', 1],
  ['after', all ? 1 : 2],
  ['death after', all ? 1 : 3],
];

/** Copies, a RUN in one of two stages that run side by side, and a RUN on top of both. */
const dockerfile = `FROM base AS one
COPY app /one
RUN write /made hello; print hi
FROM base AS two
COPY etc /two
FROM base
COPY --from=one /one /made /
COPY --from=two /two /two
RUN env PATH /env
`;

async function prepared(world: AccountWorld) {
  const { home } = world;
  const context = await withBase(home);
  const request = requestOf(dockerfile, { context, noCache: true });
  rearm(world.faults);
  const right = await world.build(await startBuild(home, request));
  expect(right).toMatchObject({ state: 'succeeded', execution: 'SUCCEEDED' });
  return { request, right, writes: world.faults.writes };
}

/** Holds after every build, however it ended. */
async function expectWhole(world: AccountWorld, id: string) {
  expect(
    [...world.fleet.running.values()].map(({ name }) => name),
    'machines that still run',
  ).toEqual([]);
  expect(world.tasks.waiting).toEqual([]);
  const events = await eventsOf(world.home, id);
  expect(events.filter((e) => e.type === 'result' || e.type === 'error')).toHaveLength(1);
  expect(['result', 'error']).toContain(events.at(-1)?.type);
}

test.skipIf(why).each(ways)(
  'a build that breaks (%s) at any one of its writes ends right, and leaves nothing running',
  async (fault, first) => {
    await using world = await accountWorld();
    const { request, right, writes } = await prepared(world);
    for (let at = first; ; at += stride) {
      const id = await startBuild(world.home, request);
      rearm(world.faults, atWrite(at, fault));
      const build = await world.build(id);
      const { thrown } = world.faults;
      rearm(world.faults);
      const { state, failure, image } = build;
      expect({ at, state, failure, image }).toEqual({ at, state: 'succeeded', failure: undefined, image: right.image });
      await expectWhole(world, id);
      if (thrown > 0) continue;
      // A build whose blobs are there already writes less than the first one did.
      expect(at).toBeGreaterThan(writes * 0.8);
      return;
    }
  },
);

test.skipIf(why)(
  'a table that is throttled and a store that answers 503, in bursts anywhere, only make a build slower',
  async () => {
    await using world = await accountWorld();
    const { request, right } = await prepared(world);
    for (let from = 1; ; from += all ? 11 : 22) {
      const id = await startBuild(world.home, request);
      // Reads as well as writes, of both stores. Each state is tried six times, a question of a runner five times.
      rearm(world.faults, ({ call }) => (call >= from && call < from + 4 ? 'before' : undefined));
      const build = await world.build(id);
      const { thrown } = world.faults;
      rearm(world.faults);
      const { state, failure, image } = build;
      expect({ from, state, failure, image }).toEqual({ from, state: 'succeeded', failure: undefined, image: right.image });
      await expectWhole(world, id);
      if (thrown > 0) continue;
      expect(from).toBeGreaterThan(100);
      return;
    }
  },
);

test.skipIf(why)(
  'a store that breaks for good in the middle fails the build with its reason, moves no tag and leaves nothing running',
  async () => {
    await using world = await accountWorld();
    const { request, writes } = await prepared(world);
    for (let from = 5; from < writes * 0.8; from += all ? 9 : 18) {
      const id = await startBuild(world.home, { ...request, tags: [`other:${from}`] });
      const seen = world.calls.length;
      // It is there again for the state that says why, which is tried for longer than any other.
      const isBack = () => world.calls.slice(seen).filter((name) => name === 'finish:fail').length > 2;
      let broken = false;
      rearm(world.faults, ({ isWrite, write }) => {
        broken ||= isWrite && write === from;
        return broken && !isBack() ? 'before' : undefined;
      });
      const build = await world.build(id);
      rearm(world.faults);
      expect({ from, build }).toMatchObject({
        from,
        build: { state: 'failed', execution: 'FAILED', failure: { code: 'STORE' } },
      });
      expect(await world.home.fresh().catalog.resolve('other', String(from))).toBeUndefined();
      // What could not be stopped while the store was broken is stopped when the end of the execution is told.
      await world.call('launch', { do: 'ended', build: id, status: 'FAILED' });
      await expectWhole(world, id);
    }
  },
);

test.skipIf(why).each(ways)('a build that fails says why, also when any one of its writes breaks (%s)', async (fault, first) => {
  await using world = await accountWorld();
  const context = await withBase(world.home);
  const text = 'FROM base\nCOPY app /app\nRUN print nearly\nRUN exit 7\n';
  for (let at = first; ; at += stride) {
    const id = await startBuild(world.home, requestOf(text, { context, noCache: true, tags: ['never:1'] }));
    rearm(world.faults, atWrite(at, fault));
    const build = await world.build(id);
    const { thrown } = world.faults;
    rearm(world.faults);
    const { state, failure } = build;
    expect({ at, state, failure }).toMatchObject({
      at,
      state: 'failed',
      failure: { code: 'STEP_FAILED', where: { start: { line: 4 } }, details: { exitCode: 7 } },
    });
    expect(await world.home.fresh().catalog.resolve('never', '1')).toBeUndefined();
    await expectWhole(world, id);
    if (thrown > 0) continue;
    expect(at).toBeGreaterThan(30);
    return;
  }
});
