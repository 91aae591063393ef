import { expect, test } from 'vitest';
import { sha256 } from '../../shared/oci/digest.ts';
import { testRegistry } from '../support/registry-client.ts';

const bytes = 'abcdefghij';
const digest = sha256(bytes);
const path = `/v2/team/app/blobs/${digest}`;

test('a blob is served with its digest, length and a lasting cache', async () => {
  const { ask, pushBlob } = testRegistry();
  await pushBlob('team/app', bytes);
  const got = await ask('GET', path);
  expect(got.status).toBe(200);
  expect(got.text).toBe(bytes);
  expect(Object.fromEntries(got.headers)).toMatchObject({
    'content-length': '10',
    'content-type': 'application/octet-stream',
    'docker-content-digest': digest,
    'docker-distribution-api-version': 'registry/2.0',
    etag: `"${digest}"`,
    'accept-ranges': 'bytes',
    'x-content-type-options': 'nosniff',
  });
});

test('HEAD says what GET says and opens nothing', async () => {
  const { ask, pushBlob, home } = testRegistry();
  await pushBlob('team/app', bytes);
  const head = await ask('HEAD', path);
  expect(head.status).toBe(200);
  expect(head.text).toBe('');
  expect(head.headers.get('content-length')).toBe('10');
  expect(home.opened()).toBe(0);
});

test.each([
  ['bytes=0-3', 206, 'abcd', 'bytes 0-3/10'],
  ['bytes=4-', 206, 'efghij', 'bytes 4-9/10'],
  ['bytes=-2', 206, 'ij', 'bytes 8-9/10'],
  ['bytes=-99', 206, bytes, 'bytes 0-9/10'],
  ['bytes=8-99', 206, 'ij', 'bytes 8-9/10'],
  ['bytes=10-', 416, undefined, 'bytes */10'],
  ['bytes=-0', 416, undefined, 'bytes */10'],
  ['bytes=99999999999999999999-', 416, undefined, 'bytes */10'],
  ['bytes=3-1', 200, bytes, null],
  ['bytes=0-1,4-5', 200, bytes, null],
  ['bytes=', 200, bytes, null],
  ['bytes=-', 200, bytes, null],
  ['lines=1-2', 200, bytes, null],
])('Range %s', async (range, status, text, contentRange) => {
  const { ask, pushBlob } = testRegistry();
  await pushBlob('team/app', bytes);
  const got = await ask('GET', path, undefined, { range });
  expect(got.status).toBe(status);
  if (text !== undefined) {
    expect(got.text).toBe(text);
    expect(got.headers.get('content-length')).toBe(String(text.length));
  }
  expect(got.headers.get('content-range')).toBe(contentRange);
});

test('a range of another version of the blob is not served', async () => {
  const { ask, pushBlob } = testRegistry();
  await pushBlob('team/app', bytes);
  const got = await ask('GET', path, undefined, { range: 'bytes=0-3', 'if-range': '"other"' });
  expect([got.status, got.text]).toEqual([200, bytes]);
});

test('a client that has it is told so', async () => {
  const { ask, pushBlob } = testRegistry();
  await pushBlob('team/app', bytes);
  const known = await ask('GET', path, undefined, { 'if-none-match': `W/"x", "${digest}"` });
  // RFC 9110, 8.6: another length than that of the whole would be wrong.
  expect([known.status, known.headers.get('content-length'), known.headers.get('etag')]).toEqual([304, null, `"${digest}"`]);
  expect((await ask('GET', path, undefined, { 'if-none-match': '"x"' })).status).toBe(200);
});

test('a blob is readable only through a repository that links it', async () => {
  const { ask, pushBlob } = testRegistry();
  await pushBlob('team/app', bytes);
  const got = await ask('GET', `/v2/other/blobs/${digest}`);
  expect([got.status, got.code]).toEqual([404, 'BLOB_UNKNOWN']);
});

test('DELETE removes the link of this repository only', async () => {
  const { ask, pushBlob } = testRegistry();
  await pushBlob('team/app', bytes);
  await pushBlob('other', bytes);
  expect((await ask('DELETE', path)).status).toBe(202);
  expect((await ask('GET', path)).status).toBe(404);
  expect((await ask('DELETE', path)).code).toBe('BLOB_UNKNOWN');
  expect((await ask('GET', `/v2/other/blobs/${digest}`)).text).toBe(bytes);
});

test('where the store gives links, blobs leave by redirect and nothing is opened', async () => {
  const seen: unknown[] = [];
  const plain = testRegistry();
  const link = {
    read: async (d: string, request: unknown) => {
      seen.push(request);
      return `https://bucket.test/${d}`;
    },
    write: () => Promise.reject(new Error('unused')),
    confirm: () => Promise.reject(new Error('unused')),
  };
  const { ask, home } = testRegistry({ ...plain.home, blobs: { ...plain.home.blobs, link }, linkSeconds: 60 });
  await plain.pushBlob('team/app', bytes);
  const got = await ask('GET', path);
  expect([got.status, got.headers.get('location')]).toEqual([307, `https://bucket.test/${digest}`]);
  expect((await ask('HEAD', path)).status).toBe(307);
  expect(seen).toEqual([
    { method: 'GET', seconds: 60 },
    { method: 'HEAD', seconds: 60 },
  ]);
  expect(home.opened()).toBe(0);
});
