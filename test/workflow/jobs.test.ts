import { randomBytes } from 'node:crypto';
import { expect, test, vi } from 'vitest';
import { keyOf } from '../../shared/build/key.ts';
import { UsageRecords } from '../../shared/build/usage-records.ts';
import { LayerRecords } from '../../shared/layer/record.ts';
import { sha256 } from '../../shared/oci/digest.ts';
import { cacheKeys } from '../../shared/store/keys.ts';
import { makeJobToken, readJobToken } from '../../shared/workflow/job-token.ts';
import { failStep, runStageStep } from '../../shared/workflow/steps.ts';
import { structOf, type WaitingJob, waitingJob } from '../support/account-base.ts';
import { type AccountHome, accountHome, eventsOf } from '../support/account-home.ts';
import { jobHost } from '../support/job-host.ts';
import { bytesOf } from '../support/small-images.ts';

// Whole builds on disk: seconds on a busy machine.
vi.setConfig({ testTimeout: 60_000 });

const id = { build: '01890000-0000-7000-8000-000000000001', stage: 2, attempt: 1 };

test('a job token says what it is for, and nothing else makes one', () => {
  const key = randomBytes(32);
  const token = makeJobToken(key, id, 1000);
  expect(readJobToken(key, token, 999)).toEqual(id);
  const refused = expect.objectContaining({ code: 'UNAUTHORIZED' });
  expect(() => readJobToken(key, token, 1000)).toThrow(refused);
  expect(() => readJobToken(randomBytes(32), token, 999)).toThrow(refused);
  for (const [from, to] of [
    ['.2.1.', '.3.1.'],
    ['.2.1.', '.2.2.'],
    ['.1000.', '.9000.'],
    ['0001.', '0002.'],
  ] as const) {
    expect(() => readJobToken(key, token.replace(from, to), 999)).toThrow(refused);
  }
  for (const text of ['', 'slipway-job-1', `${token}x`, token.slice(0, -1), token.toUpperCase()]) {
    expect(() => readJobToken(key, text, 999)).toThrow(refused);
  }
  expect(() => makeJobToken(randomBytes(8), id, 1000)).toThrow(expect.objectContaining({ code: 'INTERNAL' }));
});

test('the token of one job opens nothing of another, nor anything once a later attempt has begun', async () => {
  await using home = await accountHome();
  await using host = await jobHost(home);
  const a = await waitingJob(home, host, 'a');
  const b = await waitingJob(home, host, 'b', 'y');
  const names = [
    'claim',
    'lookup',
    'save',
    'blobs/read',
    'blobs/write',
    'blobs/confirm',
    'bodies',
    'log',
    'heartbeat',
    'complete',
    'fail',
  ];
  const before = await eventsOf(home, b.build);
  for (const name of names) {
    expect({ name, ...(await host.ask({ url: b.ticket.url, token: a.ticket.token }, name)) }).toMatchObject({
      name,
      status: 403,
    });
    expect({ name, ...(await host.ask({ url: b.ticket.url, token: 'none' }, name)) }).toMatchObject({ name, status: 401 });
    expect({ name, ...(await host.ask({ url: b.ticket.url.replace(/0$/, '1'), token: b.ticket.token }, name)) }).toMatchObject({
      name,
      status: 403,
    });
  }
  expect(await eventsOf(home, b.build)).toEqual(before);
  await host.open(b.build, 0);
  for (const name of ['claim', 'heartbeat']) expect(await host.ask(b.ticket, name)).toMatchObject({ status: 403 });
  // What is not a job route is not served here at all.
  for (const url of ['/api/v1/builds', `/api/v1/builds/${a.build}/events`, '/api/v1/images', '/v2/']) {
    const answer = await fetch(`${host.origin}${url}`, { headers: { authorization: `Bearer ${a.ticket.token}` } });
    expect(answer.status).toBe(404);
  }
});

test('a job reads what its stage is made from, and no other blob', async () => {
  await using home = await accountHome();
  await using host = await jobHost(home);
  const a = await waitingJob(home, host, 'a');
  const { digest: foreign } = await home.blobs.put(bytesOf('the secret of another build'));
  const [layer] = a.job.start.layers;
  expect(await host.ask(a.ticket, 'blobs/read', { digest: layer!.descriptor.digest })).toMatchObject({ status: 200 });
  expect(await host.ask(a.ticket, 'blobs/read', { digest: foreign })).toMatchObject({ status: 403 });
  // Asking to write a blob that is there proves nothing, and gives nothing.
  const write = await host.ask(a.ticket, 'blobs/write', { digest: foreign, size: 27 });
  expect(write.status).toBe(200);
  expect((await host.ask(a.ticket, 'blobs/confirm', { id: write.body.id, digest: foreign, size: 27 })).status).toBe(404);
  expect(await host.ask(a.ticket, 'blobs/read', { digest: foreign })).toMatchObject({ status: 403 });
  expect(await host.ask(a.ticket, 'bodies', { digests: [sha256('another project’s file')] })).toEqual({
    status: 200,
    body: { places: [] },
  });
});

test('a job answers for the RUNs of its stage only, and what it says counts for nobody before it was checked', async () => {
  await using home = await accountHome();
  await using host = await jobHost(home);
  const a = await waitingJob(home, host, 'a');
  const chain = a.job.start.chain;
  const blob = { digest: sha256('layer'), size: 5 };
  const send = async (): Promise<void> => {
    const write = await host.ask(a.ticket, 'blobs/write', blob);
    const { url, headers, id: upload } = write.body as { url: string; headers: Record<string, string>; id: string };
    expect((await fetch(url, { method: 'PUT', headers, body: 'layer' })).status).toBe(200);
    expect((await host.ask(a.ticket, 'blobs/confirm', { id: upload, ...blob })).status).toBe(200);
  };
  const right = structOf(a, chain);
  const claim = { diffId: sha256('whatever'), blob: blob.digest, size: 5, made: 0 };
  const unsent = await host.ask(a.ticket, 'save', { struct: right, ...claim });
  expect(unsent).toMatchObject({ status: 403 });
  await send();
  for (const struct of [
    { ...right, operation: { ...right.operation, args: ['sh', '-c', 'apt-get install everything'] } },
    { ...right, platform: 'linux/arm64' },
    { ...right, epoch: 5 },
    { ...right, operation: { kind: 'copy', destination: '/app', unpack: false, content: sha256('') } },
    null,
    'struct',
  ]) {
    expect(await host.ask(a.ticket, 'save', { struct, ...claim })).toMatchObject({ status: 403 });
  }
  expect(await host.ask(a.ticket, 'save', { struct: right, ...claim })).toMatchObject({ status: 200 });
  const key = keyOf(right);
  expect(await home.table.get(cacheKeys.step(key))).toBeUndefined();
  expect(await new LayerRecords(home.table, home.blobs).get(claim.diffId)).toBeUndefined();
});

test('a layer that is not what its runner says fails the build, and is never known to another', async () => {
  await using home = await accountHome();
  await using host = await jobHost(home);
  const a = await waitingJob(home, host, 'a');
  const chain = (await host.ask(a.ticket, 'lookup', { struct: structOf(a, a.job.start.chain) })).body;
  expect(chain).toEqual({});
  // The chain that RUN is on: of the base and of the layer that COPY made, which the home tells.
  const parent = await chainOfCopy(home, a);
  const write = await host.ask(a.ticket, 'blobs/write', { digest: sha256('no layer'), size: 8 });
  const { url, headers, id: upload } = write.body as { url: string; headers: Record<string, string>; id: string };
  await fetch(url, { method: 'PUT', headers, body: 'no layer' });
  await host.ask(a.ticket, 'blobs/confirm', { id: upload, digest: sha256('no layer'), size: 8 });
  const diffId = sha256('the layer of somebody else');
  const claim = { struct: structOf(a, parent), diffId, blob: sha256('no layer'), size: 8, made: 0 };
  expect((await host.ask(a.ticket, 'save', claim)).status).toBe(200);
  expect((await host.ask(a.ticket, 'complete', { place: { next: 0, started: 0, done: 0 } })).status).toBe(200);
  await expect(runStageStep(a.build, 0, home.fresh())).rejects.toMatchObject({
    code: expect.stringMatching(/INVALID_ARCHIVE|DIGEST_MISMATCH/),
  });
  expect(await failStep(a.build, {}, home.fresh())).toMatchObject({ state: 'failed' });
  expect(await new LayerRecords(home.table, home.blobs).get(diffId)).toBeUndefined();
});

/** The chain after the stage's COPY. */
async function chainOfCopy(home: AccountHome, { job, build }: WaitingJob): Promise<string> {
  const records = await home.disk.table.query('layer#', { limit: 1 });
  expect(records).toEqual([]);
  const { executeStage } = await import('../../shared/build/executor.ts');
  const { cacheOf } = await import('../../shared/workflow/steps.ts');
  const { eventLog } = await import('../../shared/build/events.ts');
  const ports = home.fresh();
  const request = await ports.records.request(build);
  const stage = { ...job.stage, steps: job.stage.steps.filter((step) => step.operation.kind !== 'run') };
  const plan = { ...job.plan, warnings: [], stages: [stage] };
  const image = await executeStage(
    { plan, stage, start: job.start, sources: new Map(job.sources) },
    {
      ...ports,
      cache: cacheOf(build, { plan, stage }, request, ports),
      log: eventLog(() => undefined, ports.clock),
      noCache: false,
      signal: new AbortController().signal,
      context: () => ports.context(request, new AbortController().signal),
    },
  );
  return image.chain;
}

test('a runner’s log is of its stage, and cannot end the build or speak for the Dockerfile', async () => {
  await using home = await accountHome();
  await using host = await jobHost(home);
  const a = await waitingJob(home, host, 'a');
  const first = a.job.log.next;
  for (const event of [
    { type: 'result', digest: sha256(''), tags: [], at: 1 },
    { type: 'error', failure: { code: 'X', message: 'y' }, at: 1 },
    { type: 'warning', warning: { rule: 'X' } },
    { type: 'log', id: '3', at: 1 },
    null,
  ]) {
    expect(await host.ask(a.ticket, 'log', { first, events: [event] })).toMatchObject({ status: 400 });
  }
  const event = { type: 'log', id: 3, stream: 'stdout', text: 'hi', at: 1, extra: 'dropped' };
  for (const _ of [1, 2]) expect(await host.ask(a.ticket, 'log', { first, events: [event] })).toMatchObject({ status: 200 });
  const said = (await eventsOf(home, a.build)).filter((e) => e.type === 'log');
  expect(said).toEqual([{ type: 'log', id: expect.any(Number), stream: 'stdout', text: 'hi', at: 1 }]);
});

test('completing twice is completing once; nothing is taken afterwards', async () => {
  await using home = await accountHome();
  await using host = await jobHost(home);
  const a = await waitingJob(home, host, 'a');
  const place = { next: a.job.log.next, started: a.job.log.started, done: a.job.log.done };
  for (const _ of [1, 2]) expect(await host.ask(a.ticket, 'complete', { place })).toMatchObject({ status: 200 });
  expect(await host.ask(a.ticket, 'fail', { place, failure: { code: 'X', message: 'late' } })).toMatchObject({ status: 409 });
  expect(await host.ask(a.ticket, 'heartbeat')).toMatchObject({ status: 409 });
  // Done without having done its RUN: the stage asks for a runner again, a bounded number of times.
  for (const _ of [2, 3, 4]) {
    expect(await runStageStep(a.build, 0, home.fresh())).toMatchObject({ status: 'runner' });
    await host.open(a.build, 0);
  }
  await expect(host.open(a.build, 0)).rejects.toMatchObject({ code: 'SANDBOX' });
  expect(await failStep(a.build, {}, home.fresh())).toMatchObject({ state: 'failed', failure: { code: 'SANDBOX' } });
});

test('what a runner says it used counts for its job alone, once, and only what it can have used', async () => {
  await using home = await accountHome();
  await using host = await jobHost(home);
  const a = await waitingJob(home, host, 'a');
  const place = { next: a.job.log.next, started: a.job.log.started, done: a.job.log.done };
  const usage = { s3Reads: 3, s3BytesOut: 100 };
  const steps = [{ name: '[2/2] RUN make', ms: 12, usage: { s3Reads: 3 }, stage: 7 }];
  for (const used of [
    { usage: { lambdaRequests: 1 }, steps },
    { usage: { s3Reads: -1 }, steps },
    { usage: { s3Reads: 1e300 }, steps },
    { usage: { s3Reads: 0.5 }, steps },
    { usage, steps: [{ name: 'x'.repeat(1000), ms: 1, usage: {} }] },
    { usage, steps: Array.from({ length: 201 }, () => steps[0]) },
    { usage, steps: [{ name: 'x', ms: 1, usage: { constructor: 1 } }] },
    'much',
    undefined,
  ]) {
    // No build fails for its numbers.
    const answer = await host.ask(a.ticket, 'complete', { place, used });
    expect(answer, JSON.stringify(used)?.slice(0, 100)).toMatchObject({ status: 200 });
  }
  const usages = new UsageRecords(home.table);
  expect((await usages.parts(a.build)).size).toBe(0);
  expect(await host.ask(a.ticket, 'complete', { place, used: { usage, steps } })).toMatchObject({ status: 200 });
  expect(await host.ask(a.ticket, 'complete', { place, used: { usage: { s3Reads: 99 }, steps } })).toMatchObject({ status: 200 });
  // The stage is the job's own, whatever it says.
  const kept = { at: 0, usage, job: { stage: 0, attempt: 1 }, steps: [{ ...steps[0], stage: 0 }] };
  expect([...(await usages.parts(a.build))]).toEqual([['job.0.1', kept]]);
});
