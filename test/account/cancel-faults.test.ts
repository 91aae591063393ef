import { expect, test, vi } from 'vitest';
import { project, requestOf, sendContext } from '../support/account-home.ts';
import { accountWorld } from '../support/account-world.ts';
import { rearm } from '../support/faulty.ts';
import { whyNoRoot } from '../support/roots.ts';
import { twoRuns } from '../support/two-runs.ts';
import { worldBuilds } from '../support/world-builds.ts';

vi.setConfig({ testTimeout: 600_000 });

// Layers are unpacked with their owners.
const why = whyNoRoot('busybox');

test.skipIf(why)('cancelled at any one of its writes, a build ends whole and leaves nothing running', async () => {
  await using world = await accountWorld();
  const { faults, fleet, home, tasks } = world;
  const { builds, ended } = worldBuilds(world);
  const context = { kind: 'stored' as const, id: await sendContext(home.fresh(), { 'app/a': 'a' }), project };
  const ends: string[] = [];
  for (let at = 1; ; at++) {
    const tag = `other:${at}`;
    let cancelled: Promise<void> | undefined;
    const started = Promise.withResolvers<string>();
    rearm(faults, ({ isWrite, write }) => {
      // Beside the write, not before or after it.
      if (isWrite && write === at) cancelled = started.promise.then((of) => builds.cancel(of));
      return undefined;
    });
    const id = await builds.start(requestOf(twoRuns('print more'), { context, noCache: true, tags: [tag] }));
    started.resolve(id);
    const execution = await ended(id);
    await cancelled;
    const build = await home.fresh().records.get(id);
    expect({ at, running: [...fleet.running.keys()], waiting: tasks.waiting }).toEqual({ at, running: [], waiting: [] });
    const moved = (await home.fresh().catalog.resolve('other', String(at)))?.digest;
    if (build?.state === 'succeeded') {
      expect({ at, execution, moved }).toEqual({ at, execution: { status: 'SUCCEEDED' }, moved: build.image });
    } else {
      expect({ at, state: build?.state }).toEqual({ at, state: 'cancelled' });
      // One that comes while the tags move is too late for them; they are whole all the same.
      if (execution.status === 'FAILED') expect({ at, moved }).toEqual({ at, moved: undefined });
    }
    ends.push(build?.state ?? 'none');
    if (cancelled === undefined) break;
  }
  rearm(faults);
  expect(ends.filter((state) => state === 'cancelled').length).toBeGreaterThan(40);
  expect(ends.at(-1)).toBe('succeeded');
});
