import { createReadStream, mkdtempSync, rmSync } from 'node:fs';
import { mkdir, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { beforeAll, expect, test } from 'vitest';
import { bundleProgram } from '../../infra/program-bundle.ts';
import { loadArchive } from '../../shared/archive/load.ts';
import { UsageRecords } from '../../shared/build/usage-records.ts';
import {
  type AccountHome,
  accountHome,
  drive,
  eventsOf,
  project,
  type Runner,
  requestOf,
  sendContext,
  startBuild,
} from '../support/account-home.ts';
import { busyboxImage, busyboxReference } from '../support/base-images.ts';
import { cli } from '../support/cli.ts';
import { type FakeServices, fakeServices } from '../support/fake-runner-services.ts';
import { type JobHost, jobHost } from '../support/job-host.ts';
import { whyNoRoot } from '../support/roots.ts';
import { scratch } from '../support/scratch.ts';

const why = whyNoRoot('busybox');
const long = 120_000;

/** As the stack bundles it. */
let program: string;
beforeAll(() => {
  program = mkdtempSync(join(tmpdir(), 'slw-runner-'));
  bundleProgram('runner', program);
  return () => rmSync(program, { recursive: true, force: true });
}, long);

async function withBusybox(home: AccountHome): Promise<void> {
  await loadArchive(home.fresh(), createReadStream((await busyboxImage()).archive));
}

/** What the state machine does with a stage that needs a runner: starts one, waits for its word, stops it. */
const onRunner =
  (host: JobHost, services: FakeServices, platform: string): Runner =>
  async (build, stage) => {
    const waiter = `${build}/${stage}/${Math.random()}`;
    const launcher = host.launcher(services.machines);
    await launcher.start(build, stage, platform, waiter);
    try {
      await host.wait(waiter);
    } finally {
      await launcher.stop(build, stage);
    }
  };

const dockerfile = `FROM ${busyboxReference} AS build
WORKDIR /src
COPY app .
RUN cat main.txt > made && echo "out: $(cat made)" && echo oops >&2
RUN ln made again && mkdir sub && chmod 700 sub
COPY late.txt sub/
RUN cat sub/late.txt >> made
FROM ${busyboxReference}
COPY --from=build /src/made /src/again /
CMD ["cat", "/made"]
`;

const files = { 'app/main.txt': 'hello\n', 'late.txt': 'late\n' };

/** The digest that the embedded home gives the same sources. */
async function embedded(): Promise<string> {
  await using folder = await scratch('slw-embedded-');
  const [home, context] = [join(folder.path, 'home'), join(folder.path, 'context')];
  for (const [name, text] of Object.entries({ ...files, Dockerfile: dockerfile })) {
    await mkdir(dirname(join(context, name)), { recursive: true });
    await writeFile(join(context, name), text);
  }
  const loaded = await cli(['load', '-i', (await busyboxImage()).archive], { home });
  expect(loaded.code).toBe(0);
  const built = await cli(['build', '-q', '-t', 'app', '--build-arg', 'SOURCE_DATE_EPOCH=1700000000', context], { home });
  expect({ code: built.code, err: built.err }).toMatchObject({ code: 0 });
  return built.out.trim();
}

test.skipIf(why)(
  'RUN is done by a MicroVM or by CodeBuild, with the digest of the embedded home, and is never done again',
  async () => {
    const images: unknown[] = [];
    for (const [name, platform] of [
      ['microvm', 'linux/arm64'],
      ['codebuild', 'linux/amd64'],
    ] as const) {
      await using home = await accountHome();
      await using host = await jobHost(home);
      await using services = await fakeServices(program);
      await withBusybox(home);
      const id = await sendContext(home.fresh(), files);
      const context = { kind: 'stored' as const, id, project };
      const build = await drive(
        home,
        await startBuild(home, requestOf(dockerfile, { context })),
        onRunner(host, services, platform),
      );
      expect({ name, failure: build.failure }).toEqual({ name, failure: undefined });
      images.push(build.image);
      const events = await eventsOf(home, build.id);
      const output = events.flatMap((e) => (e.type === 'log' ? [`${e.stream}: ${e.text}`] : [])).join('');
      expect(output).toContain('stdout: out: hello');
      expect(output).toContain('stderr: oops');
      // Each step is told once, whoever did it.
      const started = events.flatMap((e) => (e.type === 'started' && e.name.startsWith('[build') ? [e.name] : []));
      expect(started).toHaveLength(7);
      expect(new Set(started).size).toBe(7);
      expect(events.some((e) => e.type === 'failed')).toBe(false);
      // Bytes went past the API, and of what the runner made only the layers of RUN.
      const requests = (method: string) => home.bucket.requests.filter((request) => request.startsWith(method)).length;
      expect(requests('PUT')).toBe(3);
      // What the runner asked of the store it told, and how long each step took it.
      const parts = await new UsageRecords(home.table).parts(build.id);
      const told = parts.get('job.0.1');
      expect(told).toMatchObject({ job: { stage: 0, attempt: 1 }, usage: { s3Reads: requests('GET'), s3Writes: 3 } });
      const made = events.flatMap((e) => (e.type === 'started' && e.name.includes('RUN') ? [e.name] : []));
      const runs = told?.steps?.filter((step) => step.name.includes('RUN')) ?? [];
      expect(runs.map((step) => step.name)).toEqual(made.filter((text) => text.startsWith('[build')));
      for (const step of runs) expect(step).toMatchObject({ stage: 0, ms: expect.any(Number) });
      expect(runs.some((step) => step.ms > 0)).toBe(true);

      // Each machine has ended, with its job or because it was told to; what held no program fetched it without a right of its own.
      for (const code of await services.allEnded()) expect(name === 'codebuild' ? [0, null] : [0]).toContain(code);
      expect([...new Set(services.fetched)]).toEqual(name === 'codebuild' ? ['GET without authorization'] : []);

      const again = await drive(home, await startBuild(home, requestOf(dockerfile, { context })));
      expect(again.image).toBe(build.image);
    }
    expect(images[0]).toBe(images[1]);
    expect(images[0]).toBe(await embedded());
  },
  long,
);

test.skipIf(why)(
  'a RUN that fails ends the build with its step, its line and its output',
  async () => {
    await using home = await accountHome();
    await using host = await jobHost(home);
    await using services = await fakeServices(program);
    await withBusybox(home);
    const text = `FROM ${busyboxReference}\nRUN echo nearly\nRUN echo gone >&2; exit 7\n`;
    const build = await drive(home, await startBuild(home, requestOf(text)), onRunner(host, services, 'linux/arm64'));
    expect(build).toMatchObject({
      state: 'failed',
      failure: { code: 'STEP_FAILED', where: { start: { line: 3 } }, details: { exitCode: 7 } },
    });
    const events = await eventsOf(home, build.id);
    expect(events.filter((e) => e.type === 'failed')).toHaveLength(1);
    // What was done before it counts.
    const less = `FROM ${busyboxReference}\nRUN echo nearly\n`;
    const next = await drive(home, await startBuild(home, requestOf(less)), async () =>
      expect.unreachable('the RUN was done already'),
    );
    expect(next.state).toBe('succeeded');
  },
  long,
);
