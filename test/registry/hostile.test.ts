// Whatever is sent, the answer is one of the spec's errors and never a fault of ours.
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { SlipwayError } from '../../shared/errors.ts';
import { ociErrors } from '../../shared/registry/errors.ts';
import { parseRoute } from '../../shared/registry/route.ts';
import { testRegistry } from '../support/registry-client.ts';

const zero = `sha256:${'0'.repeat(64)}`;

test.each([
  ['GET', '/v2/UPPER/manifests/v1', 400, 'NAME_INVALID'],
  ['GET', '/v2/a..b/manifests/v1', 400, 'NAME_INVALID'],
  ['GET', '/v2/a//b/manifests/v1', 400, 'NAME_INVALID'],
  ['GET', '/v2/%2e%2e%2fetc/manifests/v1', 400, 'NAME_INVALID'],
  ['GET', '/v2/a%00/manifests/v1', 400, 'NAME_INVALID'],
  ['GET', `/v2/${'a'.repeat(256)}/manifests/v1`, 400, 'NAME_INVALID'],
  ['GET', '/v2//manifests/v1', 400, 'NAME_INVALID'],
  ['GET', '/v2/manifests/v1', 400, 'NAME_INVALID'],
  ['GET', '/v2/app/manifests/.hidden', 404, 'MANIFEST_UNKNOWN'],
  ['GET', `/v2/app/manifests/${'t'.repeat(129)}`, 404, 'MANIFEST_UNKNOWN'],
  ['PUT', '/v2/app/manifests/.hidden', 400, 'MANIFEST_INVALID'],
  ['PUT', '/v2/app/manifests/sha256:zz', 400, 'DIGEST_INVALID'],
  ['GET', '/v2/app/blobs/sha256:zz', 400, 'DIGEST_INVALID'],
  ['GET', `/v2/app/blobs/${zero.toUpperCase()}`, 400, 'DIGEST_INVALID'],
  ['GET', `/v2/app/blobs/${zero}`, 404, 'BLOB_UNKNOWN'],
  ['GET', `/v2/app/blobs/sha256%3A${'0'.repeat(64)}`, 404, 'BLOB_UNKNOWN'],
  ['PATCH', '/v2/app/blobs/uploads/..%2f..%2fetc', 404, 'UNSUPPORTED'],
  ['PATCH', '/v2/app/blobs/uploads/a.b', 404, 'BLOB_UPLOAD_UNKNOWN'],
  ['PATCH', `/v2/app/blobs/uploads/${'a'.repeat(201)}`, 404, 'BLOB_UPLOAD_UNKNOWN'],
  ['GET', '/v2/app/blobs/uploads/00000000-0000-0000-0000-000000000000', 404, 'BLOB_UPLOAD_UNKNOWN'],
  ['POST', '/v2/app/blobs/uploads/?mount=sha256:x', 400, 'DIGEST_INVALID'],
  ['POST', '/v2/app/manifests/v1', 405, 'UNSUPPORTED'],
  ['PUT', '/v2/app/tags/list', 405, 'UNSUPPORTED'],
  ['GET', '/v2/app/nothing/here', 404, 'UNSUPPORTED'],
  ['GET', '/', 404, 'UNSUPPORTED'],
])('%s %s', async (method, path, status, code) => {
  const r = testRegistry();
  const got = await r.ask(method, path, method === 'GET' ? undefined : 'x');
  expect([got.status, got.code]).toEqual([status, code]);
  expect(r.faults).toEqual([]);
});

test('names may hold the words of the API', () => {
  expect(parseRoute('/v2/a/blobs/uploads/manifests/v1')).toEqual({ kind: 'manifest', name: 'a/blobs/uploads', reference: 'v1' });
  expect(parseRoute('/v2/tags/list/tags/list')).toEqual({ kind: 'tags', name: 'tags/list' });
  expect(parseRoute('/v2/a/manifests/blobs/uploads/')).toEqual({ kind: 'uploads', name: 'a/manifests' });
});

test('any path, method, query and header ends in a reply of the table', async () => {
  const r = testRegistry();
  await r.pushImage('app', 'v1', 'x');
  const word = fc.oneof(
    fc.constantFrom(
      'app',
      'v1',
      'blobs',
      'manifests',
      'uploads',
      'tags',
      'list',
      'referrers',
      '_catalog',
      zero,
      '..',
      '%',
      '%zz',
      '',
    ),
    fc.string({ maxLength: 8 }),
  );
  await fc.assert(
    fc.asyncProperty(
      fc.array(word, { maxLength: 6 }),
      fc.constantFrom('GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS', 'BREW'),
      fc.constantFrom('', 'n=x', `digest=${zero}`, 'mount=%', 'last=%00', 'artifactType=&n=1', 'tag=a&tag=%2F'),
      fc.constantFrom('bytes=0-1', '0-1', 'x', '9-2', `${'9'.repeat(40)}-`),
      async (words, method, query, range) => {
        const reply = await r.registry.handle({
          method,
          path: `/v2/${words.join('/')}`,
          query,
          header: (name) =>
            ({ range, 'content-range': range, 'content-length': range, accept: range, 'content-type': range })[name],
          body: ReadableStream.from([Buffer.from('x')]),
          signal: new AbortController().signal,
        });
        expect(reply.status).toBeLessThan(500);
        if (reply.status >= 400 && reply.body instanceof Uint8Array) {
          const { errors } = JSON.parse(Buffer.from(reply.body).toString()) as { errors: { code: string }[] };
          expect(Object.keys(ociErrors)).toContain(errors[0]?.code);
        }
      },
    ),
    { numRuns: 400 },
  );
  expect(r.faults).toEqual([]);
});

test('a fault of ours tells the client a request id and nothing else', async () => {
  const secret = new SlipwayError('STORE', 'cannot read /home/someone/secret');
  const plain = testRegistry();
  const r = testRegistry({ catalog: { ...plain.home.catalog, resolve: () => Promise.reject(secret) } });
  const got = await r.ask('GET', '/v2/app/manifests/v1');
  expect([got.status, got.code]).toEqual([500, 'UNKNOWN']);
  expect(got.text).toContain('r1');
  expect(got.text).not.toContain('secret');
  expect(r.faults).toEqual([secret]);
});

test('a guard is asked first', async () => {
  const seen: string[] = [];
  const r = testRegistry({
    guard: (call) => {
      seen.push(call.path);
      return { status: 401, headers: { 'www-authenticate': 'Basic realm="slipway"' } };
    },
  });
  const got = await r.ask('GET', '/v2/app/manifests/v1');
  expect([got.status, got.headers.get('www-authenticate'), seen]).toEqual([
    401,
    'Basic realm="slipway"',
    ['/v2/app/manifests/v1'],
  ]);
});
