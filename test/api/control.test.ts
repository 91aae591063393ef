// The control API of a home that is served: what somebody elsewhere can and cannot do.
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Home, openHome } from '../../local/home.ts';
import { createApi } from '../../shared/api/app.ts';
import { type ApiFetch, type ApiResponse, readLines } from '../../shared/api/http.ts';
import { Context } from '../../shared/context/list.ts';
import { encodePack, maxPackBytes } from '../../shared/context/pack.ts';
import { type Digest, sha256 } from '../../shared/oci/digest.ts';
import { type TempFolder, tempFolder } from '../support/temp.ts';

let folder: TempFolder;
let home: Home;
const env = () => ({ SLIPWAY_HOME: join(folder.path, 'home'), HOME: folder.path });
beforeAll(async () => {
  folder = await tempFolder();
  home = await openHome({ env: env(), now: Date.now, served: true });
});
afterAll(async () => {
  await home[Symbol.asyncDispose]();
  await folder[Symbol.asyncDispose]();
});

async function send(
  api: ApiFetch,
  method: string,
  path: string,
  body?: unknown,
  headers: Record<string, string> = {},
): Promise<ApiResponse> {
  const bytes = body instanceof Uint8Array ? body : body === undefined ? undefined : Buffer.from(JSON.stringify(body));
  return await api({
    method,
    url: `http://home${path}`,
    headers: { get: (name) => headers[name] ?? null },
    body:
      bytes === undefined
        ? null
        : (async function* () {
            yield bytes;
          })(),
  });
}
const bodyOf = async (answer: ApiResponse): Promise<Record<string, unknown>> => {
  const chunks = answer.body instanceof Uint8Array ? [answer.body] : await Array.fromAsync(answer.body ?? []);
  return JSON.parse(Buffer.concat(chunks).toString('utf8')) as Record<string, unknown>;
};
async function ask(method: string, path: string, body?: unknown, headers: Record<string, string> = {}) {
  const answer = await send(home.fetch, method, path, body, headers);
  return { status: answer.status, value: await bodyOf(answer) };
}
const code = (value: Record<string, unknown>): unknown => (value.error as { code?: unknown } | undefined)?.code;

const request = (more: object = {}) => ({
  context: { kind: 'none' },
  dockerfile: { name: 'Dockerfile', text: 'FROM scratch\nENV A=b\n' },
  tags: [],
  buildArgs: {},
  labels: {},
  noCache: false,
  pull: false,
  ...more,
});
const events = async (id: unknown, query = '') =>
  (await Array.fromAsync(readLines((await send(home.fetch, 'GET', `/api/v1/builds/${id}/events${query}`)).body))) as {
    number: number;
    type: string;
    failure?: { code: string };
  }[];

const file = (path: string, bytes: Uint8Array) => ({
  path,
  type: 'file' as const,
  mode: 0o644,
  uid: 0,
  gid: 0,
  size: bytes.length,
  mtime: 0,
  digest: sha256(bytes),
});
const secret = Buffer.from('the content of a private project');

describe('builds', () => {
  it('with a budget are refused by a home that nobody charges', async () => {
    const { value } = await ask('POST', '/api/v1/builds', request({ budget: 1000 }));
    const events = await send(home.fetch, 'GET', `/api/v1/builds/${String(value.id)}/events`);
    const lines = await Array.fromAsync(
      readLines(Buffer.concat(await Array.fromAsync(events.body as AsyncIterable<Uint8Array>))),
    );
    expect(lines.at(-1)).toMatchObject({ type: 'error', failure: { code: 'UNSUPPORTED' } });
    expect((await ask('POST', '/api/v1/builds', request({ budget: 0.5 }))).status).toBe(400);
  });

  it('of somebody elsewhere read no directory of the machine', async () => {
    await writeFile(join(folder.path, 'passwd'), 'root');
    const asked = request({
      context: { kind: 'directory', path: folder.path },
      dockerfile: { name: 'D', text: 'FROM scratch\nCOPY passwd /\n' },
    });
    const { status, value } = await ask('POST', '/api/v1/builds', asked);
    expect([status, code(value)]).toEqual([403, 'DENIED']);
    // Without saying who asks, an API trusts nobody.
    expect((await send(createApi(home.parts), 'POST', '/api/v1/builds', asked)).status).toBe(403);
  });

  it('are one for one client token, and are found afterwards', async () => {
    const first = await ask('POST', '/api/v1/builds', request({ clientToken: 'x' }));
    const second = await ask('POST', '/api/v1/builds', request({ clientToken: 'x' }));
    expect(second).toEqual(first);
    expect(code((await ask('POST', '/api/v1/builds', request({ clientToken: 'x', tags: ['b'] }))).value)).toBe('CONFLICT');
    const { id } = first.value;
    const all = await events(id);
    expect(all.at(-1)!.type).toBe('result');
    expect(await events(id)).toEqual(all);
    expect(await events(id, '?after=2')).toEqual(all.slice(2));
    expect(await events(id, '?after=1&follow=false&limit=2')).toEqual(all.slice(1, 3));
    expect(await events(id, `?after=${all.length}`)).toEqual([]);
    expect(await events(id, '?after=9999')).toEqual([]);
    for (const query of ['?after=-1', '?after=x', '?after=1.5', '?follow=false&limit=0', '?follow=false&limit=99999999']) {
      expect((await ask('GET', `/api/v1/builds/${id}/events${query}`)).status).toBe(400);
    }
    expect((await ask('GET', '/api/v1/builds/nosuch/events')).status).toBe(404);
    expect((await ask('POST', '/api/v1/builds/nosuch/cancel')).status).toBe(404);
  });

  it('are cancelled by another process of the home, and end as such', async () => {
    const other = await openHome({ env: env(), now: Date.now, served: true });
    // A base image whose registry never answers.
    const { createServer } = await import('node:http');
    const server = createServer(() => undefined);
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    try {
      const { port } = server.address() as { port: number };
      const text = `FROM 127.0.0.1:${port}/never\n`;
      const { value } = await ask('POST', '/api/v1/builds', request({ dockerfile: { name: 'D', text } }));
      expect((await send(other.fetch, 'POST', `/api/v1/builds/${value.id}/cancel`)).status).toBe(202);
      const all = await events(value.id);
      expect(all.at(-1)).toMatchObject({ type: 'error', failure: { code: 'CANCELLED' } });
      expect(await bodyOf(await send(other.fetch, 'GET', `/api/v1/builds/${value.id}`))).toMatchObject({ state: 'cancelled' });
    } finally {
      server.closeAllConnections();
      server.close();
      await other[Symbol.asyncDispose]();
    }
  });

  it('are refused when they are not well-formed', async () => {
    for (const wrong of [{}, [], request({ tags: 'a' }), request({ context: { kind: 'x' } }), request({ clientToken: '' })]) {
      expect((await ask('POST', '/api/v1/builds', wrong)).status).toBe(400);
    }
    expect((await ask('POST', '/api/v1/builds', Buffer.alloc((8 << 20) + 1, ' '))).status).toBe(413);
    expect((await ask('GET', '/api/v1/builds?limit=0')).status).toBe(400);
  });
});

describe('contexts', () => {
  const context = new Context([file('secret', secret)]);
  const pack = encodePack([{ digest: sha256(secret), bytes: secret }]).bytes;
  const copy = { name: 'D', text: 'FROM scratch\nCOPY secret /\n' };

  it('of one project are nothing to another, even when the cache has what they would make', async () => {
    const { value: mine } = await ask('POST', '/api/v1/contexts?project=mine', context.encode());
    expect((await ask('PUT', '/api/v1/contexts/mine/packs', pack)).status).toBe(201);
    expect((await ask('POST', `/api/v1/contexts/${mine.id}/complete?project=mine`)).value).toMatchObject({ missing: [] });
    const build = request({ context: { kind: 'stored', project: 'mine', id: mine.id }, dockerfile: copy });
    const { value } = await ask('POST', '/api/v1/builds', build);
    expect((await events(value.id)).at(-1)!.type).toBe('result');

    // Who knows the digests of a file and of its list still has to have the file.
    const { value: theirs } = await ask('POST', '/api/v1/contexts?project=theirs', context.encode());
    expect(theirs).toMatchObject({ id: mine.id, missing: [sha256(secret)] });
    const stolen = await ask(
      'POST',
      '/api/v1/builds',
      request({ context: { kind: 'stored', project: 'theirs', id: theirs.id }, dockerfile: copy }),
    );
    expect(code(stolen.value)).toBe('CONTEXT');
    const unknown = await ask(
      'POST',
      '/api/v1/builds',
      request({ context: { kind: 'stored', project: 'third', id: mine.id }, dockerfile: copy }),
    );
    expect(code(unknown.value)).toBe('NOT_FOUND');
    expect((await ask('GET', `/api/v1/contexts/${mine.id}?project=third`)).status).toBe(404);
  });

  it('take a list in gzip, and no bomb, lie or escape', async () => {
    const gzip = { 'content-encoding': 'gzip' };
    expect((await ask('POST', '/api/v1/contexts?project=p', gzipSync(context.encode()), gzip)).status).toBe(201);
    expect((await ask('POST', '/api/v1/contexts?project=p', gzipSync(Buffer.alloc(65 << 20)), gzip)).status).toBe(413);
    expect(code((await ask('POST', '/api/v1/contexts?project=p', Buffer.from('no gzip'), gzip)).value)).toBe('CONTEXT');
    expect((await ask('POST', '/api/v1/contexts?project=p', Buffer.from(''), { 'content-encoding': 'br' })).status).toBe(400);
    const escaping = new Context([file('../x', secret)]).encode();
    expect(code((await ask('POST', '/api/v1/contexts?project=p', escaping)).value)).toBe('UNSAFE_PATH');
    for (const project of ['', '..', 'a/b', 'a%23b', 'x'.repeat(200)]) {
      expect((await ask('POST', `/api/v1/contexts?project=${project}`, context.encode())).status).toBe(400);
    }
  });

  it('refuse contents that are not what they are called, and those that are too large', async () => {
    const wrong = Buffer.from(pack);
    wrong.writeUInt8(wrong.at(-1)! ^ 1, wrong.length - 1);
    expect(code((await ask('PUT', '/api/v1/contexts/p/packs', wrong)).value)).toBe('DIGEST_MISMATCH');
    expect((await ask('PUT', '/api/v1/contexts/p/packs', Buffer.alloc(100))).status).toBe(400);
    expect((await ask('PUT', '/api/v1/contexts/p/packs', Buffer.alloc(maxPackBytes + 1))).status).toBe(413);
    const large = Buffer.alloc((4 << 20) + 1);
    const put = (digest: Digest, size: unknown) => ask('PUT', `/api/v1/contexts/p/bodies/${digest}?size=${size}`, large);
    expect(code((await put(sha256('x'), large.length)).value)).toBe('DIGEST_MISMATCH');
    expect(code((await put(sha256(large), large.length + 1)).value)).toBe('SIZE_MISMATCH');
    expect((await put(sha256(large), 'x')).status).toBe(400);
    expect((await put(sha256('x'), 3)).status).toBe(400);
  });

  it('say where direct uploads are not to be had', async () => {
    expect(code((await ask('POST', '/api/v1/blobs', { digest: sha256('x'), size: 1 })).value)).toBe('UNSUPPORTED');
    const adopt = { kind: 'pack', upload: 'x', digest: sha256('x'), size: 1 };
    expect(code((await ask('POST', '/api/v1/contexts/p/adopt', adopt)).value)).toBe('UNSUPPORTED');
    expect((await ask('POST', '/api/v1/contexts/p/adopt', { ...adopt, size: -1 })).status).toBe(400);
  });
});
