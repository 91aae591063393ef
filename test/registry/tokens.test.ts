import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Accounts } from '../../shared/auth/accounts.ts';
import { Issuer } from '../../shared/auth/issuer.ts';
import { parseScopes } from '../../shared/auth/scope.ts';
import { TokenKeys } from '../../shared/auth/token.ts';
import { toCall, toResponse } from '../../shared/registry/exchange.ts';
import { tokenEndpoint } from '../../shared/registry/token-endpoint.ts';
import { tokenGuard } from '../../shared/registry/token-guard.ts';
import { SqliteTable } from '../../shared/store/sqlite-table.ts';
import { testRegistry } from '../support/registry-client.ts';
import { type TempFolder, tempFolder } from '../support/temp.ts';

const clock = 1_800_000_000;
const now = () => clock;
const audience = 'r.example';
const keys = new TokenKeys('s'.repeat(64));
const sign = (...scopes: string[]) =>
  keys.sign({ kind: 'access', audience, subject: 'ann', issued: clock, expires: clock + 60, scopes: parseScopes(scopes) });

describe('the guard', () => {
  const verify = (token: string) => keys.verify(token, { kind: 'access', audience, now: clock });
  const { ask, home } = testRegistry(tokenGuard(verify));
  const as = (token: string | undefined, method: string, path: string, body?: string, headers: Record<string, string> = {}) =>
    ask(method, path, body, { ...headers, ...(token === undefined ? {} : { authorization: `Bearer ${token}` }) });
  const digest = `sha256:${'0'.repeat(64)}`;

  test('lets nobody without a good token do anything', async () => {
    const refresh = keys.sign({ kind: 'refresh', audience, subject: 'ann', issued: clock, expires: clock + 60, scopes: [] });
    const over = keys.sign({ kind: 'access', audience, subject: 'ann', issued: clock - 60, expires: clock, scopes: [] });
    const elsewhere = keys.sign({
      kind: 'access',
      audience: 'other',
      subject: 'ann',
      issued: clock,
      expires: clock + 60,
      scopes: [],
    });
    for (const token of [undefined, '', 'x', refresh, over, elsewhere]) {
      for (const path of ['/v2/', '/v2/_catalog', '/v2/a/manifests/b', '/v1/_ping', '/nothing']) {
        expect((await as(token, 'GET', path)).status, `${path} with ${token}`).toBe(401);
      }
    }
    expect((await ask('GET', '/v2/', undefined, { authorization: `Basic ${sign()}` })).status).toBe(401);
    expect((await as(sign(), 'GET', '/v2/')).status).toBe(200);
  });

  // What the registry answers once it is asked is not the guard's business: anything but 401 and 403.
  test.each([
    ['GET', '/v2/a/b/manifests/v1', 'repository:a/b:pull'],
    ['HEAD', `/v2/a/b/blobs/${digest}`, 'repository:a/b:pull'],
    ['GET', '/v2/a/b/tags/list', 'repository:a/b:pull'],
    ['GET', `/v2/a/b/referrers/${digest}`, 'repository:a/b:pull'],
    ['PUT', '/v2/a/b/manifests/v1', 'repository:a/b:push'],
    ['POST', '/v2/a/b/blobs/uploads/', 'repository:a/b:push'],
    ['PATCH', '/v2/a/b/blobs/uploads/x', 'repository:a/b:push'],
    ['PUT', `/v2/a/b/blobs/uploads/x?digest=${digest}`, 'repository:a/b:push'],
    ['GET', '/v2/a/b/blobs/uploads/x', 'repository:a/b:push'],
    ['DELETE', '/v2/a/b/blobs/uploads/x', 'repository:a/b:push'],
    ['DELETE', '/v2/a/b/manifests/v1', 'repository:a/b:delete'],
    ['DELETE', `/v2/a/b/blobs/${digest}`, 'repository:a/b:delete'],
    ['GET', '/v2/_catalog', 'registry:catalog:*'],
    ['GET', '/v1/search?q=a', 'registry:catalog:*'],
  ])('%s %s needs %s, and nothing else will do', async (method, path, scope) => {
    expect([401, 403]).not.toContain((await as(sign(scope), method, path)).status);
    const action = scope.split(':')[2];
    const others = ['pull', 'push', 'delete'].filter((one) => one !== action).map((one) => `repository:a/b:${one}`);
    const near = ['repository:a:*', 'repository:a/b/c:*', 'repository:b:*'];
    const catalog = scope.startsWith('registry') ? [] : ['registry:catalog:*'];
    const answer = await as(sign(...others, ...near, ...catalog), method, path);
    expect(answer.status).toBe(403);
    if (method !== 'HEAD') expect(answer.code).toBe('DENIED');
  });

  test('reads a path as the registry does: encoding opens no other door', async () => {
    for (const path of ['/v2/a%2Fb/manifests/v1', '/v2/%61/b/manifests/v1']) {
      expect((await as(sign('repository:a:pull'), 'GET', path)).status).toBe(403);
      expect((await as(sign('repository:a/b:pull'), 'GET', path)).status).toBe(404);
    }
  });

  test('mounts from what may be read only', async () => {
    const open = testRegistry({ ...home });
    const secret = await open.pushBlob('secret', 'bytes');
    const mount = `/v2/mine/blobs/uploads/?mount=${secret}&from=secret`;
    const mounting = testRegistry({ ...home, ...tokenGuard(verify) });
    const post = (token: string) => mounting.ask('POST', mount, undefined, { authorization: `Bearer ${token}` });
    expect((await post(sign('repository:mine:push'))).status).toBe(202);
    expect((await post(sign('repository:mine:push', 'repository:secret:push'))).status).toBe(202);
    expect((await post(sign('repository:mine:push', 'repository:secret:pull'))).status).toBe(201);
  });
});

describe('the token endpoint', () => {
  let folder: TempFolder;
  let table: SqliteTable;
  let password: string;
  let endpoint: ReturnType<typeof tokenEndpoint>;
  const faults: unknown[] = [];

  beforeAll(async () => {
    folder = await tempFolder();
    table = SqliteTable.open(join(folder.path, 'table.db'), { now });
    const accounts = new Accounts({ table, now, cost: { n: 16, r: 1, p: 1 } });
    password = (await accounts.create({ name: 'ann', kind: 'user', grants: [{ repositories: 'team/**', actions: ['pull'] }] }))
      .password;
    const issuer = new Issuer({ accounts, keys: async () => keys, audience, anonymousPull: [], now });
    endpoint = tokenEndpoint({ issuer, requestId: () => 'r1', onFault: (fault) => faults.push(fault) });
  });

  afterAll(async () => {
    table.close();
    await folder[Symbol.asyncDispose]();
  });

  const ask = async (query: string, init: RequestInit = {}) => {
    const call = toCall(new Request(`https://r.example/token${query}`, init));
    const answer = await toResponse(await endpoint(call), call);
    return { status: answer.status, headers: answer.headers, body: (await answer.json()) as Record<string, unknown> };
  };
  const basic = (text: string) => ({ headers: { authorization: `Basic ${Buffer.from(text).toString('base64')}` } });
  const form = (fields: Record<string, string>) => ({ method: 'POST', body: new URLSearchParams(fields) });

  test('gives a token for a name and a password, as the specification has it', async () => {
    const scopes = 'scope=repository:team/app:pull,push&scope=repository:other:pull';
    const { status, headers, body } = await ask(`?service=${audience}&${scopes}`, basic(`ann:${password}`));
    expect(status).toBe(200);
    expect(headers.get('cache-control')).toBe('no-store');
    expect(body).toMatchObject({ expires_in: 3600, issued_at: '2027-01-15T08:00:00Z', access_token: body.token });
    expect(body).not.toHaveProperty('refresh_token');
    const claims = keys.verify(String(body.token), { kind: 'access', audience, now: clock });
    expect(claims).toMatchObject({ subject: 'ann', scopes: [{ name: 'team/app', actions: ['pull'] }] });
  });

  test('speaks OAuth2: a password once, then the refresh token', async () => {
    const first = await ask(
      '',
      form({ grant_type: 'password', username: 'ann', password, access_type: 'offline', client_id: 't' }),
    );
    expect(first.status).toBe(200);
    const refresh = String(first.body.refresh_token);
    const next = await ask('', form({ grant_type: 'refresh_token', refresh_token: refresh, scope: 'repository:team/app:pull' }));
    expect(next.body).toMatchObject({ refresh_token: refresh, scope: 'repository:team/app:pull' });
    expect(next.body).not.toHaveProperty('token');
    const offline = await ask('?offline_token=true', basic(`ann:${password}`));
    expect(offline.body.refresh_token).toBeDefined();
  });

  test.each<[string, () => RequestInit]>([
    ['a wrong password', () => basic('ann:wrong')],
    ['an unknown name', () => basic(`bob:${password}`)],
    ['no colon', () => basic('ann')],
    ['another scheme', () => ({ headers: { authorization: 'Bearer x' } })],
    ['nothing, where nobody may be nobody', () => ({})],
    ['a refresh token that is none', () => form({ grant_type: 'refresh_token', refresh_token: 'x' })],
    [
      'an access token as refresh token',
      () => form({ grant_type: 'refresh_token', refresh_token: sign('repository:team/app:pull') }),
    ],
    ['no password in a form', () => form({ grant_type: 'password', username: 'ann' })],
  ])('refuses %s', async (_, init) => {
    const { status, body } = await ask('?scope=repository:team/app:pull', init());
    expect(status).toBe(401);
    expect(body).toMatchObject({ errors: [{ code: 'UNAUTHORIZED' }] });
    expect(JSON.stringify(body)).not.toContain('eyJ');
  });

  test.each<[string, number, RequestInit]>([
    ['another method', 405, { method: 'PUT', body: 'x' }],
    ['no form', 415, { method: 'POST', body: '{}', headers: { 'content-type': 'application/json' } }],
    ['another grant', 400, { method: 'POST', body: new URLSearchParams({ grant_type: 'authorization_code' }) }],
    [
      'an endless form',
      413,
      { method: 'POST', body: new URLSearchParams({ grant_type: 'password', password: 'x'.repeat(100_000) }) },
    ],
  ])('refuses %s', async (_, expected, init) => {
    expect((await ask('', init)).status).toBe(expected);
  });

  test('tells of its own faults, and only there', async () => {
    expect(faults).toEqual([]);
    const broken = tokenEndpoint({
      issuer: { issue: () => Promise.reject(new Error('the table is gone: secret detail')) } as unknown as Issuer,
      requestId: () => 'r9',
      onFault: (fault) => faults.push(fault),
    });
    const call = toCall(new Request('https://r.example/token'));
    const answer = await toResponse(await broken(call), call);
    expect(answer.status).toBe(500);
    const text = await answer.text();
    expect(text).toContain('r9');
    expect(text).not.toContain('secret detail');
    expect(faults).toHaveLength(1);
  });
});
