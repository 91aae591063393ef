import { expect, test, vi } from 'vitest';
import { accountWorld } from '../support/account-world.ts';
import { whyNoRoot } from '../support/roots.ts';
import { questionOf, startTwoRuns, stepsOfTwoRuns, toldOf } from '../support/two-runs.ts';

vi.setConfig({ testTimeout: 300000 });

// Layers are unpacked with their owners.
const why = whyNoRoot('busybox');

test.skipIf(why)('a runner that is lost at any of its calls is stopped and replaced, and its log goes on', async () => {
  await using world = await accountWorld({ silence: 500 });
  const { host, fleet } = world;
  const right = await world.build(await startTwoRuns(world, 'print more'));
  expect(right.failure).toBeUndefined();
  const calls = host.calls.map(questionOf).filter((name) => name !== 'heartbeat');
  expect(calls).toEqual(expect.arrayContaining(['claim', 'lookup', 'blobs/write', 'blobs/confirm', 'save', 'log', 'complete']));
  let lost = 0;
  let replaced = 0;
  for (const when of ['cut', 'cut after'] as const) {
    for (let at = 1; ; at++) {
      const id = await startTwoRuns(world, 'print more');
      let count = 0;
      let first: string | undefined;
      host.hook = (path, token) => {
        first ??= token;
        if (token !== first || questionOf(`POST ${path}`) === 'heartbeat') return undefined;
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
      expect({ when, at, done }).toEqual({ when, at, done: stepsOfTwoRuns });
      if (count < at) break;
      lost += 1;
      if (fleet.started.length > before + 1) replaced += 1;
    }
  }
  expect(lost).toBeGreaterThan(16);
  // One that was lost after its last RUN had been kept needs no other.
  expect(replaced).toBeGreaterThan(lost - 8);
});
