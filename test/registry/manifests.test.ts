import { expect, test } from 'vitest';
import { sha256 } from '../../shared/oci/digest.ts';
import { mediaType } from '../../shared/oci/media-type.ts';
import { testRegistry } from '../support/registry-client.ts';

const oci = { 'content-type': mediaType.ociManifest };

test('a manifest comes back byte for byte, by tag and by digest, HEAD as GET', async () => {
  const { ask, pushBlob } = testRegistry();
  const config = await pushBlob('app', '{}');
  // Spaces, member order and an unknown member must survive.
  const odd = `{ "layers":[],\n\t"schemaVersion": 2, "x-own": 1.0,\n "config": {"size":2, "digest":"${config}","mediaType":"${mediaType.ociConfig}"} }\n`;
  const put = await ask('PUT', '/v2/app/manifests/v1', odd, oci);
  const digest = sha256(odd);
  expect([put.status, put.headers.get('location')]).toEqual([201, `/v2/app/manifests/${digest}`]);
  expect(put.headers.get('docker-content-digest')).toBe(digest);
  for (const reference of ['v1', digest]) {
    const got = await ask('GET', `/v2/app/manifests/${reference}`);
    const head = await ask('HEAD', `/v2/app/manifests/${reference}`);
    expect(got.text).toBe(odd);
    expect(Object.fromEntries(head.headers)).toEqual(Object.fromEntries(got.headers));
    expect(head.headers.get('content-type')).toBe(mediaType.ociManifest);
    expect(head.headers.get('content-length')).toBe(String(odd.length));
  }
});

test('Docker types are kept as they are', async () => {
  const { ask, pushBlob } = testRegistry();
  const config = await pushBlob('app', '{}');
  const manifest = JSON.stringify({
    schemaVersion: 2,
    mediaType: mediaType.dockerManifest,
    config: { mediaType: mediaType.dockerConfig, digest: config, size: 2 },
    layers: [],
  });
  await ask('PUT', '/v2/app/manifests/v1', manifest, { 'content-type': `${mediaType.dockerManifest}; charset=utf-8` });
  expect((await ask('GET', '/v2/app/manifests/v1')).headers.get('content-type')).toBe(mediaType.dockerManifest);
});

test('a moved tag is seen at once, by every path', async () => {
  const { ask, pushImage } = testRegistry();
  const one = await pushImage('app', 'v1', 'one');
  expect((await ask('HEAD', '/v2/app/manifests/v1')).headers.get('docker-content-digest')).toBe(one);
  const two = await pushImage('app', 'v1', 'two');
  expect((await ask('GET', '/v2/app/manifests/v1')).headers.get('docker-content-digest')).toBe(two);
  expect((await ask('GET', `/v2/app/manifests/${one}`)).status).toBe(200);
});

test('Accept decides whether the stored type may be served', async () => {
  const { ask, pushImage } = testRegistry();
  await pushImage('app', 'v1', 'one');
  const status = async (accept: string) => (await ask('GET', '/v2/app/manifests/v1', undefined, { accept })).status;
  expect(await status(`${mediaType.dockerManifest}, ${mediaType.ociManifest};q=0.5`)).toBe(200);
  expect(await status('*/*')).toBe(200);
  expect(await status('application/json')).toBe(200);
  const refused = await ask('GET', '/v2/app/manifests/v1', undefined, { accept: mediaType.dockerManifest });
  expect([refused.status, refused.code]).toEqual([404, 'MANIFEST_UNKNOWN']);
  expect(refused.text).toContain(mediaType.ociManifest);
});

test('what a manifest names must be in the repository', async () => {
  const { ask, pushBlob } = testRegistry();
  await pushBlob('other', '{}');
  const missing = sha256('{}');
  const manifest = JSON.stringify({
    schemaVersion: 2,
    config: { mediaType: mediaType.ociConfig, digest: missing, size: 2 },
    layers: [],
  });
  const got = await ask('PUT', '/v2/app/manifests/v1', manifest, oci);
  expect([got.status, got.code]).toEqual([404, 'MANIFEST_BLOB_UNKNOWN']);
  expect(got.text).toContain(missing);
  const index = JSON.stringify({
    schemaVersion: 2,
    manifests: [{ mediaType: mediaType.ociManifest, digest: sha256('no'), size: 2 }],
  });
  expect((await ask('PUT', '/v2/app/manifests/v1', index, { 'content-type': mediaType.ociIndex })).code).toBe(
    'MANIFEST_BLOB_UNKNOWN',
  );
});

test('a subject may come later, and is confirmed', async () => {
  const { ask, pushBlob } = testRegistry();
  const config = await pushBlob('app', '{}');
  const subject = { mediaType: mediaType.ociManifest, digest: sha256('later'), size: 5 };
  const manifest = JSON.stringify({
    schemaVersion: 2,
    artifactType: 'application/x-sbom',
    config: { mediaType: mediaType.ociEmpty, digest: config, size: 2 },
    layers: [],
    subject,
  });
  const put = await ask('PUT', `/v2/app/manifests/${sha256(manifest)}`, manifest, oci);
  expect([put.status, put.headers.get('oci-subject')]).toEqual([201, subject.digest]);
});

test('several tags in one PUT by digest', async () => {
  const { ask, pushBlob } = testRegistry();
  const config = await pushBlob('app', '{}');
  const manifest = JSON.stringify({
    schemaVersion: 2,
    config: { mediaType: mediaType.ociConfig, digest: config, size: 2 },
    layers: [],
  });
  const digest = sha256(manifest);
  const put = await ask('PUT', `/v2/app/manifests/${digest}?tag=1.2&tag=1&tag=latest`, manifest, oci);
  expect([put.status, put.headers.get('oci-tag')]).toEqual([201, '1.2, 1, latest']);
  expect((await ask('HEAD', '/v2/app/manifests/1')).headers.get('docker-content-digest')).toBe(digest);
  expect((await ask('PUT', `/v2/app/manifests/${digest}?tag=ok&tag=-bad`, manifest, oci)).code).toBe('MANIFEST_INVALID');
  expect((await ask('HEAD', '/v2/app/manifests/ok')).status).toBe(404);
  expect((await ask('PUT', '/v2/app/manifests/v1?tag=v2', manifest, oci)).code).toBe('UNSUPPORTED');
  const many = Array.from({ length: 81 }, (_, i) => `tag=t${i}`).join('&');
  expect((await ask('PUT', `/v2/app/manifests/${digest}?${many}`, manifest, oci)).status).toBe(414);
});

const config = { mediaType: mediaType.ociConfig, digest: sha256('{}'), size: 2 };
test.each([
  ['no JSON', '{', mediaType.ociManifest],
  ['not UTF-8', '\xff', mediaType.ociManifest],
  ['an array', '[]', mediaType.ociManifest],
  ['nothing', '', mediaType.ociManifest],
  [
    'schema 1',
    JSON.stringify({ schemaVersion: 1, name: 'x', fsLayers: [] }),
    'application/vnd.docker.distribution.manifest.v1+json',
  ],
  ['schema 1 signed', JSON.stringify({ schemaVersion: 1 }), 'application/vnd.docker.distribution.manifest.v1+prettyjws'],
  [
    'another type than announced',
    JSON.stringify({ schemaVersion: 2, mediaType: mediaType.dockerManifest, config, layers: [] }),
    mediaType.ociManifest,
  ],
  ['both manifest and index', JSON.stringify({ schemaVersion: 2, config, layers: [], manifests: [] }), mediaType.ociManifest],
  ['an unknown type', '{"schemaVersion":2}', 'text/html'],
  [
    'a bad digest inside',
    JSON.stringify({ schemaVersion: 2, config: { ...config, digest: 'sha256:x' }, layers: [] }),
    mediaType.ociManifest,
  ],
  ['a negative size', JSON.stringify({ schemaVersion: 2, config: { ...config, size: -1 }, layers: [] }), mediaType.ociManifest],
  ['deep nesting', '['.repeat(200_000), mediaType.ociManifest],
])('%s is MANIFEST_INVALID', async (_, body, type) => {
  const r = testRegistry();
  await r.pushBlob('app', '{}');
  const got = await r.ask('PUT', '/v2/app/manifests/v1', Buffer.from(body, 'latin1'), { 'content-type': type });
  expect([got.status, got.code]).toEqual([400, 'MANIFEST_INVALID']);
  expect((await r.ask('GET', '/v2/app/manifests/v1')).status).toBe(404);
  expect(r.faults).toEqual([]);
});

test('a manifest of another digest than its name is refused', async () => {
  const { ask, pushBlob } = testRegistry();
  await pushBlob('app', '{}');
  const manifest = JSON.stringify({ schemaVersion: 2, config, layers: [] });
  const got = await ask('PUT', `/v2/app/manifests/${sha256('x')}`, manifest, oci);
  expect([got.status, got.code]).toEqual([400, 'DIGEST_INVALID']);
});

test('4 MiB is taken, a byte more is 413, announced or not', async () => {
  const { ask, registry, pushBlob } = testRegistry();
  await pushBlob('app', '{}');
  const base = JSON.stringify({ schemaVersion: 2, config, layers: [] });
  const fits = base.padEnd(4 * 1024 * 1024, ' ');
  expect((await ask('PUT', '/v2/app/manifests/big', fits, oci)).status).toBe(201);
  expect((await ask('GET', '/v2/app/manifests/big')).text.length).toBe(4 * 1024 * 1024);
  const over = await ask('PUT', '/v2/app/manifests/v1', `${fits} `, oci);
  expect([over.status, over.code]).toEqual([413, 'SIZE_INVALID']);
  const body = ReadableStream.from([Buffer.from(fits), Buffer.from(' ')]);
  const request = new Request('http://r.test/v2/app/manifests/v1', { method: 'PUT', headers: oci, body, duplex: 'half' });
  expect((await registry.fetch(request)).status).toBe(413);
});

test('DELETE by tag leaves the manifest, by digest takes the tags along', async () => {
  const { ask, pushImage } = testRegistry();
  const digest = await pushImage('app', 'v1', 'one');
  await pushImage('app', 'v2', 'one');
  expect((await ask('DELETE', '/v2/app/manifests/v1')).status).toBe(202);
  expect((await ask('GET', '/v2/app/manifests/v1')).code).toBe('MANIFEST_UNKNOWN');
  expect((await ask('GET', '/v2/app/manifests/v2')).status).toBe(200);
  expect((await ask('DELETE', `/v2/app/manifests/${digest}`)).status).toBe(202);
  for (const reference of ['v2', digest]) expect((await ask('GET', `/v2/app/manifests/${reference}`)).status).toBe(404);
  expect((await ask('DELETE', `/v2/app/manifests/${digest}`)).code).toBe('MANIFEST_UNKNOWN');
  expect((await ask('DELETE', '/v2/none/manifests/v1')).status).toBe(404);
});
