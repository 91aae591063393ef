// How far a job's token reaches: what it opens, and what it can do with what it opens. Each question by HTTP and of the service itself.
import { expect, test, vi } from 'vitest';
import { sha256 } from '../../shared/oci/digest.ts';
import { buildKeys, jobKeys, workKeys } from '../../shared/store/keys.ts';
import type { JobService } from '../../shared/workflow/job-service.ts';
import { type JobId, makeJobToken } from '../../shared/workflow/job-token.ts';
import { structOf, type WaitingJob, waitingJob } from '../support/account-base.ts';
import { type AccountHome, accountHome, eventsOf } from '../support/account-home.ts';
import { type JobHost, jobHost } from '../support/job-host.ts';

// Whole builds on disk: seconds on a busy machine.
vi.setConfig({ testTimeout: 60_000 });

const place = { next: 0, started: 0, done: 0 };
const failure = { code: 'STEP_FAILED', message: 'said by somebody else' };
const blob = { digest: sha256('layer'), size: 5 };

/** Every question, with words that would be right for `job`. */
function questions(job: WaitingJob): Readonly<Record<string, object>> {
  const struct = structOf(job, job.job.start.chain);
  return {
    claim: {},
    lookup: { struct },
    save: { struct, diffId: sha256('x'), blob: blob.digest, size: blob.size, made: 0 },
    'blobs/read': { digest: job.job.start.layers[0]!.descriptor.digest },
    'blobs/write': blob,
    'blobs/confirm': { id: 'a'.repeat(32), ...blob },
    bodies: { digests: [sha256('go()')] },
    log: { first: job.job.log.next, events: [{ type: 'log', id: 3, stream: 'stdout', text: 'intruder', at: 1 }] },
    heartbeat: {},
    complete: { place },
    fail: { place, failure },
  };
}

/** The same, of the service. */
function calls(service: JobService, id: JobId, job: WaitingJob): Readonly<Record<string, () => Promise<unknown>>> {
  const struct = structOf(job, job.job.start.chain);
  return {
    claim: () => service.claim(id),
    lookup: () => service.lookup(id, struct),
    save: () => service.save(id, struct, { diffId: sha256('x'), blob: blob.digest, size: blob.size, made: 0 }),
    'blobs/read': () => service.read(id, job.job.start.layers[0]!.descriptor.digest),
    'blobs/write': () => service.write(id, blob),
    'blobs/confirm': () => service.confirm(id, 'a'.repeat(32), blob),
    bodies: () => service.bodies(id, [sha256('go()')]),
    log: () => service.log(id, job.job.log.next, [{ type: 'log', id: 3, stream: 'stdout', text: 'intruder', at: 1 }]),
    heartbeat: () => service.heartbeat(id),
    complete: () => service.complete(id, place),
    fail: () => service.fail(id, failure, place),
  };
}

/** All records of a build and of its job. */
async function stored(home: AccountHome, id: string) {
  const found: unknown[] = [await home.disk.table.get(buildKeys.record(id))];
  for (const partition of [buildKeys.partition(id), workKeys.partition(id), jobKeys.jobs(id), jobKeys.partition(id, 0)]) {
    const records = await home.disk.table.query(partition, { limit: 1000 });
    expect(records.length).toBeGreaterThan(0);
    found.push(records);
  }
  return found;
}

/** Sends the bytes of `blob` as this job; answers the place's id. */
async function send(host: JobHost, { ticket }: WaitingJob): Promise<string> {
  const { body } = await host.ask(ticket, 'blobs/write', blob);
  const { url, headers, id } = body as { url: string; headers: Record<string, string>; id: string };
  expect((await fetch(url, { method: 'PUT', headers, body: 'layer' })).status).toBe(200);
  return id;
}

test('every question with a token that is not this job’s is refused, and leaves no trace', async () => {
  await using home = await accountHome();
  await using host = await jobHost(home);
  const [a, b] = [await waitingJob(home, host, 'a'), await waitingJob(home, host, 'b', 'y')];
  const id = { build: b.build, stage: 0, attempt: 1 };
  const seconds = Date.now() / 1000;
  const later = seconds + 3600;
  const tokens = {
    'of another build': [a.ticket.token, 403],
    'of another stage': [makeJobToken(host.key, { ...id, stage: 1 }, later), 403],
    'of an attempt that never was': [makeJobToken(host.key, { ...id, attempt: 2 }, later), 403],
    'that has expired': [makeJobToken(host.key, id, seconds - 1), 401],
    'that another home signed': [makeJobToken(Buffer.alloc(32, 7), id, later), 401],
    'that is none': ['none', 401],
  } as const;
  const before = await stored(home, b.build);
  for (const [what, [token, status]] of Object.entries(tokens)) {
    for (const [name, body] of Object.entries(questions(b))) {
      const answer = await host.ask({ url: b.ticket.url, token }, name, body);
      expect({ what, name, ...answer }).toMatchObject({ what, name, status, body: { error: expect.anything() } });
    }
  }
  expect(await stored(home, b.build)).toEqual(before);
  // The same questions with its own token are heard.
  expect(await host.ask(b.ticket, 'heartbeat')).toMatchObject({ status: 200 });
});

test('the service refuses every question for an attempt that is not the job’s, whoever let it pass', async () => {
  await using home = await accountHome();
  await using host = await jobHost(home);
  const b = await waitingJob(home, host, 'b');
  const before = await stored(home, b.build);
  const id = { build: b.build, stage: 0, attempt: 1 };
  for (const wrong of [
    { ...id, attempt: 2 },
    { ...id, attempt: 0 },
    { ...id, stage: 1 },
    { ...id, build: '01890000-0000-7000-8000-000000000001' },
  ]) {
    for (const [name, call] of Object.entries(calls(host.jobs(), wrong, b))) {
      const refused = await call().catch((error: unknown) => error);
      expect({ name, wrong, refused }).toMatchObject({ name, wrong, refused: { code: 'DENIED' } });
    }
  }
  expect(await stored(home, b.build)).toEqual(before);
});

test('once a job is over, or given up, its own token does nothing any more', async () => {
  await using home = await accountHome();
  await using host = await jobHost(home);
  for (const end of ['complete', 'fail', 'stop'] as const) {
    const job = await waitingJob(home, host, `end by ${end}`);
    if (end === 'stop') await host.launcher().stop(job.build, 0);
    else expect(await host.ask(job.ticket, end, questions(job)[end])).toMatchObject({ status: 200 });
    const before = await stored(home, job.build);
    for (const [name, body] of Object.entries(questions(job))) {
      // Said once more, the end is no error: its answer may have been lost.
      const status = name === end ? 200 : 409;
      expect({ end, name, ...(await host.ask(job.ticket, name, body)) }).toMatchObject({ end, name, status });
    }
    expect(await stored(home, job.build)).toEqual(before);
  }
});

test('with its own token a job gets nothing of another’s, and gives nothing to it', async () => {
  await using home = await accountHome();
  await using host = await jobHost(home);
  const [a, b] = [await waitingJob(home, host, 'a'), await waitingJob(home, host, 'b', 'the secret of b')];
  const upload = await send(host, b);
  const before = await stored(home, b.build);
  const events = await eventsOf(home, b.build);
  const { digest: own } = await home.blobs.put(ReadableStream.from([Buffer.from('a layer of b alone')]));
  const refused = [
    // What only the other is made from.
    ['blobs/read', { digest: own }],
    ['blobs/read', { digest: b.job.context!.list }],
    // Where the other sends its bytes: neither taken as its own, nor taken away.
    ['blobs/confirm', { id: upload, ...blob }],
    ['blobs/confirm', { id: upload, digest: own, size: 18 }],
    // What the other has sent.
    ['save', { ...questions(a).save, blob: blob.digest }],
    // What the other’s RUN is kept under.
    ['lookup', { struct: structOf(b, b.job.start.chain) }],
    ['save', { ...questions(a).save, struct: structOf(b, b.job.start.chain) }],
  ] as const;
  for (const [name, body] of refused) {
    expect({ name, ...(await host.ask(a.ticket, name, body)) }).toMatchObject({ name, status: 403 });
  }
  // A file that only the other's context has is not even said to be there.
  const asked = { digests: [sha256('the secret of b'), sha256('never sent')] };
  expect(await host.ask(a.ticket, 'bodies', asked)).toEqual({ status: 200, body: { places: [] } });
  expect(await host.ask(a.ticket, 'log', questions(a).log)).toMatchObject({ status: 200 });
  expect(await host.ask(a.ticket, 'fail', questions(a).fail)).toMatchObject({ status: 200 });
  expect(await stored(home, b.build)).toEqual(before);
  expect(await eventsOf(home, b.build)).toEqual(events);
  // The other goes on as if nothing had been.
  expect(await host.ask(b.ticket, 'blobs/confirm', { id: upload, ...blob })).toMatchObject({ status: 200 });
  expect(await host.ask(b.ticket, 'heartbeat')).toMatchObject({ status: 200, body: { cancelled: false } });
});
