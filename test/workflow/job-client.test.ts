import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { expect, test } from 'vitest';
import { JobClient } from '../../shared/workflow/job-client.ts';

test('a home that is away for a while is asked again, one that says no is not, and patience has an end', async () => {
  let now = 0;
  const waits: number[] = [];
  const answers: (number | 'cut')[] = ['cut', 'cut', 503, 'cut', 200];
  const server = createServer((request, response) => {
    const answer = answers.shift() ?? 'cut';
    request.resume();
    if (answer === 'cut') request.socket.destroy();
    else response.writeHead(answer).end(answer === 403 ? '{"error":{"code":"DENIED","message":"no"}}' : '{"ok":true}');
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/api/v1/jobs/b/0`;
  const sleep = async (milliseconds: number): Promise<void> => {
    waits.push(milliseconds);
    now += milliseconds;
  };
  using client = new JobClient({ url, token: 't' }, { version: 'test', clock: () => now, patience: 60_000, sleep });
  try {
    expect(await client.ask('claim', {})).toEqual({ ok: true });
    answers.push(403);
    await expect(client.ask('claim', {})).rejects.toMatchObject({ code: 'DENIED' });
    // As long as HttpClient's own tries of one question: they are not what is looked at.
    now = 0;
    await expect(client.ask('claim', {})).rejects.toMatchObject({ code: 'UPSTREAM' });
    expect(now).toBeGreaterThan(60_000);
    expect(now).toBeLessThan(120_000);
    expect(waits.length).toBeGreaterThan(8);
  } finally {
    server.closeAllConnections();
    server.close();
  }
  now = 0;
  await expect(client.ask('claim', {}, AbortSignal.abort())).rejects.toMatchObject({ code: 'CANCELLED' });
});
