import { expect, test } from 'vitest';
import { mediaType } from '../../shared/oci/media-type.ts';
import { testRegistry } from '../support/registry-client.ts';

const nextOf = (headers: Headers): string | undefined => /^<(.+)>; rel="next"$/.exec(headers.get('link') ?? '')?.[1];

test('tags come sorted, in pages, with a Link to the next', async () => {
  const { ask, pushImage } = testRegistry();
  for (const tag of ['b', 'a', 'C', '10', '9']) await pushImage('team/app', tag, tag);
  expect(JSON.parse((await ask('GET', '/v2/team/app/tags/list')).text)).toEqual({
    name: 'team/app',
    tags: ['10', '9', 'C', 'a', 'b'],
  });
  const pages: string[][] = [];
  let next: string | undefined = '/v2/team/app/tags/list?n=2';
  while (next !== undefined) {
    const page = await ask('GET', next);
    pages.push((JSON.parse(page.text) as { tags: string[] }).tags);
    next = nextOf(page.headers);
  }
  expect(pages).toEqual([['10', '9'], ['C', 'a'], ['b']]);
  expect(JSON.parse((await ask('GET', '/v2/team/app/tags/list?last=B')).text).tags).toEqual(['C', 'a', 'b']);
  const none = await ask('GET', '/v2/team/app/tags/list?n=0');
  expect([JSON.parse(none.text).tags, none.headers.get('link')]).toEqual([[], null]);
});

test('the tags of a repository that is not there', async () => {
  const { ask } = testRegistry();
  const got = await ask('GET', '/v2/none/tags/list');
  expect([got.status, got.code]).toEqual([404, 'NAME_UNKNOWN']);
});

test.each(['n=-1', 'n=x', 'n=1e3', 'n=99999999999999'])('%s is refused', async (query) => {
  const { ask, pushImage } = testRegistry();
  await pushImage('app', 'v1', 'x');
  const got = await ask('GET', `/v2/app/tags/list?${query}`);
  expect([got.status, got.code]).toEqual([400, 'UNSUPPORTED']);
});

test('the catalog lists what a path can name, in pages', async () => {
  const { ask, pushImage, home } = testRegistry();
  for (const name of ['b/x', 'a', 'c']) await pushImage(name, 'v1', name);
  await home.catalog.link('localhost:5000/app', `sha256:${'0'.repeat(64)}`, 1);
  expect(JSON.parse((await ask('GET', '/v2/_catalog')).text)).toEqual({ repositories: ['a', 'b/x', 'c'] });
  const first = await ask('GET', '/v2/_catalog?n=2');
  expect(JSON.parse(first.text).repositories).toEqual(['a', 'b/x']);
  const second = await ask('GET', nextOf(first.headers) as string);
  expect([JSON.parse(second.text).repositories, second.headers.get('link')]).toEqual([['c'], null]);
});

test('referrers: an index of descriptors, filtered and in pages', async () => {
  const { ask, pushImage } = testRegistry();
  const image = await pushImage('app', 'v1', 'image');
  const subject = { mediaType: mediaType.ociManifest, digest: image, size: 1 };
  const sbom = await pushImage('app', 'sbom', 's', { subject, artifactType: 'application/x-sbom', annotations: { a: 'b' } });
  const signature = await pushImage('app', 'sig', 'g', { subject, artifactType: 'application/x-sig' });
  const all = await ask('GET', `/v2/app/referrers/${image}`);
  expect(all.headers.get('content-type')).toBe(mediaType.ociIndex);
  const manifests = JSON.parse(all.text).manifests as { digest: string }[];
  expect(manifests.map((m) => m.digest).sort()).toEqual([sbom, signature].sort());
  const filtered = await ask('GET', `/v2/app/referrers/${image}?artifactType=application/x-sbom`);
  expect(filtered.headers.get('oci-filters-applied')).toBe('artifactType');
  expect(JSON.parse(filtered.text).manifests).toEqual([
    expect.objectContaining({
      digest: sbom,
      mediaType: mediaType.ociManifest,
      artifactType: 'application/x-sbom',
      annotations: { a: 'b' },
    }),
  ]);
  const first = await ask('GET', `/v2/app/referrers/${image}?n=1`);
  const second = await ask('GET', nextOf(first.headers) as string);
  expect([first, second].map((page) => JSON.parse(page.text).manifests[0].digest)).toEqual(manifests.map((m) => m.digest));
  expect(second.headers.get('link')).toBe(null);
});

test('referrers of what is not there are an empty list; of what is no digest an error', async () => {
  const { ask } = testRegistry();
  const none = await ask('GET', `/v2/none/referrers/sha256:${'0'.repeat(64)}`);
  expect([none.status, JSON.parse(none.text)]).toEqual([200, { schemaVersion: 2, mediaType: mediaType.ociIndex, manifests: [] }]);
  expect((await ask('GET', '/v2/none/referrers/v1')).code).toBe('DIGEST_INVALID');
});

test('search as docker asks: substring, count, page', async () => {
  const { ask, pushImage } = testRegistry();
  const annotations = { 'org.opencontainers.image.description': 'A web server' };
  await pushImage('web/server', 'latest', 'a', { annotations });
  await pushImage('web/client', 'v1', 'b');
  await pushImage('other', 'v1', 'c');
  expect([(await ask('GET', '/v1/_ping')).status, JSON.parse((await ask('GET', '/v1/_ping')).text)]).toEqual([
    200,
    { standalone: true },
  ]);
  const found = JSON.parse((await ask('GET', '/v1/search?q=Web&n=25')).text);
  expect(found).toMatchObject({ query: 'web', num_results: 2, page: 1, page_size: 25, num_pages: 1 });
  expect(found.results).toEqual([
    { name: 'web/client', description: '', star_count: 0, is_official: false, is_automated: false },
    { name: 'web/server', description: 'A web server', star_count: 0, is_official: false, is_automated: false },
  ]);
  const second = JSON.parse((await ask('GET', '/v1/search?q=web&n=1&page=2')).text);
  expect(second.results.map((r: { name: string }) => r.name)).toEqual(['web/server']);
  expect((await ask('GET', '/v1/search?q=web&n=101')).status).toBe(400);
});
