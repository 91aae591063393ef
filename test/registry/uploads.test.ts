import { expect, test } from 'vitest';
import { sha256 } from '../../shared/oci/digest.ts';
import { type TestRegistry, testRegistry } from '../support/registry-client.ts';

const bytes = 'abcdefghij';
const digest = sha256(bytes);

async function start({ ask }: TestRegistry): Promise<string> {
  const begun = await ask('POST', '/v2/app/blobs/uploads/');
  expect(begun.status).toBe(202);
  expect(begun.headers.get('range')).toBe('0-0');
  expect(begun.headers.get('docker-upload-uuid')).toBeTruthy();
  const location = begun.headers.get('location');
  expect(location).toMatch(/^\/v2\/app\/blobs\/uploads\/[^/]+$/);
  return location as string;
}

test('chunks in order, then a closing PUT without a body', async () => {
  const r = testRegistry();
  const at = await start(r);
  const first = await r.ask('PATCH', at, 'abcd', { 'content-range': '0-3' });
  expect([first.status, first.headers.get('range'), first.headers.get('location')]).toEqual([202, '0-3', at]);
  expect((await r.ask('PATCH', at, 'efgh', { 'content-range': '4-7' })).headers.get('range')).toBe('0-7');
  const done = await r.ask('PUT', `${at}?digest=${digest}`, 'ij', { 'content-range': '8-9', 'content-length': '2' });
  expect([done.status, done.headers.get('location')]).toEqual([201, `/v2/app/blobs/${digest}`]);
  expect(done.headers.get('docker-content-digest')).toBe(digest);
  expect((await r.ask('GET', `/v2/app/blobs/${digest}`)).text).toBe(bytes);
});

test('one PATCH of everything without Content-Range, then an empty PUT (podman, skopeo, docker)', async () => {
  const r = testRegistry();
  const at = await start(r);
  expect((await r.ask('PATCH', at, bytes)).headers.get('range')).toBe('0-9');
  expect((await r.ask('PUT', `${at}?digest=${digest}`, undefined, { 'content-length': '0' })).status).toBe(201);
});

test('one PUT of everything (containerd, BuildKit)', async () => {
  const r = testRegistry();
  const at = await start(r);
  expect((await r.ask('PUT', `${at}?digest=${digest}`, bytes, { 'content-length': '10' })).status).toBe(201);
  expect((await r.ask('GET', `/v2/app/blobs/${digest}`)).text).toBe(bytes);
});

test('a chunk out of order is 416 with the right range, and the upload goes on', async () => {
  const r = testRegistry();
  const at = await start(r);
  await r.ask('PATCH', at, 'abcd', { 'content-range': '0-3' });
  const wrong = await r.ask('PATCH', at, 'gh', { 'content-range': '6-7' });
  expect([wrong.status, wrong.code, wrong.headers.get('range')]).toEqual([416, 'BLOB_UPLOAD_INVALID', '0-3']);
  expect(wrong.headers.get('location')).toBe(at);
  const last = await r.ask('PUT', `${at}?digest=${digest}`, 'ij', { 'content-range': '8-9', 'content-length': '2' });
  expect(last.status).toBe(416);
  const status = await r.ask('GET', at);
  expect([status.status, status.headers.get('range')]).toEqual([204, '0-3']);
  expect((await r.ask('PUT', `${at}?digest=${digest}`, 'efghij', { 'content-length': '6' })).status).toBe(201);
});

test.each([
  ['0-3', 'abc', 'SIZE_INVALID'],
  ['0-3', 'abcde', 'SIZE_INVALID'],
  ['3-0', 'abc', 'BLOB_UPLOAD_INVALID'],
  ['bytes', 'abc', 'BLOB_UPLOAD_INVALID'],
  ['-1-2', 'abc', 'BLOB_UPLOAD_INVALID'],
  ['0-99999999999999999999', 'abc', 'BLOB_UPLOAD_INVALID'],
])('Content-Range %s with a body of "%s" is refused', async (range, body, code) => {
  const r = testRegistry();
  const got = await r.ask('PATCH', await start(r), body, { 'content-range': range });
  expect([got.status, got.code]).toEqual([400, code]);
  expect(r.faults).toEqual([]);
});

test('wrong bytes are DIGEST_INVALID, nothing is stored and the upload is gone', async () => {
  const r = testRegistry();
  const at = await start(r);
  const got = await r.ask('PUT', `${at}?digest=${digest}`, 'other', { 'content-length': '5' });
  expect([got.status, got.code]).toEqual([400, 'DIGEST_INVALID']);
  expect((await r.ask('GET', `/v2/app/blobs/${digest}`)).status).toBe(404);
  expect((await r.ask('GET', at)).code).toBe('BLOB_UPLOAD_UNKNOWN');
});

test('a closing PUT must name a digest', async () => {
  const r = testRegistry();
  const at = await start(r);
  for (const query of ['', '?digest=', '?digest=sha256:12', '?digest=md5:d41d8cd98f00b204e9800998ecf8427e']) {
    const got = await r.ask('PUT', at + query, bytes, { 'content-length': '10' });
    expect([got.status, got.code]).toEqual([400, 'DIGEST_INVALID']);
  }
  expect((await r.ask('GET', at)).status).toBe(204);
});

test('DELETE cancels', async () => {
  const r = testRegistry();
  const at = await start(r);
  expect((await r.ask('DELETE', at)).status).toBe(204);
  for (const method of ['GET', 'PATCH', 'DELETE']) {
    const got = await r.ask(method, at, method === 'PATCH' ? 'x' : undefined);
    expect([got.status, got.code]).toEqual([404, 'BLOB_UPLOAD_UNKNOWN']);
  }
});

test('one POST of everything; the empty blob too', async () => {
  const r = testRegistry();
  expect((await r.ask('POST', `/v2/app/blobs/uploads/?digest=${digest}`, bytes)).status).toBe(201);
  expect((await r.ask('POST', `/v2/app/blobs/uploads/?digest=${sha256('')}`)).status).toBe(201);
  expect((await r.ask('GET', `/v2/app/blobs/${sha256('')}`)).headers.get('content-length')).toBe('0');
  const wrong = await r.ask('POST', `/v2/app/blobs/uploads/?digest=${digest}`, 'x');
  expect([wrong.status, wrong.code]).toEqual([400, 'DIGEST_INVALID']);
});

test('a digest algorithm that we do not know is refused at the start', async () => {
  const { ask } = testRegistry();
  expect((await ask('POST', '/v2/app/blobs/uploads/?digest-algorithm=sha512')).status).toBe(202);
  expect((await ask('POST', '/v2/app/blobs/uploads/?digest-algorithm=md5')).code).toBe('DIGEST_INVALID');
});

test('a mount needs a repository that has the blob; otherwise an upload begins', async () => {
  const r = testRegistry();
  await r.pushBlob('from', bytes);
  const mount = (from: string) => r.ask('POST', `/v2/app/blobs/uploads/?mount=${digest}${from}`);
  for (const from of ['&from=other', '&from=../etc', '']) {
    const got = await mount(from);
    expect([got.status, got.headers.get('location')?.includes('/uploads/')]).toEqual([202, true]);
  }
  expect((await r.ask('HEAD', `/v2/app/blobs/${digest}`)).status).toBe(404);
  const mounted = await mount('&from=from');
  expect([mounted.status, mounted.headers.get('location')]).toEqual([201, `/v2/app/blobs/${digest}`]);
  expect((await r.ask('GET', `/v2/app/blobs/${digest}`)).text).toBe(bytes);
});

test('where everyone may read everything a mount needs no repository', async () => {
  const r = testRegistry({ openMount: true });
  await r.pushBlob('from', bytes);
  expect((await r.ask('POST', `/v2/app/blobs/uploads/?mount=${digest}`)).status).toBe(201);
  expect((await r.ask('POST', `/v2/app/blobs/uploads/?mount=${sha256('none')}`)).status).toBe(202);
});
