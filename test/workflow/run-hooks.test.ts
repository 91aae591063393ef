import { expect, test } from 'vitest';
import type { JobTicket } from '../../shared/workflow/job.ts';
import { RunHooks, ticketOf } from '../../shared/workflow/run-hooks.ts';

const ticket: JobTicket = { url: 'https://home.test/api/v1/jobs/b/0', token: 'token' };
const payload = { microvmId: 'microvm-1', runHookPayload: JSON.stringify(ticket) };

/** A runner whose jobs end when they are told to, or by `finish`. */
function scene(ready = true) {
  const seen: string[] = [];
  let finish = (): void => undefined;
  const hooks = new RunHooks({
    ready: async () => ready,
    run: (given, signal) =>
      new Promise((resolve) => {
        seen.push(`run ${given.token}`);
        finish = resolve;
        signal.addEventListener('abort', () => {
          seen.push('aborted');
          resolve();
        });
      }),
    ended: () => void seen.push('ended'),
    stopped: () => void seen.push('stopped'),
    farewell: 50,
  });
  return { hooks, seen, finish: () => finish() };
}

test('run takes one job, answers before it is done, and takes the same again but no other', async () => {
  const { hooks, seen, finish } = scene();
  expect(await hooks.handle('run', {})).toMatchObject({ status: 400 });
  for (const _ of [1, 2]) expect(await hooks.handle('run', payload)).toEqual({ status: 200, body: {} });
  const other = { runHookPayload: JSON.stringify({ ...ticket, token: 'other' }) };
  expect(await hooks.handle('run', other)).toEqual({ status: 409, body: {} });
  expect(seen).toEqual(['run token']);
  finish();
  await hooks.stop();
  expect(seen).toContain('ended');
});

test('a snapshot is taken only where a job could be executed; sleep changes nothing; there are no other hooks', async () => {
  for (const name of ['ready', 'validate']) {
    expect(await scene().hooks.handle(name, {})).toEqual({ status: 200, body: {} });
    expect(await scene(false).hooks.handle(name, {})).toEqual({ status: 503, body: {} });
  }
  const { hooks, seen } = scene();
  await hooks.handle('run', payload);
  for (const name of ['suspend', 'resume']) expect(await hooks.handle(name, {})).toEqual({ status: 200, body: {} });
  for (const name of ['', 'token', '__proto__', 'run/']) expect(await hooks.handle(name, {})).toMatchObject({ status: 404 });
  expect(seen).toEqual(['run token']);
});

test('terminate ends the job, waits for it only so long, and nothing is taken afterwards', async () => {
  const { hooks, seen } = scene();
  await hooks.handle('run', payload);
  for (const _ of [1, 2]) expect(await hooks.handle('terminate', {})).toEqual({ status: 200, body: {} });
  expect(seen.slice(0, 2)).toEqual(['run token', 'aborted']);
  expect(seen.filter((one) => one === 'stopped')).toHaveLength(2);
  expect(await scene().hooks.handle('terminate', {})).toEqual({ status: 200, body: {} });

  const deaf = new RunHooks({ ready: async () => true, run: () => new Promise(() => undefined), farewell: 20 });
  await deaf.handle('run', payload);
  expect(await deaf.handle('terminate', {})).toEqual({ status: 200, body: {} });
  const late = scene();
  await late.hooks.handle('terminate', {});
  expect(await late.hooks.handle('run', payload)).toEqual({ status: 409, body: {} });
  expect(late.seen).toEqual(['stopped']);
});

test('the ticket is found whatever the payload is called, and nothing else is taken for one', () => {
  for (const body of [
    ticket,
    { payload: ticket },
    { runHookPayload: JSON.stringify(ticket) },
    { a: 1, b: '{', c: JSON.stringify(ticket) },
  ])
    expect(ticketOf(body)).toEqual(ticket);
  const others = [undefined, 'text', [], {}, { url: ticket.url }, { ...ticket, url: 'no url' }, { a: { b: ticket } }];
  for (const body of others) expect(ticketOf(body)).toBeUndefined();
});
