import { once } from 'node:events';
import { createServer, type Server } from 'node:http';
import { expect, test } from 'vitest';
import { checkAddress, guardedLookup, isLoopback } from '../../shared/client/address.ts';
import { HttpClient, readBody } from '../../shared/client/http.ts';

async function proxy(): Promise<{ readonly server: Server; readonly url: string; readonly seen: string[] }> {
  const seen: string[] = [];
  const server = createServer((request, response) => {
    seen.push(request.url ?? '');
    response.end('from the proxy');
  });
  server.on('connect', (request, socket) => {
    seen.push(`CONNECT ${request.url}`);
    socket.end('HTTP/1.1 403 Forbidden\r\n\r\n');
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address() as { port: number };
  return { server, url: `http://127.0.0.1:${address.port}`, seen };
}

test('HTTP_PROXY, HTTPS_PROXY and NO_PROXY; never for this machine itself', async () => {
  const { server, url, seen } = await proxy();
  const env = { HTTP_PROXY: url, HTTPS_PROXY: url, NO_PROXY: 'direct.invalid' };
  using http = new HttpClient({ userAgent: 'test', env, delays: [] });
  const answer = await http.send({ method: 'GET', url: new URL('http://registry.invalid/v2/') });
  expect((await readBody(answer, 100, 'body')).toString()).toBe('from the proxy');
  expect(seen).toEqual(['http://registry.invalid/v2/']);
  await expect(http.send({ method: 'GET', url: new URL('https://registry.invalid/v2/') })).rejects.toMatchObject({
    code: 'UPSTREAM',
  });
  expect(seen[1]).toBe('CONNECT registry.invalid:443');
  await expect(http.send({ method: 'GET', url: new URL('http://direct.invalid/v2/') })).rejects.toMatchObject({
    code: 'UPSTREAM',
  });
  await http.send({ method: 'GET', url: new URL(`${url}/own`) });
  expect(seen.slice(2)).toEqual(['/own']);
  server.close();
  server.closeAllConnections();
});

test.each(['169.254.169.254', '[fe80::1]', '[fd00:ec2::254]', '100.100.100.200', '[::ffff:169.254.169.254]', '0.0.0.0', '[::]'])(
  '%s is refused',
  (host) => expect(() => checkAddress(host)).toThrow(expect.objectContaining({ code: 'DENIED' })),
);

test.each(['127.0.0.1', 'localhost', '10.0.0.1', '192.168.1.1', 'registry.example', '[2001:db8::1]'])('%s is not', (host) =>
  expect(checkAddress(host)).toBe(undefined),
);

test('another host may not lead here', () => {
  expect(() => checkAddress('127.0.0.1', 'registry.example')).toThrow(expect.objectContaining({ code: 'DENIED' }));
  expect(() => checkAddress('localhost', 'registry.example')).toThrow(expect.objectContaining({ code: 'DENIED' }));
  expect(checkAddress('127.0.0.1', 'localhost')).toBe(undefined);
});

test('what counts as this machine', () => {
  for (const name of ['localhost', 'LOCALHOST', 'x.localhost', '127.0.0.1', '127.9.9.9', '[::1]'])
    expect(isLoopback(name)).toBe(true);
  for (const name of ['localhost.example', '128.0.0.1', '127.0.0.1.example', '[::2]', '']) expect(isLoopback(name)).toBe(false);
});

test.each(['127.0.0.1', 'localhost', 'x.localhost', '[::1]', '[::ffff:127.0.0.1]'])(
  '%s is refused where this machine is nothing to be reached',
  (host) => expect(() => checkAddress(host, undefined, false)).toThrow(expect.objectContaining({ code: 'DENIED' })),
);

test('a name that leads to this machine is refused there, too', async () => {
  const error = await new Promise((resolve) => guardedLookup(false)('localhost', {}, resolve));
  expect(error).toMatchObject({ code: 'DENIED', message: expect.stringContaining('the machine that builds') });
});

test('a client that may not reach this machine sends nothing there', async () => {
  const { server, url, seen } = await proxy();
  using http = new HttpClient({ userAgent: 'test', thisMachine: false, delays: [] });
  await expect(http.send({ method: 'GET', url: new URL(url) })).rejects.toMatchObject({ code: 'DENIED' });
  const named = new URL(url);
  named.hostname = 'localhost';
  await expect(http.send({ method: 'GET', url: named })).rejects.toMatchObject({ code: 'DENIED' });
  expect(seen).toEqual([]);
  server.close();
});

test('a look-up gives what the system gives', async () => {
  const one = await new Promise((resolve) => guardedLookup(true)('localhost', { family: 4 }, (_, address) => resolve(address)));
  expect(one).toBe('127.0.0.1');
  const all = await new Promise((resolve) =>
    guardedLookup(true)('localhost', { all: true }, (_, addresses) => resolve(addresses)),
  );
  expect(all).toContainEqual({ address: '127.0.0.1', family: 4 });
});
