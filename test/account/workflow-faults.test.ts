import { expect, test } from 'vitest';
import { isCode } from '../../shared/errors.ts';
import { failStep, finishStep, planBuildStep, readyStages, runStageStep } from '../../shared/workflow/steps.ts';
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
import { noFaults, withFaults } from '../support/faulty.ts';

const files = { 'etc/passwd': 'root:x:0:0::/:/bin/sh\n', 'app/main.js': 'go()' };
const dockerfile = 'FROM base AS one\nCOPY app /one\nFROM base\nCOPY --from=one /one /two\nWORKDIR /srv\n';

const isPassing = (error: unknown): boolean => isCode(error, 'STORE', 'STORE_CONFLICT', 'TOO_MANY_REQUESTS');

/** As the state machine does: what may pass is tried again, a few times, by another process. */
async function retried<T>(state: () => Promise<T>, times: number): Promise<T> {
  for (let tries = 1; ; tries++) {
    try {
      return await state();
    } catch (error) {
      if (!isPassing(error) || tries === times) throw error;
    }
  }
}

async function driveWithRetries(home: AccountHome, id: string, times: number) {
  try {
    await retried(() => planBuildStep(id, home.fresh()), times);
    for (;;) {
      const { stages, done } = await retried(() => readyStages(id, home.fresh()), times);
      if (done) break;
      for (const stage of stages) await retried(() => runStageStep(id, stage, home.fresh()), times);
    }
    return await retried(() => finishStep(id, home.fresh()), times);
  } catch (error) {
    return retried(() => failStep(id, { cause: String(error) }, home.fresh()), 50);
  }
}

async function prepared() {
  const faults = noFaults();
  const home = await accountHome({ wrap: withFaults(faults) });
  const context = { kind: 'stored' as const, id: await sendContext(home.fresh(), files), project };
  const base = await drive(home, await startBuild(home, requestOf('FROM scratch\nCOPY etc /etc\n', { context, tags: ['base'] })));
  expect(base.failure).toBeUndefined();
  const request = requestOf(dockerfile, { context, noCache: true });
  const right = await drive(home, await startBuild(home, request));
  expect(right.state).toBe('succeeded');
  return { home, faults, request, right };
}

test.each(['before', 'after'] as const)(
  'a build whose process dies %s any one of its writes ends right when its state is run again',
  async (when) => {
    const { home, faults, request, right } = await prepared();
    await using _ = home;
    let broken = 0;
    for (let at = 1; ; at++) {
      const id = await startBuild(home, request);
      faults.writes = 0;
      faults.thrown = 0;
      faults.plan = (write) => (write === at ? when : undefined);
      const build = await driveWithRetries(home, id, 5);
      faults.plan = () => undefined;
      expect({ at, state: build.state, failure: build.failure, image: build.image }).toEqual({
        at,
        state: 'succeeded',
        failure: undefined,
        image: right.image,
      });
      const events = await eventsOf(home, id);
      expect(events.filter((e) => e.type === 'result')).toHaveLength(1);
      expect(await home.fresh().catalog.resolve('app', 'latest')).toMatchObject({ digest: right.image });
      if (faults.thrown === 0) break;
      broken += 1;
    }
    expect(broken).toBeGreaterThan(20);
  },
  60_000,
);

test('a store that stays broken fails the build with its reason, and moves no tag', async () => {
  const { home, faults, request, right } = await prepared();
  await using _ = home;
  const id = await startBuild(home, { ...request, tags: ['other:1'] });
  await planBuildStep(id, home.fresh());
  faults.plan = () => 'before';
  await expect(retried(() => runStageStep(id, 0, home.fresh()), 3)).rejects.toMatchObject({ code: 'STORE' });
  faults.plan = () => undefined;
  const build = await failStep(id, { error: 'STORE', cause: '{"errorType":"STORE","errorMessage":"write broke"}' }, home.fresh());
  expect(build).toMatchObject({ state: 'failed', failure: { message: expect.stringMatching(/broke/) } });
  expect((await eventsOf(home, id)).at(-1)).toMatchObject({ type: 'error' });
  expect(await home.fresh().catalog.resolve('other', '1')).toBeUndefined();
  expect(right.state).toBe('succeeded');
});

test('a store that refuses one write in thirteen only makes a build slower', async () => {
  const { home, faults, request, right } = await prepared();
  await using _ = home;
  const id = await startBuild(home, request);
  faults.plan = (write) => (write % 13 === 0 ? 'before' : undefined);
  const build = await driveWithRetries(home, id, 60);
  expect(faults.thrown).toBeGreaterThan(1);
  faults.plan = () => undefined;
  expect({ state: build.state, failure: build.failure, image: build.image }).toEqual({ state: 'succeeded', image: right.image });
}, 60_000);
