import { expect, test, vi } from 'vitest';
import { StepFunctionsBuilds } from '../../functions/step-functions-builds.ts';
import { BuildRecords } from '../../shared/build/build-records.ts';
import { UsageRecords } from '../../shared/build/usage-records.ts';
import { project, requestOf, sendContext } from '../support/account-home.ts';
import { type AccountWorld, accountWorld } from '../support/account-world.ts';
import { whyNoRoot } from '../support/roots.ts';
import { twoRuns } from '../support/two-runs.ts';
import { worldBuilds } from '../support/world-builds.ts';

vi.setConfig({ testTimeout: 60_000 });

const why = whyNoRoot('busybox');

async function requested(world: AccountWorld, second: string) {
  const context = { kind: 'stored' as const, id: await sendContext(world.home.fresh(), { 'app/a': 'a' }), project };
  return requestOf(twoRuns(second), { context, noCache: true });
}

async function lastEvent(events: AsyncIterable<{ readonly event: { readonly type: string } }>) {
  let last: { readonly type: string } | undefined;
  for await (const { event } of events) last = event;
  return last;
}

test.skipIf(why)('a build is started once, however often that is asked for, and followed to its end', async () => {
  await using world = await accountWorld();
  const { builds, ended } = worldBuilds(world);
  const request = await requested(world, 'print more');
  const id = await builds.start(request, { clientToken: 'once', by: 'me' });
  expect(await builds.start(request, { clientToken: 'once', by: 'me' })).toBe(id);
  expect(await lastEvent(builds.events(id))).toMatchObject({ type: 'result' });
  expect(await ended(id)).toEqual({ status: 'SUCCEEDED' });
  expect(await builds.get(id)).toMatchObject({ state: 'succeeded' });
  // What it used and cost, where somebody asks: the runner has told of itself, a function of four transitions.
  await new UsageRecords(world.home.table).save(id, 'finish.a', { at: 1, usage: { stateTransitions: 4 } });
  expect(await builds.get(id)).toMatchObject({
    usage: { stateTransitions: 4, s3Writes: 2 },
    cost: { services: { stepFunctions: 100_000 } },
  });
  expect(await builds.get(id, { cost: false })).not.toHaveProperty('cost');
  // Whoever asks for its end now is too late, and changes nothing.
  await builds.cancel(id);
  expect(await builds.get(id)).toMatchObject({ state: 'succeeded' });
});

test.skipIf(why)('cancelling ends the build at once, and its machine right after', async () => {
  await using world = await accountWorld();
  const { builds, ended } = worldBuilds(world);
  const { fleet, sandbox } = world;
  const id = await builds.start(await requested(world, 'say here; hang'));
  await sandbox.said('here');
  expect(fleet.running.size).toBe(1);
  const following = lastEvent(builds.events(id));
  await builds.cancel(id);
  expect(await builds.get(id)).toMatchObject({ state: 'cancelled' });
  expect(await following).toMatchObject({ type: 'error', failure: { code: 'CANCELLED' } });
  // Nobody waits for a heartbeat: the task is failed, and the state machine stops the machine by its own way.
  expect(await ended(id)).toMatchObject({ status: 'FAILED', error: 'CANCELLED' });
  expect(fleet.stopped).toEqual(['machine-1']);
  expect([...fleet.running]).toEqual([]);
  await builds.cancel(id);
  // Asked again, nothing is started anew.
  expect(fleet.started).toHaveLength(1);
});

test.skipIf(why)('cancelled while its machine is being started: whoever starts it stops it', async () => {
  await using world = await accountWorld();
  const { builds, ended } = worldBuilds(world);
  const { fleet } = world;
  const starting = Promise.withResolvers<void>();
  const go = Promise.withResolvers<void>();
  fleet.beforeStart = async () => {
    starting.resolve();
    await go.promise;
  };
  const id = await builds.start(await requested(world, 'print more'));
  await starting.promise;
  await builds.cancel(id);
  // By now the execution may have asked for an end of what cannot be seen yet.
  await vi.waitFor(() => expect(world.calls).toContain('launch:stop'), { timeout: 10_000 });
  go.resolve();
  await ended(id);
  await vi.waitFor(() => expect(fleet.stopped).toEqual(['machine-1']), { timeout: 10_000 });
  expect([...fleet.running]).toEqual([]);
  expect(await builds.get(id)).toMatchObject({ state: 'cancelled' });
});

test.skipIf(why)('cancelled while a base is fetched: the fetch is stopped', async () => {
  const pulling = Promise.withResolvers<void>();
  await using world = await accountWorld({
    pull: (_name, _platform, signal) =>
      new Promise((_, reject) => {
        pulling.resolve();
        signal.addEventListener('abort', () => reject(signal.reason), { once: true });
      }),
  });
  const { builds, ended } = worldBuilds(world);
  const id = await builds.start(requestOf('FROM registry.invalid/base:1\nRUN x\n'));
  await pulling.promise;
  await builds.cancel(id);
  expect(await ended(id)).toMatchObject({ status: 'FAILED' });
  expect(await builds.get(id)).toMatchObject({ state: 'cancelled' });
});

test('a build is followed while Step Functions is asked for too much; what it refuses for good is said', async () => {
  await using world = await accountWorld();
  const { build } = await world.home.fresh().records.create(requestOf('FROM scratch\n'));
  const { table, blobs } = world.home.disk;
  const refusing = (name: string) =>
    new StepFunctionsBuilds({
      client: {
        // As the SDK has it, after its own tries.
        send: async () =>
          Promise.reject(
            Object.assign(new Error(name), { name, $fault: 'client', $metadata: { httpStatusCode: 400, attempts: 3 } }),
          ),
      },
      machine: 'arn:aws:states:us-east-1:000000000000:stateMachine:builds',
      records: new BuildRecords({ table, blobs, clock: Date.now }),
      table,
      followFor: 300,
    });
  expect(await refusing('ThrottlingException').get(build.id)).toMatchObject({ state: 'queued' });
  expect(await lastEvent(refusing('ThrottlingException').events(build.id))).toBeUndefined();
  await expect(refusing('AccessDeniedException').get(build.id)).rejects.toThrow('AccessDeniedException');
});

test('a build whose execution does not exist yet, or cannot be asked for, is as its record says', async () => {
  await using world = await accountWorld();
  const { builds } = worldBuilds(world);
  const { build } = await world.home.fresh().records.create(requestOf('FROM scratch\n'));
  expect(await builds.get(build.id)).toMatchObject({ state: 'queued' });
  await builds.cancel(build.id);
  expect(await builds.get(build.id)).toMatchObject({ state: 'cancelled' });
  await expect(builds.get('01890000-0000-7000-8000-000000000001')).rejects.toMatchObject({ code: 'NOT_FOUND' });
  await expect(builds.cancel('01890000-0000-7000-8000-000000000001')).rejects.toMatchObject({ code: 'NOT_FOUND' });
});
