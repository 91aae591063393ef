import { expect, test, vi } from 'vitest';
import type { BuildEvent } from '../../shared/build/events.ts';
import { TocTap } from '../../shared/build/toc-tap.ts';
import { pullImage } from '../../shared/client/pull.ts';
import { pushImage } from '../../shared/client/push.ts';
import { LayerRecords } from '../../shared/layer/record.ts';
import type { Digest } from '../../shared/oci/digest.ts';
import { parseReference } from '../../shared/oci/reference.ts';
import type { Blobs } from '../../shared/store/blobs.ts';
import { buildKeys, workKeys } from '../../shared/store/keys.ts';
import { failStep, finishStep, planBuildStep, planOf, readyStages, runStageStep } from '../../shared/workflow/steps.ts';
import { withBase } from '../support/account-base.ts';
import { accountHome, drive, eventsOf, project, requestOf, sendContext, startBuild } from '../support/account-home.ts';
import { startUpstream } from '../support/upstream.ts';

// Whole builds on disk: seconds on a busy machine.
vi.setConfig({ testTimeout: 60_000 });

const stages = `FROM base AS one
COPY app /one
FROM base AS two
COPY --chown=app:app app/main.js /two/
FROM one
COPY --from=two /two /both
LABEL a=b
`;

test('a build of several stages goes through, each state by a process that knows only the id', async () => {
  await using home = await accountHome();
  const context = await withBase(home);
  const id = await startBuild(home, requestOf(stages, { context }));
  const build = await drive(home, id);
  expect(build.failure).toBeUndefined();
  expect(build.state).toBe('succeeded');
  const events = await eventsOf(home, id);
  expect(events.at(-1)).toMatchObject({ type: 'result', digest: build.image, tags: ['app:latest'] });
  const names = events.flatMap((e) => (e.type === 'started' ? [e.name] : []));
  expect(names).toContain('[two 2/2] COPY --chown=app:app app/main.js /two/');
  expect(await home.fresh().catalog.resolve('app', 'latest')).toMatchObject({ digest: build.image });

  const again = await drive(home, await startBuild(home, requestOf(stages, { context })));
  expect(again.image).toBe(build.image);
});

test('each state run a second time changes nothing', async () => {
  await using home = await accountHome();
  const context = await withBase(home);
  const id = await startBuild(home, requestOf(stages, { context }));
  const twice = async <T>(state: () => Promise<T>): Promise<T> => {
    await state();
    const before = {
      events: await eventsOf(home, id),
      record: await home.fresh().records.get(id),
      blobs: await home.blobs.list({ limit: 1000 }),
    };
    const answer = await state();
    expect({
      events: await eventsOf(home, id),
      record: await home.fresh().records.get(id),
      blobs: await home.blobs.list({ limit: 1000 }),
    }).toEqual(before);
    return answer;
  };
  await twice(() => planBuildStep(id, home.fresh()));
  expect(await twice(() => readyStages(id, home.fresh()))).toEqual({ stages: [0, 1], done: false });
  await twice(() => runStageStep(id, 1, home.fresh()));
  expect(await twice(() => readyStages(id, home.fresh()))).toEqual({ stages: [0], done: false });
  await twice(() => runStageStep(id, 0, home.fresh()));
  expect(await twice(() => readyStages(id, home.fresh()))).toEqual({ stages: [2], done: false });
  await twice(() => runStageStep(id, 2, home.fresh()));
  expect(await twice(() => readyStages(id, home.fresh()))).toEqual({ stages: [], done: true });
  const finished = await twice(() => finishStep(id, home.fresh()));
  expect(finished.state).toBe('succeeded');
  expect(await failStep(id, {}, home.fresh())).toEqual(finished);
});

test('a stage that fails ends the build with its place and its words', async () => {
  await using home = await accountHome();
  const context = await withBase(home);
  const build = await drive(home, await startBuild(home, requestOf('FROM base\nCOPY nothing /x\n', { context })));
  expect(build).toMatchObject({ state: 'failed', failure: { where: { start: { line: 2 } } } });
  const events = await eventsOf(home, build.id);
  expect(events.some((e: BuildEvent) => e.type === 'failed')).toBe(true);
  expect(events.at(-1)).toMatchObject({ type: 'error', failure: build.failure });
});

test('a Dockerfile that is wrong fails in planning', async () => {
  await using home = await accountHome();
  const build = await drive(home, await startBuild(home, requestOf('FROM base\nFLY away\n')));
  expect(build).toMatchObject({ state: 'failed', failure: { code: 'DOCKERFILE', where: { start: { line: 2 } } } });
});

test('a build that is cancelled stops at its next state, and ends as cancelled', async () => {
  await using home = await accountHome();
  const context = await withBase(home);
  const id = await startBuild(home, requestOf(stages, { context }));
  await planBuildStep(id, home.fresh());
  await home.fresh().records.requestCancel(id);
  await expect(runStageStep(id, 0, home.fresh())).rejects.toMatchObject({ code: 'CANCELLED' });
  const build = await failStep(id, {}, home.fresh());
  expect(build).toMatchObject({ state: 'cancelled' });
});

test('a RUN that nobody has done asks for a runner, and the log stays open for it', async () => {
  await using home = await accountHome();
  const context = await withBase(home);
  const id = await startBuild(home, requestOf('FROM base\nCOPY app /app\nRUN make\n', { context }));
  await planBuildStep(id, home.fresh());
  expect(await runStageStep(id, 0, home.fresh())).toEqual({ status: 'runner', platform: 'linux/amd64' });
  expect(await runStageStep(id, 0, home.fresh())).toEqual({ status: 'runner', platform: 'linux/amd64' });
  const events = await eventsOf(home, id);
  const starts = events
    .flatMap((e) => (e.type === 'started' ? [e.name] : []))
    .filter((name) => name.startsWith('[') && !name.startsWith('[internal'));
  expect(starts).toEqual([expect.stringMatching(/FROM base/), expect.stringMatching(/COPY/), expect.stringMatching(/RUN make/)]);
  expect(events.some((e) => e.type === 'failed')).toBe(false);
  const end = await failStep(id, { cause: 'no runner' }, home.fresh());
  expect(end.failure?.message).toContain('no runner');
});

test('with --no-cache a stage is built anew, but not again by its second process', async () => {
  await using home = await accountHome();
  const context = await withBase(home);
  const text = 'FROM base\nCOPY app /app\nRUN make\n';
  for (const _ of [1, 2]) {
    const id = await startBuild(home, requestOf(text, { context, noCache: true }));
    await planBuildStep(id, home.fresh());
    await runStageStep(id, 0, home.fresh());
    const copy = (await eventsOf(home, id)).filter((e) => e.type === 'done');
    expect(copy.at(-1)).not.toHaveProperty('cached');
    // As if the first process had died while it had the log, and had told nothing yet.
    const log = await home.disk.table.get(buildKeys.log(id));
    await home.disk.table.put(buildKeys.log(id), { ...(log!.value as object), sources: {} });
    await home.disk.table.put(workKeys.log(id, 'stage-0'), { attempt: 1, next: 0, started: 0, done: 0, owner: 'who died' });
    await runStageStep(id, 0, home.fresh());
    expect((await eventsOf(home, id)).filter((e) => e.type === 'done').at(-1)).toMatchObject({ cached: true });
  }
});

test('a build that only copies onto a base that has to be fetched first opens none of its layers', async () => {
  await using upstream = await startUpstream();
  await using maker = await accountHome();
  await withBase(maker);
  const reference = parseReference(`${upstream.host}/base:1`);
  const made = await maker.fresh().catalog.resolve('base', 'latest');
  await maker.fresh().catalog.commit(reference.repository, {
    bytes: Buffer.from(await new Response((await maker.blobs.open(made!.digest))!.body).arrayBuffer()),
    mediaType: made!.mediaType,
    tags: ['1'],
    links: await maker.blobs.list({ limit: 1000 }),
  });
  await pushImage(maker.fresh(), upstream.client, { reference: { ...reference, tag: '1' } } as never);

  const opened: Digest[] = [];
  await using home = await accountHome({
    wrap: ({ blobs, table }) => ({
      table,
      blobs: new Proxy(blobs, {
        get(target, name) {
          const member = Reflect.get(target, name, target) as unknown;
          if (name === 'local' || name === 'stage' || name === 'adopt') return undefined;
          if (name !== 'open') return typeof member === 'function' ? member.bind(target) : member;
          return (...args: Parameters<Blobs['open']>) => {
            opened.push(args[0]);
            return target.open(...args);
          };
        },
      }),
    }),
    pull: async (name, platform, signal) => {
      const ports = home.fresh();
      const tap = new TocTap(new LayerRecords(ports.table, ports.blobs));
      await pullImage(ports, upstream.client, {
        reference: parseReference(name),
        platform: { wanted: platform, strict: true },
        tap: tap.tap,
        signal,
      });
      await tap.finish();
    },
  });
  const id = await sendContext(home.fresh(), { 'app/main.js': 'go()' });
  const context = { kind: 'stored' as const, id, project };
  const text = `FROM ${upstream.host}/base:1\nCOPY --chown=app app /srv/app\nWORKDIR /srv/app\n`;
  const build = await drive(home, await startBuild(home, requestOf(text, { context })));
  expect(build.failure).toBeUndefined();
  const { starts } = await planOf(build.id, home.fresh());
  const digests = starts.get(0)!.layers.map((layer) => layer.descriptor.digest);
  expect(digests).toHaveLength(2);
  expect(opened.filter((digest) => digests.includes(digest))).toEqual([]);
});

test('a base is made of nobody else’s layers, also with their digests known', async () => {
  await using upstream = await startUpstream();
  const reference = parseReference(`${upstream.host}/evil:1`);
  await using maker = await accountHome();
  await using home = await accountHome({
    pull: async (name, platform, signal, store) => {
      const reference = parseReference(name);
      await pullImage(store, upstream.client, { reference, platform: { wanted: platform, strict: true }, signal });
    },
  });
  // The same image in both homes, and from one of them at another registry.
  for (const [where, tag] of [
    [maker, reference.repository],
    [home, 'secret/app'],
  ] as const) {
    const context = { kind: 'stored' as const, id: await sendContext(where.fresh(), { 'app/key': 'secret' }), project };
    const buildArgs = { SOURCE_DATE_EPOCH: '0' };
    const request = requestOf('FROM scratch\nCOPY app /app\n', { context, buildArgs, tags: [`${tag}:1`] });
    expect((await drive(where, await startBuild(where, request))).failure).toBeUndefined();
  }
  await pushImage(maker.fresh(), upstream.client, { reference } as never);
  const start = await startBuild(home, requestOf('FROM secret/app:1\nLABEL a=b\n'));
  await planBuildStep(start, home.fresh());
  const layer = (await planOf(start, home.fresh())).starts.get(0)!.layers[0]!.descriptor.digest;
  // Which names the layer, and gives it to nobody.
  upstream.hook = (call, next) => (call.path.endsWith(`/blobs/${layer}`) ? { status: 404, headers: {} } : next(call));

  const { repository } = reference;
  const plan = async (reads: readonly string[]) => {
    const { build } = await home.fresh().records.create(requestOf(`FROM ${upstream.host}/evil:1\nLABEL a=b\n`), { reads });
    await planBuildStep(build.id, home.fresh());
  };
  await expect(plan([repository])).rejects.toMatchObject({ message: expect.stringContaining('failed to resolve') });
  expect(await home.fresh().catalog.linked(repository, layer)).toBeUndefined();
  // Whoever may pull it anyway need not send for it again.
  await plan([repository, 'secret/app']);
  expect(await home.fresh().catalog.linked(repository, layer)).toBeDefined();
});

test('a base with the host of the home itself is its own, and is fetched from nowhere', async () => {
  const asked: string[] = [];
  await using home = await accountHome({
    pull: async (name) => {
      asked.push(name);
    },
  });
  await drive(home, await startBuild(home, requestOf('FROM scratch\nLABEL a=b\n', { tags: ['team/base:1'] })));
  const plan = async (dockerfile: string, pull = false) => {
    const id = await startBuild(home, requestOf(dockerfile, { pull }));
    const ports = { ...home.fresh(), ownHost: 'images.example.com' };
    await planBuildStep(id, ports).catch(() => undefined);
    return (await eventsOf(home, id)).find(({ type }) => type === 'failed');
  };
  expect(await plan('FROM images.example.com/team/base:1\n')).toBeUndefined();
  expect(await plan('FROM images.example.com/team/base:1\n', true)).toBeUndefined();
  // Not what somebody else has under that name.
  expect(await plan('FROM images.example.com/team/other\n')).toMatchObject({ message: expect.stringContaining('not found') });
  expect(asked).toEqual([]);
  expect(await plan('FROM images.example.com.evil.test/team/base:1\n')).toBeDefined();
  expect(asked).toEqual(['images.example.com.evil.test/team/base:1']);
});
