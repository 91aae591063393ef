// The OpenAPI document against the routes, its examples against its schemas, and real answers against both.
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import * as z from 'zod/mini';
import type { Home } from '../../local/home.ts';
import { openHome } from '../../local/home.ts';
import { errorAnswer } from '../../shared/api/answers.ts';
import { allRoutes, createApi } from '../../shared/api/app.ts';
import { readLines } from '../../shared/api/http.ts';
import { openApi } from '../../shared/api/openapi.ts';
import { operations } from '../../shared/api/operations.ts';
import { Context } from '../../shared/context/list.ts';
import { encodePack } from '../../shared/context/pack.ts';
import { sha256 } from '../../shared/oci/digest.ts';
import { writeTar } from '../../shared/tar/write.ts';
import { type TempFolder, tempFolder } from '../support/temp.ts';
import { transfersInProcess } from '../support/transfers-in-process.ts';

let folder: TempFolder;
let home: Home;
beforeAll(async () => {
  folder = await tempFolder();
  home = await openHome({ env: { SLIPWAY_HOME: join(folder.path, 'home'), HOME: folder.path }, now: Date.now, served: true });
});
afterAll(async () => {
  await home[Symbol.asyncDispose]();
  await folder[Symbol.asyncDispose]();
});

/** Nothing is in the value that the schema does not know, and everything is as it says. */
function expectFits(schema: z.ZodMiniType, value: unknown): void {
  const result = z.safeParse(schema, value);
  expect(result.error?.issues, JSON.stringify(value)).toBeUndefined();
  expect(result.data).toEqual(value);
}

const called = new Set<string>();

/** Calls an operation by its id and holds the answer against its description. */
async function call(id: string, path: string, body?: unknown, fetch = home.fetch): Promise<unknown> {
  const operation = operations.find((one) => one.id === id)!;
  const bytes = body instanceof Uint8Array ? body : body === undefined ? undefined : Buffer.from(JSON.stringify(body));
  const answer = await fetch({
    method: operation.method,
    url: `http://home${path}`,
    headers: { get: () => null },
    body:
      bytes === undefined
        ? null
        : (async function* () {
            yield bytes;
          })(),
  });
  const chunks =
    answer.body === null ? [] : answer.body instanceof Uint8Array ? [answer.body] : await Array.fromAsync(answer.body);
  const whole = Buffer.concat(chunks);
  const { otherwise } = operation;
  const described = otherwise !== undefined && answer.status === otherwise.status ? otherwise : operation;
  expect(answer.status, whole.toString('utf8').slice(0, 500)).toBe(described.status);
  expect(answer.headers['content-type']).toBe(described.answer.type);
  called.add(id);
  const { schema, type } = described.answer;
  if (type === 'application/x-ndjson') {
    const lines = await Array.fromAsync(readLines(whole));
    expect(lines.length).toBeGreaterThan(0);
    for (const line of lines) expectFits(schema!, line);
    return lines;
  }
  if (schema === undefined) return whole;
  const value: unknown = JSON.parse(whole.toString('utf8'));
  for (const one of Array.isArray(value) ? value : [value]) expectFits(schema, one);
  return value;
}

describe('the OpenAPI document', () => {
  it('has every route, and nothing else', async () => {
    const routes = (await allRoutes(home.parts, { sameMachine: false })).map(({ method, path }) => `${method} ${path}`);
    expect(operations.map(({ method, path }) => `${method} ${path}`).toSorted()).toEqual(routes.toSorted());
    expect(new Set(operations.map(({ id }) => id)).size).toBe(operations.length);
  });

  it('has examples that are valid', () => {
    let examples = 0;
    for (const { request, answer, otherwise } of operations) {
      for (const body of [request, answer, otherwise?.answer]) {
        if (body?.example === undefined) continue;
        expectFits(body.schema!, body.example);
        examples++;
      }
    }
    expect(examples).toBeGreaterThan(25);
    // A request that a schema checks shows how it is written.
    for (const { id, request } of operations)
      expect(request?.schema === undefined || request.example !== undefined, id).toBe(true);
  });

  it('refers to what is in it, and says of each request what can go wrong', () => {
    const document = openApi() as {
      paths: Record<
        string,
        Record<string, { responses: object; parameters: { name: string; in: string }[]; operationId: string }>
      >;
      components: { schemas: Record<string, unknown> };
    };
    const references = JSON.stringify(document).matchAll(/"\$ref":"#\/components\/schemas\/([^"]+)"/g);
    for (const [, name] of references) expect(document.components.schemas).toHaveProperty(name!);
    for (const [path, methods] of Object.entries(document.paths)) {
      const inPath = [...path.matchAll(/\{(\w+)\}/g)].map(([, name]) => name);
      for (const operation of Object.values(methods)) {
        expect(operation.parameters.filter((p) => p.in === 'path').map((p) => p.name)).toEqual(inPath);
        expect(Object.keys(operation.responses)).toEqual(expect.arrayContaining(['401', '429', '500']));
      }
    }
    expect(JSON.parse(JSON.stringify(document))).toEqual(document);
    expect(document).toMatchObject({ openapi: '3.1.0' });
  });

  it('tells the truth: real answers fit', async () => {
    await call('about', '/api/v1');
    expect(JSON.parse(String(await call('openApi', '/api/openapi.json')))).toEqual(openApi());

    const bytes = Buffer.from('hello');
    const context = new Context([
      { path: 'a', type: 'file', mode: 0o644, uid: 0, gid: 0, size: 5, mtime: 0, digest: sha256(bytes) },
    ]);
    const query = '?project=p';
    const offered = (await call('offerContext', `/api/v1/contexts${query}`, context.encode())) as {
      id: string;
      missing: unknown;
    };
    expect(offered.missing).toEqual([sha256(bytes)]);
    await call('sendPack', '/api/v1/contexts/p/packs', encodePack([{ digest: sha256(bytes), bytes }]).bytes);
    const large = Buffer.alloc((4 << 20) + 1, 'x');
    await call('sendBody', `/api/v1/contexts/p/bodies/${sha256(large)}?size=${large.length}`, large);
    expect(await call('completeContext', `/api/v1/contexts/${offered.id}/complete${query}`)).toMatchObject({ missing: [] });
    expect(await call('getContext', `/api/v1/contexts/${offered.id}${query}`)).toMatchObject({ complete: true });
    await call('sendArchive', '/api/v1/contexts/archive', Buffer.from('FROM scratch\n'));

    const dockerfile = { name: 'Dockerfile', text: 'FROM scratch as base\nCOPY a /\nENV A=b\n' };
    const request = {
      context: { kind: 'stored', project: 'p', id: offered.id },
      dockerfile,
      tags: ['app:1'],
      buildArgs: {},
      labels: { l: '1' },
      noCache: false,
      pull: false,
    };
    const { id } = (await call('startBuild', '/api/v1/builds', request)) as { id: string };
    const events = (await call('buildEvents', `/api/v1/builds/${id}/events`)) as { type: string }[];
    expect(events.map((event) => event.type)).toEqual(expect.arrayContaining(['started', 'note', 'done', 'warning', 'result']));
    const failing = (await call('startBuild', '/api/v1/builds', {
      ...request,
      dockerfile: { name: 'D', text: 'FROM scratch\nCOPY b /\n' },
    })) as { id: string };
    const failed = (await call('buildEvents', `/api/v1/builds/${failing.id}/events`)) as { type: string }[];
    expect(failed.map((event) => event.type)).toEqual(expect.arrayContaining(['failed', 'error']));
    expect(await call('getBuild', `/api/v1/builds/${failing.id}`)).toMatchObject({
      state: 'failed',
      failure: { code: 'NOT_FOUND' },
    });
    expect(await call('getBuild', `/api/v1/builds/${id}`)).toMatchObject({ state: 'succeeded', project: 'p' });
    expect(await call('listBuilds', '/api/v1/builds')).toMatchObject({ builds: [{ id: failing.id }, { id }] });
    await call('cancelBuild', `/api/v1/builds/${id}/cancel`);

    await call('listImages', '/api/v1/images?all');
    await call('inspectImage', '/api/v1/images/app:1/inspect');
    await call('imageHistory', '/api/v1/images/app:1/history');
    await call('tagImage', '/api/v1/images/app:1/tag', { target: 'team/app:2' });
    const archive = await call('saveImages', '/api/v1/images/save', { names: ['app:1', 'team/app:2'] });
    await call('removeImage', '/api/v1/images/team/app:2');
    await call('removeImage', '/api/v1/images/app:1');
    await call('loadImages', '/api/v1/images/load', archive);
    const root = await Array.fromAsync(
      writeTar([{ entry: { path: 'x', type: 'dir', mode: 0o755, uid: 0, gid: 0, size: 0, mtime: 0 } }]),
    );
    await call('importImage', '/api/v1/images/import?name=base', Buffer.concat(root));
    await call('pullImage', '/api/v1/images/pull', { reference: '127.0.0.1:9/nowhere' });
    await call('pushImage', '/api/v1/images/push', { reference: '127.0.0.1:9/nowhere' });
    await using transfers = transfersInProcess({ blobs: home.parts.blobs, table: home.parts.table });
    const account = createApi({ ...home.parts, transfers: async () => transfers.service });
    const asked = { reference: '127.0.0.1:9/nowhere', clientToken: 'a', login: { username: 'a', password: 'b' } };
    const moved = (await call('pullImage', '/api/v1/images/pull', asked, account)) as { id: string };
    // An answer ends after a while, whether or not the transfer has.
    await Promise.all(transfers.runs);
    const told = await call('transferEvents', `/api/v1/transfers/${moved.id}/events`, undefined, account);
    expect(told).toMatchObject([
      { number: 1, kind: 'pulling' },
      { number: 2, kind: 'failed' },
    ]);
    expect(await call('getTransfer', `/api/v1/transfers/${moved.id}`, undefined, account)).toMatchObject({ state: 'failed' });
    await call('cancelTransfer', `/api/v1/transfers/${moved.id}/cancel`, undefined, account);
    // A store with URLs of its own is in test/cli/remote.test.ts and test/contract.
    expect(
      operations
        .map((one) => one.id)
        .filter((one) => !called.has(one))
        .toSorted(),
    ).toEqual(['adoptUpload', 'beginUpload', 'confirmUpload']);
  });

  it('describes errors as they are', async () => {
    const answer = await home.fetch({
      method: 'GET',
      url: 'http://home/api/v1/builds/nosuch',
      headers: { get: () => null },
      body: null,
    });
    expect(answer.status).toBe(404);
    expectFits(errorAnswer, JSON.parse(Buffer.from(answer.body as Uint8Array).toString('utf8')));
  });
});
