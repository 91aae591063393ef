import { once } from 'node:events';
import { writeFile } from 'node:fs/promises';
import { type ClientRequest, request as httpRequest, type IncomingMessage } from 'node:http';
import { connect } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { type Call, empty, type Handler, json, type Reply } from '../../shared/registry/exchange.ts';
import { type RunningServer, startServer } from '../../shared/registry/node-server.ts';
import { scratch } from '../support/scratch.ts';

const start = (handle: Handler, onError?: (error: unknown) => void): Promise<RunningServer> =>
  startServer({ handle, host: '127.0.0.1', port: 0, ...(onError === undefined ? {} : { onError }) });
const at = (server: RunningServer, path = '/') => `http://127.0.0.1:${server.port}${path}`;
const read = async (call: Call): Promise<number> => {
  let size = 0;
  for await (const chunk of call.body) size += chunk.length;
  return size;
};

test('method, path as sent, query, headers and body arrive', async () => {
  await using server = await start(async (call) =>
    json(200, { method: call.method, path: call.path, query: call.query, x: call.header('x-one'), size: await read(call) }),
  );
  const answer = await fetch(at(server, '/v2/a%2Fb/?n=1&x=%20'), { method: 'PUT', headers: { 'X-One': 'y' }, body: 'hello' });
  expect(await answer.json()).toEqual({ method: 'PUT', path: '/v2/a%2Fb/', query: 'n=1&x=%20', x: 'y', size: 5 });
});

test('HEAD has the length of GET and no body', async () => {
  let opened = 0;
  const body = {
    size: 7,
    open: async () => {
      opened++;
      return ReadableStream.from([Buffer.from('content')]);
    },
  };
  await using server = await start(async () => ({ status: 200, headers: { 'content-length': '7' }, body }));
  const head = await fetch(at(server), { method: 'HEAD' });
  expect([head.headers.get('content-length'), await head.text(), opened]).toEqual(['7', '', 0]);
  expect(await (await fetch(at(server))).text()).toBe('content');
});

test('a file is sent from its place, whole, in part and empty', async () => {
  await using folder = await scratch('slw-srv-', 1e6);
  const path = join(folder.path, 'file');
  await writeFile(path, '0123456789');
  const open = () => Promise.reject(new Error('not needed'));
  const replies: Record<string, Reply> = {
    '/whole': { status: 200, headers: { 'content-length': '10' }, body: { size: 10, open, file: { path, start: 0, end: 10 } } },
    '/part': { status: 206, headers: { 'content-length': '3' }, body: { size: 3, open, file: { path, start: 4, end: 7 } } },
    '/empty': { status: 200, headers: { 'content-length': '0' }, body: { size: 0, open, file: { path, start: 0, end: 0 } } },
  };
  await using server = await start(async (call) => replies[call.path] as Reply);
  const texts = await Promise.all(Object.keys(replies).map(async (p) => (await fetch(at(server, p))).text()));
  expect(texts).toEqual(['0123456789', '456', '']);
});

test('a file that has gone since is opened the other way, and 404 when that finds nothing', async () => {
  const file = { path: '/nonexistent/file', start: 0, end: 3 };
  await using server = await start(async (call) => ({
    status: 200,
    headers: { 'content-length': '3' },
    body: { size: 3, file, open: async () => (call.path === '/here' ? ReadableStream.from([Buffer.from('abc')]) : undefined) },
  }));
  expect(await (await fetch(at(server, '/here'))).text()).toBe('abc');
  expect((await fetch(at(server, '/gone'))).status).toBe(404);
});

test('a store that fails half-way cuts the connection: nobody takes half for whole', async () => {
  const errors: unknown[] = [];
  const body = {
    size: 10,
    open: async () =>
      new ReadableStream<Uint8Array>({
        start: (controller) => controller.enqueue(Buffer.from('half')),
        pull: (controller) => controller.error(new Error('disk on fire')),
      }),
  };
  await using server = await start(
    async () => ({ status: 200, headers: { 'content-length': '10' }, body }),
    (e) => errors.push(e),
  );
  await expect(fetch(at(server)).then((r) => r.text())).rejects.toThrow();
  expect(errors).toEqual([expect.objectContaining({ message: 'disk on fire' })]);
});

test('a client that goes away stops the reading and fires the signal, and is no error', async () => {
  const errors: unknown[] = [];
  let cancelled: (() => void) | undefined;
  const done = new Promise<void>((resolve) => {
    cancelled = resolve;
  });
  let produced = 0;
  const body = {
    size: 1e9,
    open: async () =>
      new ReadableStream<Uint8Array>(
        {
          pull: (controller) => {
            produced++;
            controller.enqueue(new Uint8Array(65536));
          },
          cancel: () => cancelled?.(),
        },
        { highWaterMark: 0 },
      ),
  };
  let fired = false;
  await using server = await start(
    async (call) => {
      call.signal.addEventListener('abort', () => {
        fired = true;
      });
      return { status: 200, headers: { 'content-length': '1000000000' }, body };
    },
    (e) => errors.push(e),
  );
  const request = httpRequest(at(server));
  request.end();
  const [response] = (await once(request, 'response')) as [IncomingMessage];
  response.on('error', () => undefined);
  await once(response, 'readable');
  // Backpressure: nobody reads on, so only what the buffers between hold is produced.
  await sleep(100);
  expect(produced).toBeLessThan(400);
  response.destroy();
  await done;
  expect([fired, errors]).toEqual([true, []]);
});

test('Expect: 100-continue: the body is asked for only when it is wanted', async () => {
  await using server = await start(async (call) => (call.path === '/no' ? empty(413) : json(200, { size: await read(call) })));
  const ask = async (path: string): Promise<{ status: number | undefined; went: boolean }> => {
    const request: ClientRequest = httpRequest(at(server, path), {
      method: 'PUT',
      headers: { expect: '100-continue', 'content-length': 5 },
    });
    let went = false;
    request.on('continue', () => {
      went = true;
      request.end('hello');
    });
    request.on('error', () => undefined);
    request.flushHeaders();
    const [response] = (await once(request, 'response')) as [IncomingMessage];
    response.resume();
    if (!went) request.destroy();
    return { status: response.statusCode, went };
  };
  expect(await ask('/yes')).toEqual({ status: 200, went: true });
  expect(await ask('/no')).toEqual({ status: 413, went: false });
});

test('a refusal reaches a client that is still sending', async () => {
  await using server = await start(async () => empty(401));
  const size = 20_000_000;
  const answer = await fetch(at(server), { method: 'PUT', body: Buffer.alloc(size) });
  expect(answer.status).toBe(401);
});

test('connections are kept', async () => {
  await using server = await start(async () => json(200, {}));
  const socket = connect(server.port, '127.0.0.1');
  const ask = async () => {
    socket.write('GET / HTTP/1.1\r\nHost: x\r\n\r\n');
    let said = '';
    // Head and body may come in two pieces.
    while (!said.endsWith('{}')) said += String(((await once(socket, 'data')) as [Buffer])[0]);
    return said.split('\r\n', 1)[0];
  };
  expect([await ask(), await ask()]).toEqual(['HTTP/1.1 200 OK', 'HTTP/1.1 200 OK']);
  socket.destroy();
});

test('stop lets what runs end and takes nothing new', async () => {
  let release: (() => void) | undefined;
  const held = new Promise<void>((resolve) => {
    release = resolve;
  });
  const asked = Promise.withResolvers<void>();
  const server = await start(async () => {
    asked.resolve();
    await held;
    return json(200, { late: true });
  });
  const running = fetch(at(server));
  await asked.promise;
  const stopping = server.stop();
  await expect(fetch(at(server))).rejects.toThrow();
  release?.();
  expect(await (await running).json()).toEqual({ late: true });
  await stopping;
});

test('a taken port says so', async () => {
  await using server = await start(async () => empty(200));
  await expect(startServer({ handle: async () => empty(200), host: '127.0.0.1', port: server.port })).rejects.toMatchObject({
    code: 'USAGE',
    message: expect.stringContaining('something else'),
    hint: expect.stringContaining('--port 0'),
  });
});
