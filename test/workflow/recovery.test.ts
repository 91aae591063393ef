import { expect, test, vi } from 'vitest';
import { jobKeys } from '../../shared/store/keys.ts';
import { eventsOf, project, requestOf, sendContext, startBuild } from '../support/account-home.ts';
import { type AccountWorld, accountWorld } from '../support/account-world.ts';
import { whyNoRoot } from '../support/roots.ts';

vi.setConfig({ testTimeout: 120_000 });

// Layers are unpacked with their owners.
const why = whyNoRoot('busybox');

const files = { 'app/main.js': 'go()' };
/** The second RUN waits for the test where it is asked to. */
const dockerfile = (second: string) =>
  `FROM scratch AS one\nCOPY app /one\nRUN write /made hello; print first\nRUN print second; ${second}; write /again x\nFROM scratch\nCOPY --from=one / /\n`;

async function started(world: AccountWorld, text: string): Promise<string> {
  const context = { kind: 'stored' as const, id: await sendContext(world.home.fresh(), files), project };
  return startBuild(world.home, requestOf(text, { context, noCache: true }));
}

const nameOf = (call: string): string => call.replace(/^POST \/api\/v1\/jobs\/[^/]+\/\d+\//, '');

/** What the log says of the stage with RUNs. */
async function toldOf(world: AccountWorld, id: string) {
  const events = await eventsOf(world.home, id);
  const names = new Map(events.flatMap((e) => (e.type === 'started' ? [[e.id, e.name] as const] : [])));
  const done = events.flatMap((e) => (e.type === 'done' && names.get(e.id)?.startsWith('[one') ? [names.get(e.id)] : []));
  const interrupted = events.flatMap((e) => (e.type === 'cancelled' ? [names.get(e.id)] : []));
  return { events, done, interrupted };
}

const steps = ['FROM scratch', 'COPY app /one', 'RUN write', 'RUN print'].map((step) => expect.stringContaining(step));

test.skipIf(why)('a runner that is lost at any of its calls is stopped and replaced, and its log goes on', async () => {
  await using world = await accountWorld({ silence: 500 });
  const { host, fleet } = world;
  const text = dockerfile('print more');
  const right = await world.build(await started(world, text));
  expect(right.failure).toBeUndefined();
  const calls = host.calls.map(nameOf).filter((name) => name !== 'heartbeat');
  expect(calls).toEqual(expect.arrayContaining(['claim', 'lookup', 'blobs/write', 'blobs/confirm', 'save', 'log', 'complete']));
  let lost = 0;
  let replaced = 0;
  for (const when of ['cut', 'cut after'] as const) {
    for (let at = 1; ; at++) {
      const id = await started(world, text);
      let count = 0;
      let first: string | undefined;
      host.hook = (path, token) => {
        first ??= token;
        if (token !== first || nameOf(`POST ${path}`) === 'heartbeat') return undefined;
        count += 1;
        return count === at ? when : undefined;
      };
      const before = fleet.started.length;
      const build = await world.build(id);
      host.hook = undefined;
      const { state, failure, image } = build;
      expect({ when, at, state, failure, image }).toEqual({
        when,
        at,
        state: 'succeeded',
        failure: undefined,
        image: right.image,
      });
      expect([...fleet.running]).toEqual([]);
      const { done } = await toldOf(world, id);
      // Each step is told as done once, whoever did it.
      expect({ when, at, done }).toEqual({ when, at, done: steps });
      if (count < at) break;
      lost += 1;
      if (fleet.started.length > before + 1) replaced += 1;
    }
  }
  expect(lost).toBeGreaterThan(16);
  // One that was lost after its last RUN had been kept needs no other.
  expect(replaced).toBeGreaterThan(lost - 8);
});

test.skipIf(why)('what a lost runner says when it is heard again changes nothing', async () => {
  await using world = await accountWorld({ silence: 2000 });
  const { home, host, fleet, sandbox } = world;
  const id = await started(world, dockerfile('say here; wait on'));
  const building = world.build(id);
  await sandbox.said('here');
  const printed = async () => (await eventsOf(home, id)).some((e) => e.type === 'log' && e.text.includes('second'));
  await vi.waitFor(async () => expect(await printed()).toBe(true), { timeout: 20_000 });
  const [lost] = fleet.running.values();
  host.cut.add(lost!.ticket.token);
  await vi.waitFor(() => expect(fleet.started).toHaveLength(2), { timeout: 20_000 });
  // Its own machine was stopped before; a network that had kept its words for this long delivers them now.
  host.cut.clear();
  const partition = async () => JSON.stringify(await home.disk.table.query(jobKeys.jobs(id), { limit: 100 }));
  const before = { events: await eventsOf(home, id) };
  const place = { next: 1000, started: 50, done: 50 };
  for (const [name, body] of [
    ['claim', {}],
    ['log', { first: 0, events: [{ type: 'started', id: 9, name: 'late', at: 1 }] }],
    ['heartbeat', {}],
    ['complete', { place }],
    ['fail', { place, failure: { code: 'STEP_FAILED', message: 'late' } }],
  ] as const) {
    expect({ name, ...(await host.ask(lost!.ticket, name, body)) }).toMatchObject({ name, status: 403 });
  }
  expect(fleet.stopped).toEqual(['machine-1']);
  expect((await eventsOf(home, id)).slice(0, before.events.length)).toEqual(before.events);
  expect(JSON.parse(await partition())[0].value).toMatchObject({ attempt: 2, state: 'open' });
  sandbox.release('on');
  const build = await building;
  expect(build).toMatchObject({ state: 'succeeded', execution: 'SUCCEEDED' });
  const { interrupted, done, events } = await toldOf(world, id);
  expect(interrupted).toEqual([expect.stringContaining('RUN print second')]);
  expect(done).toEqual(steps);
  expect(events.some((e) => e.type === 'note' && e.text.includes('started again'))).toBe(true);
  // The first RUN was not done again.
  expect(sandbox.ran.filter((command) => command.includes('write /made'))).toHaveLength(1);
  expect([...fleet.running]).toEqual([]);
});

test.skipIf(why)(
  'a runner that is lost each time is replaced until there were four, and then the build fails for that',
  async () => {
    await using world = await accountWorld({ silence: 100 });
    const { host, fleet } = world;
    host.hook = (path) => (nameOf(`POST ${path}`) === 'claim' ? undefined : 'cut');
    const id = await started(world, dockerfile('print more'));
    const build = await world.build(id);
    expect(build).toMatchObject({
      state: 'failed',
      execution: 'FAILED',
      failure: { code: 'SANDBOX', message: expect.stringContaining('4 runners'), hint: expect.stringContaining('log') },
    });
    expect(fleet.started).toHaveLength(4);
    expect([...fleet.running]).toEqual([]);
  },
);

test.skipIf(why)('a runner that can reach nobody gives up by itself', async () => {
  await using world = await accountWorld({ silence: 60_000 });
  const { host, fleet, sandbox } = world;
  const id = await started(world, dockerfile('say here; hang'));
  const building = world.build(id);
  await sandbox.said('here');
  const [machine] = fleet.running.values();
  host.cut.add(machine!.ticket.token);
  // The fleet's runners wait for a second.
  expect(await machine!.ended).toMatchObject({
    state: 'lost',
    error: { code: 'UPSTREAM', message: expect.stringContaining('not heard of') },
  });
  await world.home.fresh().records.requestCancel(id);
  for (const token of world.tasks.waiting) await world.tasks.signals.failed(token, 'CANCELLED', 'cancelled');
  expect(await building).toMatchObject({ state: 'cancelled' });
  expect([...fleet.running]).toEqual([]);
});

test.skipIf(why)('machines that are refused for now are asked for again, and nothing of them is looked for', async () => {
  await using world = await accountWorld();
  const { fleet } = world;
  const { SlipwayError } = await import('../../shared/errors.ts');
  let refusals = 0;
  fleet.beforeStart = async () => {
    refusals += 1;
    if (refusals <= 6) throw new SlipwayError('TOO_MANY_REQUESTS', 'InsufficientCapacityException');
  };
  const build = await world.build(await started(world, dockerfile('print more')));
  // Not counted among the runners that were lost.
  expect(build).toMatchObject({ state: 'succeeded' });
  expect(fleet.started).toHaveLength(1);
});
