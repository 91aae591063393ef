import { expect, test, vi } from 'vitest';
import { UsageRecords } from '../../shared/build/usage-records.ts';
import { isOverBudget, mustStop } from '../../shared/workflow/budget.ts';
import { failStep, planBuildStep, readyStages, runStageStep } from '../../shared/workflow/steps.ts';
import {
  type AccountHome,
  accountHome,
  drive,
  eventsOf,
  project,
  requestOf,
  sendContext,
  startBuild,
} from '../support/account-home.ts';
import { jobHost } from '../support/job-host.ts';

vi.setConfig({ testTimeout: 60_000 });

/** Ten cents, in transitions. */
const spend = (home: AccountHome, id: string, transitions = 4000) =>
  new UsageRecords(home.table).save(id, 'plan.a', { at: 1, usage: { stateTransitions: transitions } });
const tenCents = 100_000_000;

async function planned(home: AccountHome, text: string, budget?: number) {
  const context = { kind: 'stored' as const, id: await sendContext(home.fresh(), { 'app/main.js': 'go()' }), project };
  const id = await startBuild(home, requestOf(text, { context, ...(budget === undefined ? {} : { budget }) }));
  await planBuildStep(id, home.fresh());
  return id;
}

test('a build that has cost more than it may goes no further, and says what it has cost', async () => {
  await using home = await accountHome();
  const id = await planned(home, 'FROM scratch\nCOPY app /app\n', tenCents);
  await spend(home, id);
  // What it may cost, it may.
  expect(await readyStages(id, home.fresh())).toEqual({ stages: [0], done: false });
  await spend(home, id, 4000);
  await new UsageRecords(home.table).save(id, 'stage.b', { at: 1, usage: { s3Reads: 1 } });
  await expect(runStageStep(id, 0, home.fresh())).rejects.toMatchObject({ code: 'CANCELLED' });
  const build = await home.fresh().records.get(id);
  expect(build).toMatchObject({
    state: 'failed',
    budget: tenCents,
    failure: { code: 'BUDGET', message: expect.stringMatching(/has cost \$0\.10 by estimate, and may cost \$0\.10$/) },
  });
  expect((await eventsOf(home, id)).at(-1)).toMatchObject({ type: 'error', failure: { code: 'BUDGET' } });
  // The state machine hears only that it was stopped.
  expect(await failStep(id, { error: 'CANCELLED', cause: 'x' }, home.fresh())).toEqual(build);
  await expect(readyStages(id, home.fresh())).rejects.toMatchObject({ code: 'CANCELLED' });
});

test('a build without a budget, and one within it, go on; one that has ended stays as it ended', async () => {
  await using home = await accountHome();
  const free = await planned(home, 'FROM scratch\nCOPY app /app\n');
  await spend(home, free, 10 ** 9);
  expect(await mustStop(free, home.fresh())).toBe(false);
  const within = await planned(home, 'FROM scratch\nCOPY app /app\n', tenCents);
  expect(await mustStop(within, home.fresh())).toBe(false);
  const done = await drive(home, within);
  expect(done.state).toBe('succeeded');
  await spend(home, within, 10 ** 9);
  expect(await isOverBudget(done, home.fresh())).toBe(false);
  expect(await home.fresh().records.get(within)).toEqual(done);
  expect(await mustStop(within, home.fresh())).toBe(true);
});

test('a stage that is under way is stopped', async () => {
  await using home = await accountHome();
  const id = await planned(home, 'FROM scratch\nCOPY app /app\n', tenCents);
  const ports = home.fresh();
  // The stage waits for its context until it is stopped.
  const stage = runStageStep(id, 0, {
    ...ports,
    context: (_, signal) => new Promise((__, reject) => signal.addEventListener('abort', () => reject(signal.reason as Error))),
  });
  await spend(home, id, 5000);
  await expect(stage).rejects.toThrow();
  expect(await home.fresh().records.get(id)).toMatchObject({ state: 'failed', failure: { code: 'BUDGET' } });
});

test('a runner hears it at its next sign of life, and the time it has taken counts', async () => {
  let now = Date.now();
  await using home = await accountHome({ clock: () => now });
  await using host = await jobHost(home);
  const id = await planned(home, 'FROM scratch\nCOPY app /app\nRUN make\n', tenCents);
  expect(await runStageStep(id, 0, home.fresh())).toMatchObject({ status: 'runner' });
  const { ticket } = await host.open(id, 0);
  expect(await host.ask(ticket, 'claim')).toMatchObject({ status: 200 });
  expect(await host.ask(ticket, 'heartbeat')).toEqual({ status: 200, body: { cancelled: false } });
  const runner = { kind: 'codebuild', size: 'X64Medium', stage: 0, attempt: 1, started: now } as const;
  await new UsageRecords(home.table).save(id, 'runner.x', { at: 1, usage: {}, runner });
  // Ten minutes are ten cents.
  now += 600_000;
  expect(await host.ask(ticket, 'heartbeat')).toEqual({ status: 200, body: { cancelled: false } });
  now += 1000;
  expect(await host.ask(ticket, 'heartbeat')).toEqual({ status: 200, body: { cancelled: true } });
  expect(await home.fresh().records.get(id)).toMatchObject({ state: 'failed', failure: { code: 'BUDGET' } });
});
