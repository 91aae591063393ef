import { createReadStream, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test, vi } from 'vitest';
import { bundleProgram } from '../../infra/program-bundle.ts';
import { loadArchive } from '../../shared/archive/load.ts';
import type { Machines } from '../../shared/workflow/launcher.ts';
import { eventsOf, requestOf, startBuild } from '../support/account-home.ts';
import { accountWorld } from '../support/account-world.ts';
import { busyboxImage, busyboxReference } from '../support/base-images.ts';
import { fakeServices } from '../support/fake-runner-services.ts';
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

test.skipIf(why)(
  'a MicroVM that is killed in the middle of a RUN is terminated and replaced by another, with the same digest',
  async () => {
    const program = mkdtempSync(join(tmpdir(), 'slw-runner-'));
    try {
      bundleProgram('runner', program);
      await using services = await fakeServices(program);
      const microvms: Machines = {
        // The base is of this machine's architecture, and so are the fake's machines.
        start: (_, ticket, name) => services.machines.start('linux/arm64', ticket, name),
        find: (_, ticket, name) => services.machines.find('linux/arm64', ticket, name),
        stop: (handle) => services.machines.stop(handle),
      };
      // Longer than a machine takes to come: its first sign of life is its claim.
      await using world = await accountWorld({ silence: 20_000, machines: microvms });
      const { home } = world;
      await loadArchive(home.fresh(), createReadStream((await busyboxImage()).archive));
      const text = `FROM ${busyboxReference}\nRUN echo one > /one\nRUN echo here; sleep 3; echo two > /two\n`;
      const request = requestOf(text, { noCache: true, tags: [] });
      const id = await startBuild(home, request);
      const building = world.build(id);
      const here = async () => (await eventsOf(home, id)).some((e) => e.type === 'log' && e.text.includes('here'));
      await vi.waitFor(async () => expect(await here()).toBe(true), { timeout: 60_000, interval: 20 });
      await services.all()[0]!.kill();
      const build = await building;
      expect(build.failure).toBeUndefined();
      await services.allEnded();
      expect(services.all()).toHaveLength(2);
      const { interrupted } = await toldOf(world, id);
      expect(interrupted).toEqual([expect.stringContaining('RUN echo here')]);
      const undisturbed = await world.build(await startBuild(home, request));
      expect(undisturbed.image).toBe(build.image);
    } finally {
      rmSync(program, { recursive: true, force: true });
    }
  },
);
