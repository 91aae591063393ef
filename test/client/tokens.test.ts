import { expect, test } from 'vitest';
import { isCode } from '../../shared/errors.ts';
import { type Call, json, type Reply } from '../../shared/registry/exchange.ts';
import { startUpstream } from '../support/upstream.ts';

const unauthorized = (challenge: string): Reply =>
  json(401, { errors: [{ code: 'UNAUTHORIZED', message: 'authentication required' }] }, { 'www-authenticate': challenge });

const login = { username: 'ann', password: 'secret' };
const basicHeader = `Basic ${Buffer.from('ann:secret').toString('base64')}`;

/** A registry that wants tokens, which it gives out itself at /token. */
async function withTokens(credentials?: Parameters<typeof startUpstream>[0], expires = 300) {
  const upstream = await startUpstream(credentials);
  const asked: { method: string; query: string; authorization: string | undefined; form: string }[] = [];
  const valid = new Set<string>();
  upstream.hook = async (call, next) => {
    if (call.path === '/token') {
      let form = '';
      for await (const chunk of call.body) form += Buffer.from(chunk).toString();
      asked.push({ method: call.method, query: call.query, authorization: call.header('authorization'), form });
      const token = `t${asked.length}`;
      valid.add(token);
      return json(200, { token, expires_in: expires });
    }
    const sent = call.header('authorization')?.replace(/^Bearer /, '');
    if (sent !== undefined && valid.has(sent)) return next(call);
    return unauthorized(`Bearer realm="http://${upstream.host}/token",service="test"`);
  };
  return { upstream, asked, valid };
}

test('Basic is sent only after the registry asks for it', async () => {
  await using upstream = await startUpstream({ credentials: login });
  const seen: (string | undefined)[] = [];
  upstream.hook = (call, next) => {
    seen.push(call.header('authorization'));
    return call.header('authorization') === basicHeader ? next(call) : unauthorized('Basic realm="x"');
  };
  await upstream.client.hasBlob('app', `sha256:${'0'.repeat(64)}`);
  await upstream.client.hasBlob('app', `sha256:${'0'.repeat(64)}`);
  // The first is the question whether this host speaks plain HTTP.
  expect(seen).toEqual([undefined, undefined, basicHeader, basicHeader]);
});

test('a wrong password is tried once and is UNAUTHORIZED', async () => {
  await using upstream = await startUpstream({ credentials: login });
  upstream.hook = () => unauthorized('Basic realm="x"');
  await expect(upstream.client.manifest('app', 'v1')).rejects.toSatisfy((e) => isCode(e, 'UNAUTHORIZED'));
  expect(upstream.calls.filter((c) => c.includes('manifests'))).toHaveLength(2);
});

test('a token is asked for once per scope, with the login, and used until it expires', async () => {
  const { upstream, asked } = await withTokens({ credentials: login });
  await using _ = upstream;
  for (let i = 0; i < 3; i++) await upstream.client.manifest('team/app', 'v1');
  await upstream.client.manifest('other', 'v1');
  expect(asked.map(({ query }) => new URLSearchParams(query).getAll('scope'))).toEqual([
    ['repository:team/app:pull'],
    ['repository:other:pull'],
  ]);
  expect(new URLSearchParams(asked[0]?.query).get('service')).toBe('test');
  expect(asked.map((a) => a.authorization)).toEqual([basicHeader, basicHeader]);
});

test('without a login the token is asked for anonymously', async () => {
  const { upstream, asked } = await withTokens();
  await using _ = upstream;
  await upstream.client.manifest('app', 'v1');
  expect(asked.map((a) => a.authorization)).toEqual([undefined]);
});

test('a token that is refused is replaced once', async () => {
  const { upstream, asked, valid } = await withTokens();
  await using _ = upstream;
  await upstream.client.manifest('app', 'v1');
  valid.clear();
  await upstream.client.manifest('app', 'v1');
  expect(asked).toHaveLength(2);
});

test('an identity token goes by POST; where that is not known and there is a password, by GET', async () => {
  const { upstream, asked } = await withTokens({ credentials: { ...login, identityToken: 'refresh' } });
  await using _ = upstream;
  await upstream.client.manifest('app', 'v1');
  expect(asked[0]?.method).toBe('POST');
  expect(Object.fromEntries(new URLSearchParams(asked[0]?.form))).toEqual({
    grant_type: 'refresh_token',
    refresh_token: 'refresh',
    client_id: 'slipway',
    service: 'test',
    scope: 'repository:app:pull',
  });
  const inner = upstream.hook as (call: Call, next: never) => Promise<Reply>;
  upstream.hook = (call, next) => (call.method === 'POST' ? json(404, {}) : inner(call, next as never));
  await upstream.client.manifest('other', 'v1');
  expect(asked.at(-1)).toMatchObject({ method: 'GET', authorization: basicHeader });
});

test.each([
  ['http://169.254.169.254/latest/meta-data/', 'DENIED'],
  ['http://[fe80::1]/token', 'DENIED'],
  ['http://[::ffff:169.254.169.254]/token', 'DENIED'],
  ['http://2852039166/token', 'DENIED'],
  ['file:///etc/passwd', 'DENIED'],
  ['not a url', 'UPSTREAM'],
])('a realm at %s is refused and gets no password', async (realm, code) => {
  await using upstream = await startUpstream({ credentials: login });
  upstream.hook = () => unauthorized(`Bearer realm="${realm}",service="x"`);
  await expect(upstream.client.manifest('app', 'v1')).rejects.toMatchObject({ code });
});

test.each([
  ['no JSON', 'x'],
  ['no token', '{}'],
  ['a token that would split the header', '{"token":"a\\r\\nx: y"}'],
])('an answer of the token server with %s is UPSTREAM', async (_, body) => {
  await using upstream = await startUpstream();
  upstream.hook = (call) =>
    call.path === '/token'
      ? { status: 200, headers: { 'content-type': 'application/json' }, body: Buffer.from(body) as Uint8Array<ArrayBuffer> }
      : unauthorized(`Bearer realm="http://${upstream.host}/token"`);
  await expect(upstream.client.manifest('app', 'v1')).rejects.toMatchObject({ code: 'UPSTREAM' });
});
