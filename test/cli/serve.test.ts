import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { runCli } from '../../cli/run-cli.ts';
import { type MemoryIo, memoryIo } from '../support/memory-io.ts';
import { scratch } from '../support/scratch.ts';

async function serving(home: string, argv: readonly string[], input?: string) {
  const stop = new AbortController();
  const io: MemoryIo = memoryIo({ SLIPWAY_HOME: home }, { signal: stop.signal, ...(input === undefined ? {} : { input }) });
  const ended = runCli(['serve', '--port', '0', '--json', ...argv], io);
  while (io.out() === '' && io.err() === '') await sleep(10);
  const end = (): Promise<number> => {
    stop.abort();
    return ended;
  };
  const { port, address } = JSON.parse(io.out() || '{"port":0}') as { port: number; address: string };
  return { io, port, address, at: `http://127.0.0.1:${port}`, end };
}

test('serves this machine only by default, says where, and ends on a signal', async () => {
  await using home = await scratch('slw-serve-', 1e7);
  const server = await serving(home.path, []);
  expect(server.address).toBe('127.0.0.1');
  const answer = await fetch(`${server.at}/v2/`);
  expect([answer.status, answer.headers.get('docker-distribution-api-version')]).toEqual([200, 'registry/2.0']);
  expect((await fetch(`${server.at}/v2/`, { headers: { origin: 'https://evil.example' } })).status).toBe(403);
  // The control API can run builds: it is not for everyone who can open a connection.
  expect((await fetch(`${server.at}/api/v1/images`)).status).toBe(404);
  expect(await server.end()).toBe(0);
  await expect(fetch(`${server.at}/v2/`)).rejects.toThrow();
  expect(server.io.err()).toBe('');
});

test('tells how to pull and push', async () => {
  await using home = await scratch('slw-serve-', 1e7);
  const stop = new AbortController();
  const io = memoryIo({ SLIPWAY_HOME: home.path }, { signal: stop.signal });
  const ended = runCli(['serve', '-p', '0'], io);
  while (!io.out().includes('Ctrl-C')) await sleep(10);
  expect(io.out()).toMatch(/^Serving the images of this home on http:\/\/127\.0\.0\.1:\d+\n/);
  expect(io.out()).toMatch(/docker pull localhost:\d+\/NAME/);
  stop.abort();
  expect(await ended).toBe(0);
});

test('another address needs a login, or to be told that none is wanted', async () => {
  await using home = await scratch('slw-serve-', 1e7);
  const io = memoryIo({ SLIPWAY_HOME: home.path });
  expect(await runCli(['serve', '--host', '0.0.0.0', '--port', '0'], io)).toBe(1);
  expect(io.err()).toContain('refusing to serve on 0.0.0.0 without a login');
  expect(io.err()).toContain('--insecure-no-auth');
});

test('a login from a file or from standard input', async () => {
  await using home = await scratch('slw-serve-', 1e7);
  const file = join(home.path, 'password');
  await writeFile(file, 'secret\n');
  for (const [argv, input] of [
    [['--password-file', file], undefined],
    [['--password-stdin'], 'secret\n'],
  ] as const) {
    const server = await serving(home.path, ['--username', 'ann', ...argv], input);
    expect((await fetch(`${server.at}/v2/`)).status).toBe(401);
    const authorization = `Basic ${Buffer.from('ann:secret').toString('base64')}`;
    expect((await fetch(`${server.at}/v2/`, { headers: { authorization } })).status).toBe(200);
    expect(await server.end()).toBe(0);
  }
});

test.each([
  [['--port', 'x'], 'invalid argument "x"'],
  [['--port', '70000'], 'invalid argument "70000"'],
  [['--username', 'a'], 'needs one of --password-file and --password-stdin'],
  [['--password-stdin'], 'a password needs --username'],
  [['--username', 'a:b', '--password-stdin'], 'no colon'],
  [['--username', 'a', '--password-stdin'], 'the password is empty'],
  [['--username', 'a', '--password-file', '/nonexistent'], 'cannot read the password file'],
  [['--host', '203.0.113.1', '--insecure-no-auth'], 'cannot listen on 203.0.113.1'],
])('%j is refused', async (argv, words) => {
  await using home = await scratch('slw-serve-', 1e7);
  const io = memoryIo({ SLIPWAY_HOME: home.path });
  expect(await runCli(['serve', ...argv], io)).not.toBe(0);
  expect(io.err()).toContain(words);
});
