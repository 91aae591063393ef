// Uploads that go on at another host: a registry that starts them, the host that takes their bytes, over node:http as clients meet them.
import { createHash, randomBytes } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { parseScopes } from '../../shared/auth/scope.ts';
import { createRegistry } from '../../shared/registry/app.ts';
import type { Handler } from '../../shared/registry/exchange.ts';
import { type RunningServer, startServer } from '../../shared/registry/node-server.ts';
import { tokenGuard } from '../../shared/registry/token-guard.ts';
import { createUploadHost, uploadUrl } from '../../shared/registry/upload-host.ts';
import { UploadTickets } from '../../shared/registry/upload-tickets.ts';
import { memoryHome } from '../support/memory-home.ts';

let seconds = 1_800_000_000;
const tickets = new UploadTickets('s'.repeat(64), () => seconds);
const requestId = () => 'id';
let registry: RunningServer;
let host: RunningServer;
let registryUrl: string;

const late =
  (handler: () => Handler): Handler =>
  (call) =>
    handler()(call);

beforeAll(async () => {
  const { blobs, catalog } = memoryHome();
  let registryHandle: Handler | undefined;
  let hostHandle: Handler | undefined;
  registry = await startServer({ host: '127.0.0.1', port: 0, handle: late(() => registryHandle!) });
  host = await startServer({ host: '127.0.0.1', port: 0, handle: late(() => hostHandle!) });
  registryUrl = `http://127.0.0.1:${registry.port}`;
  const claims = { kind: 'access', audience: 'h', subject: 'ann', issued: 0, expires: 0 } as const;
  const guard = tokenGuard((token) => ({ ...claims, scopes: parseScopes([`repository:${token}:pull,push`]) }));
  const uploadLocation = (name: string, id: string) => uploadUrl(`http://127.0.0.1:${host.port}`, tickets)(name, id);
  registryHandle = createRegistry({ blobs, catalog, requestId, uploadLocation, ...guard }).handle;
  hostHandle = createUploadHost({ blobs, catalog, requestId, tickets, registryUrl });
});
afterAll(async () => {
  await registry[Symbol.asyncDispose]();
  await host[Symbol.asyncDispose]();
});

async function started(name: string): Promise<URL> {
  const headers = { authorization: `Bearer ${name}` };
  const answer = await fetch(`${registryUrl}/v2/${name}/blobs/uploads/`, { method: 'POST', headers });
  expect(answer.status).toBe(202);
  return new URL(answer.headers.get('location')!);
}
const digestOf = (bytes: Uint8Array) => `sha256:${createHash('sha256').update(bytes).digest('hex')}`;
const put = (at: URL, digest: string, body?: Uint8Array<ArrayBuffer>) => {
  const url = new URL(at);
  url.searchParams.set('digest', digest);
  return fetch(url, { method: 'PUT', ...(body === undefined ? {} : { body }) });
};
const read = async (name: string, digest: string) => {
  const answer = await fetch(`${registryUrl}/v2/${name}/blobs/${digest}`, { headers: { authorization: `Bearer ${name}` } });
  return Buffer.from(await answer.arrayBuffer());
};

describe('an upload at another host', () => {
  const bytes = randomBytes(3 << 20);

  test('goes there in one PUT, without a token, and is found at the registry', async () => {
    const at = await started('team/app');
    expect([at.port, at.pathname.slice(0, 13)]).toEqual([String(host.port), '/up/team/app/']);
    const done = await put(at, digestOf(bytes), bytes);
    expect([done.status, done.headers.get('location')]).toEqual([201, `${registryUrl}/v2/team/app/blobs/${digestOf(bytes)}`]);
    expect(Buffer.compare(await read('team/app', digestOf(bytes)), bytes)).toBe(0);
  });

  test('goes there in chunks, each with a new URL, and tells how far it is', async () => {
    let at = await started('team/chunks');
    const half = bytes.subarray(0, 1 << 20);
    const patched = await fetch(at, { method: 'PATCH', body: half, headers: { 'content-range': `0-${half.length - 1}` } });
    expect([patched.status, patched.headers.get('range')]).toEqual([202, `0-${half.length - 1}`]);
    seconds += 3000;
    at = new URL(patched.headers.get('location')!, at);
    const status = await fetch(at);
    expect([status.status, status.headers.get('range')]).toEqual([204, `0-${half.length - 1}`]);
    at = new URL(status.headers.get('location')!, at);
    seconds += 3000;
    expect((await put(at, digestOf(bytes), bytes.subarray(1 << 20))).status).toBe(201);
    expect(Buffer.compare(await read('team/chunks', digestOf(bytes)), bytes)).toBe(0);
  });

  test('is refused with other bytes, and can be given up', async () => {
    expect((await put(await started('team/app'), digestOf(Buffer.from('other')), bytes)).status).toBe(400);
    const at = await started('team/app');
    expect((await fetch(at, { method: 'DELETE' })).status).toBe(204);
    expect((await fetch(at)).status).toBe(404);
  });

  test('is for who has its URL, for that upload, and for an hour', async () => {
    const at = await started('team/app');
    const other = await started('team/web');
    const change = (from: (url: URL) => void) => {
      const url = new URL(at);
      from(url);
      return url;
    };
    const bad = [
      change((url) => url.searchParams.delete('t')),
      change((url) => url.searchParams.set('t', other.searchParams.get('t')!)),
      change((url) => url.searchParams.set('t', `${url.searchParams.get('t')!.slice(0, -1)}_`)),
      change((url) => (url.pathname = url.pathname.replace('team/app', 'team/web'))),
      change((url) => (url.pathname = other.pathname)),
      // Later than it says.
      change((url) =>
        url.searchParams.set(
          't',
          url.searchParams.get('t')!.replace(/^[0-9a-z]+/, (until) => (Number.parseInt(until, 36) + 9).toString(36)),
        ),
      ),
    ];
    for (const url of bad) expect((await put(url, digestOf(bytes), bytes)).status, url.href).toBe(403);
    seconds += 3601;
    expect((await put(at, digestOf(bytes), bytes)).status).toBe(403);
  });

  test('is all that this host does', async () => {
    const { port } = host;
    const at = await started('team/app');
    const t = at.search;
    for (const path of [
      '/',
      '/v2/',
      '/v2/_catalog',
      `/v2/team/app/blobs/${digestOf(bytes)}`,
      `/up/team/app/manifests/latest${t}`,
      `/up/team/app/${t}`,
      `/up/../v2/${t}`,
      `/up/a/blobs/uploads/x${t}`,
      `/up/Team/x${t}`,
    ])
      expect([404, 400, 403], path).toContain((await fetch(`http://127.0.0.1:${port}${path}`)).status);
    expect((await fetch(at, { method: 'POST' })).status).toBe(405);
  });
});
