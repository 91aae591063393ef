import { expect, test, vi } from 'vitest';
import { jobKeys } from '../../shared/store/keys.ts';
import { eventsOf, requestOf, startBuild } from '../support/account-home.ts';
import { accountWorld } from '../support/account-world.ts';
import { rearm } from '../support/faulty.ts';
import { whyNoRoot } from '../support/roots.ts';
import { questionOf, startTwoRuns, stepsOfTwoRuns, toldOf } from '../support/two-runs.ts';

vi.setConfig({ testTimeout: 120000 });

// Layers are unpacked with their owners.
const why = whyNoRoot('busybox');

test.skipIf(why)('what a lost runner says when it is heard again changes nothing', async () => {
  await using world = await accountWorld({ silence: 2000 });
  const { home, host, fleet, sandbox } = world;
  const id = await startTwoRuns(world, 'say here; wait on');
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
  expect(done).toEqual(stepsOfTwoRuns);
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
    host.hook = (path) => (questionOf(`POST ${path}`) === 'claim' ? undefined : 'cut');
    const id = await startTwoRuns(world, 'print more');
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
  const id = await startTwoRuns(world, 'say here; hang');
  const building = world.build(id);
  await sandbox.said('here');
  const [machine] = fleet.running.values();
  host.cut.add(machine!.ticket.token);
  // The fleet's runners wait for a second.
  expect(await machine!.ended).toMatchObject({
    state: 'lost',
    error: { code: 'UPSTREAM', message: expect.stringContaining('has not answered for') },
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
  const build = await world.build(await startTwoRuns(world, 'print more'));
  // Not counted among the runners that were lost.
  expect(build).toMatchObject({ state: 'succeeded' });
  expect(fleet.started).toHaveLength(1);
});

test.skipIf(why)(
  'a launcher that dies right after it has started a machine: the machine is found by its name, and stopped first',
  async () => {
    await using world = await accountWorld();
    const { faults, fleet } = world;
    const id = await startTwoRuns(world, 'print more');
    let died = false;
    rearm(faults, ({ name }) => {
      if (name !== 'machines.start' || died) return undefined;
      died = true;
      return 'death after';
    });
    const runningAtStart: number[] = [];
    fleet.beforeStart = async () => void runningAtStart.push(fleet.running.size);
    const build = await world.build(id);
    rearm(faults);
    expect(build).toMatchObject({ state: 'succeeded' });
    expect(fleet.started).toEqual([`${id}-0-1`, `${id}-0-2`]);
    // Nobody knew the handle of the first; it was gone before the second came.
    expect(runningAtStart).toEqual([0, 0]);
    expect(fleet.stopped).toEqual(['machine-1', 'machine-2']);
  },
);

test.skipIf(why)('a stage that fails stops the machines of those beside it, which nobody waits for any more', async () => {
  await using world = await accountWorld();
  const { fleet, home } = world;
  const text = `FROM scratch AS one
RUN say here; hang
FROM scratch AS two
RUN wait here; exit 3
FROM scratch
COPY --from=one / /
COPY --from=two / /
`;
  const build = await world.build(await startBuild(home, requestOf(text)));
  expect(build).toMatchObject({
    state: 'failed',
    execution: 'FAILED',
    failure: { code: 'STEP_FAILED', details: { exitCode: 3 }, where: { start: { line: 4 } } },
  });
  expect(fleet.started).toHaveLength(2);
  expect([...fleet.running]).toEqual([]);
});

test.skipIf(why)('an execution that is stopped by hand takes its build and its machines with it', async () => {
  await using world = await accountWorld();
  const { fleet, sandbox } = world;
  const id = await startTwoRuns(world, 'say here; hang');
  // Nobody hears of its end but EventBridge.
  void world.machine().execute({ build: id });
  await sandbox.said('here');
  expect(fleet.running.size).toBe(1);
  // Before anybody has told: at its next sign of life the runner hears that it is not waited for.
  const [machine] = fleet.running.values();
  world.tasks.forget();
  expect(await machine!.ended).toMatchObject({ state: 'lost', error: { message: expect.stringContaining('cancelled') } });
  for (const _ of [1, 2]) await world.call('launch', { do: 'ended', build: id, status: 'ABORTED' });
  expect([...fleet.running]).toEqual([]);
  expect(await world.home.fresh().records.get(id)).toMatchObject({
    state: 'failed',
    failure: { message: expect.stringContaining('ABORTED') },
  });
});
