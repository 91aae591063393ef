import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test, vi } from 'vitest';
import { bundleProgram } from '../../infra/program-bundle.ts';
import { ownCodec } from '../../shared/workflow/codec-check.ts';
import { runJob } from '../../shared/workflow/run-job.ts';
import { planBuildStep, runStageStep } from '../../shared/workflow/steps.ts';
import { waitingJob, withBase } from '../support/account-base.ts';
import { type AccountHome, accountHome, eventsOf, requestOf, startBuild } from '../support/account-home.ts';
import { jobHost } from '../support/job-host.ts';

vi.setConfig({ testTimeout: 60_000 });

const told = async (home: AccountHome, id: string): Promise<string[]> =>
  (await eventsOf(home, id)).flatMap((e) =>
    e.type === 'warning' && e.warning.rule === 'CompressionDiffers' ? [e.warning.message] : [],
  );

test.each([
  ['gzip-2-zlib-other', 1],
  [ownCodec(), 0],
] as const)('functions that compress with %s: %i warnings in a build', async (own, count) => {
  await using home = await accountHome();
  const context = await withBase(home);
  const id = await startBuild(
    home,
    requestOf('FROM base AS one\nCOPY app /one\nFROM base\nCOPY --from=one /one /two\n', { context }),
  );
  const ports = { ...home.fresh(), codecs: { own, home: ownCodec() } };
  await planBuildStep(id, ports);
  await runStageStep(id, 0, ports);
  await runStageStep(id, 1, ports);
  const messages = await told(home, id);
  expect(messages).toHaveLength(count);
  for (const message of messages) {
    expect(message).toContain(own);
    expect(message).toContain(ownCodec());
  }
});

test.each([
  ['gzip-2-zlib-other', 1],
  [ownCodec(), 0],
] as const)('a runner that compresses with %s: %i warnings', async (codec, count) => {
  await using home = await accountHome();
  await using host = await jobHost(home);
  const job = await waitingJob(home, host, 'a');
  const root = mkdtempSync(join(tmpdir(), 'slw-codec-'));
  try {
    // It is said before the first RUN, which fails here.
    const sandbox = () => Promise.reject(new Error('no sandbox'));
    const end = await runJob(job.ticket, {
      root,
      sandbox,
      overlayXattrs: 'trusted',
      version: '0',
      codec,
      clock: Date.now,
      threads: 1,
    });
    expect(end).toMatchObject({ state: 'failed' });
    const messages = await told(home, job.build);
    expect(messages).toHaveLength(count);
    for (const message of messages) {
      expect(message).toContain(codec);
      expect(message).toContain(ownCodec());
    }
  } finally {
    rmSync(root, { recursive: true });
  }
});

test('a runner may give no other warning', async () => {
  await using home = await accountHome();
  await using host = await jobHost(home);
  const { ticket } = await waitingJob(home, host, 'a');
  const place = { line: 1, column: 1 };
  const warning = {
    rule: 'CompressionDiffers',
    message: 'x',
    where: { file: 'Dockerfile', start: place, end: place },
    url: 'https://www.npmjs.com/package/node',
  };
  for (const change of [{ rule: 'Other' }, { url: 'https://evil.test/' }, { message: 'x'.repeat(1001) }, { where: 1 }]) {
    const events = [{ type: 'warning', warning: { ...warning, ...change } }];
    expect(await host.ask(ticket, 'log', { first: 0, events })).toMatchObject({ status: 400 });
  }
});

test('bundles are stamped with the zlib of the Node that the package depends on', () => {
  const out = mkdtempSync(join(tmpdir(), 'slw-codec-'));
  try {
    for (const name of ['stage', 'jobs']) {
      bundleProgram(name, out);
      expect(readFileSync(join(out, 'handler.js'), 'utf8')).toContain(process.versions.zlib);
    }
  } finally {
    rmSync(out, { recursive: true });
  }
});
