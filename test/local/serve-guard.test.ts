import { expect, test } from 'vitest';
import { basicLogin, localOnly, noBrowser } from '../../local/serve-guard.ts';
import type { Call, Reply } from '../../shared/registry/exchange.ts';

const call = (headers: Record<string, string>): Call => ({
  method: 'GET',
  path: '/v2/',
  query: '',
  header: (name) => headers[name],
  body: ReadableStream.from([]),
  signal: new AbortController().signal,
});
const status = (reply: Reply | undefined) => reply?.status;

test.each(['localhost:5000', '127.0.0.1:5000', '127.8.8.8', '[::1]:5000', 'app.localhost:5000', 'LOCALHOST', '192.168.1.4:5000'])(
  'Host: %s is answered',
  (host) => expect(status(localOnly(call({ host })))).toBe(undefined),
);

test.each(['evil.example:5000', 'localhost.evil.example', '127.0.0.1.nip.io', 'x y', ''])('Host: %s is refused', (host) =>
  expect(status(localOnly(call({ host })))).toBe(403),
);

test('no Host at all is refused', () => expect(status(localOnly(call({})))).toBe(403));

test.each([
  [{ origin: 'https://evil.example' }, 403],
  [{ origin: 'null' }, 403],
  [{ 'sec-fetch-site': 'cross-site' }, 403],
  [{ 'sec-fetch-site': 'same-site' }, 403],
  [{ 'sec-fetch-site': 'none' }, undefined],
  [{}, undefined],
])('a browser with %o', (headers, expected) => {
  expect(status(noBrowser(call(headers as Record<string, string>)))).toBe(expected);
  expect(status(localOnly(call({ host: 'localhost', ...(headers as Record<string, string>) })))).toBe(expected);
});

test('one login, compared in full', () => {
  const guard = basicLogin({ username: 'ann', password: 'se:cret' });
  const header = (text: string) => `Basic ${Buffer.from(text).toString('base64')}`;
  expect(guard(call({ authorization: header('ann:se:cret') }))).toBe(undefined);
  for (const wrong of [
    undefined,
    '',
    'Basic',
    'Bearer x',
    header('ann:se:cre'),
    header('ann:'),
    header('bob:se:cret'),
    header(''),
  ]) {
    const reply = guard(call(wrong === undefined ? {} : { authorization: wrong }));
    expect(reply?.status).toBe(401);
    expect(reply?.headers['www-authenticate']).toBe('Basic realm="slipway", charset="UTF-8"');
  }
});
