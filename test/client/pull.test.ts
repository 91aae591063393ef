import { expect, test } from 'vitest';
import { findLocal } from '../../shared/client/local-image.ts';
import { pullImage } from '../../shared/client/pull.ts';
import { pushImage } from '../../shared/client/push.ts';
import type { TransferEvent } from '../../shared/client/transfer-events.ts';
import { type Digest, sha256 } from '../../shared/oci/digest.ts';
import { mediaType } from '../../shared/oci/media-type.ts';
import { parseReference } from '../../shared/oci/reference.ts';
import { json } from '../../shared/registry/exchange.ts';
import { memoryHome } from '../support/memory-home.ts';
import { startUpstream, type Upstream } from '../support/upstream.ts';

const amd64 = { os: 'linux', architecture: 'amd64' };
const arm64 = { os: 'linux', architecture: 'arm64' };

/** A runnable image: its config names as many layers as its manifest. */
async function pushRunnable(
  upstream: Upstream,
  name: string,
  reference: string | undefined,
  platform: typeof amd64,
  layers: readonly string[],
) {
  const config = JSON.stringify({ ...platform, rootfs: { type: 'layers', diff_ids: layers.map((l) => sha256(l)) } });
  const configDigest = await upstream.pushBlob(name, config);
  for (const layer of layers) await upstream.pushBlob(name, layer);
  const manifest = JSON.stringify({
    schemaVersion: 2,
    mediaType: mediaType.ociManifest,
    config: { mediaType: mediaType.ociConfig, digest: configDigest, size: config.length },
    layers: layers.map((l) => ({ mediaType: mediaType.ociLayerTar, digest: sha256(l), size: l.length })),
  });
  const digest = sha256(manifest);
  await upstream.ask('PUT', `/v2/${name}/manifests/${reference ?? digest}`, manifest, { 'content-type': mediaType.ociManifest });
  return { mediaType: mediaType.ociManifest, digest, size: manifest.length, platform };
}

async function pushIndex(upstream: Upstream, name: string, tag: string, manifests: readonly object[]): Promise<Digest> {
  const index = JSON.stringify({ schemaVersion: 2, mediaType: mediaType.ociIndex, manifests });
  await upstream.ask('PUT', `/v2/${name}/manifests/${tag}`, index, { 'content-type': mediaType.ociIndex });
  return sha256(index);
}

function local(upstream: Upstream) {
  const home = memoryHome();
  const events: TransferEvent[] = [];
  const pull = (name: string, platform = amd64, strict = false) =>
    pullImage(home, upstream.client, {
      reference: parseReference(`${upstream.host}/${name}`),
      platform: { wanted: platform, strict },
      onEvent: (event) => events.push(event),
    });
  return { home, events, pull, repository: (name: string) => `${upstream.host}/${name}` };
}

test('of an index the platform’s image is kept under the tag, and the index is found again by its digest', async () => {
  await using upstream = await startUpstream();
  const one = await pushRunnable(upstream, 'app', undefined, amd64, ['shared', 'one']);
  const two = await pushRunnable(upstream, 'app', undefined, arm64, ['shared', 'two']);
  const index = await pushIndex(upstream, 'app', 'v1', [one, two]);
  const { home, pull, events, repository } = local(upstream);
  expect(await pull('app:v1')).toEqual({ image: one.digest, digest: index, fresh: true });
  expect((await home.catalog.resolve(repository('app'), 'v1'))?.digest).toBe(one.digest);
  expect(upstream.calls.some((c) => c.includes(sha256('two')))).toBe(false);
  const pinned = parseReference(`${repository('app')}@${index}`);
  expect((await findLocal(home, pinned, amd64))?.digest).toBe(one.digest);
  expect(await findLocal(home, pinned, arm64)).toBe(undefined);
  expect(await findLocal(home, parseReference(`${repository('app')}@${sha256('x')}`), amd64)).toBe(undefined);
  // The second time one HEAD is all that is asked: registries count GETs.
  upstream.calls.length = 0;
  expect(await pull('app:v1')).toEqual({ image: one.digest, digest: index, fresh: false });
  expect(upstream.calls).toEqual(['HEAD /v2/app/manifests/v1']);
  upstream.calls.length = 0;
  expect((await pull('app:v1', arm64)).image).toBe(two.digest);
  expect(upstream.calls.some((c) => c.includes(sha256('shared')))).toBe(false);
  expect(events.filter((e) => e.kind === 'layer' && e.state === 'Already exists')).toHaveLength(1);
});

test('a corrupt layer: an error, no image, no tag, no blob', async () => {
  await using upstream = await startUpstream();
  await pushRunnable(upstream, 'app', 'v1', amd64, ['good layer', 'other']);
  upstream.hook = async (call, next) => {
    const reply = await next(call);
    if (!call.path.endsWith(sha256('good layer'))) return reply;
    return { ...reply, body: Buffer.from('evil layer') as Uint8Array<ArrayBuffer> };
  };
  const { home, pull, repository } = local(upstream);
  await expect(pull('app:v1')).rejects.toMatchObject({ code: 'DIGEST_MISMATCH' });
  expect(await home.catalog.resolve(repository('app'), 'v1')).toBe(undefined);
  expect(await home.blobs.stat(sha256('good layer'))).toBe(undefined);
  upstream.hook = undefined;
  expect((await pull('app:v1')).fresh).toBe(true);
});

test('a failed pull leaves an older image of the same name as it was', async () => {
  await using upstream = await startUpstream();
  const old = await pushRunnable(upstream, 'app', 'v1', amd64, ['old']);
  const { home, pull, repository } = local(upstream);
  await pull('app:v1');
  await pushRunnable(upstream, 'app', 'v1', amd64, ['new']);
  upstream.hook = (call, next) => (call.path.endsWith(sha256('new')) ? json(404, {}) : next(call));
  await expect(pull('app:v1')).rejects.toMatchObject({ code: 'NOT_FOUND' });
  expect((await home.catalog.resolve(repository('app'), 'v1'))?.digest).toBe(old.digest);
});

test('a config that does not agree with its manifest is refused', async () => {
  await using upstream = await startUpstream();
  await upstream.pushImage('app', 'v1', 'layer');
  await expect(local(upstream).pull('app:v1')).rejects.toMatchObject({ code: 'INVALID_DOCUMENT' });
});

test('a platform asked for by name is held to', async () => {
  await using upstream = await startUpstream();
  await pushRunnable(upstream, 'app', 'v1', amd64, ['x']);
  const { pull } = local(upstream);
  await expect(pull('app:v1', arm64, true)).rejects.toMatchObject({ code: 'INVALID_PLATFORM' });
  expect((await pull('app:v1', arm64)).fresh).toBe(true);
});

test('an index that says another size than its member has', async () => {
  await using upstream = await startUpstream();
  const one = await pushRunnable(upstream, 'app', undefined, amd64, ['x']);
  await pushIndex(upstream, 'app', 'v1', [{ ...one, size: one.size + 1 }]);
  await expect(local(upstream).pull('app:v1')).rejects.toMatchObject({ code: 'SIZE_MISMATCH' });
});

test.each([
  [401, 'UNAUTHORIZED', "pull access denied for NAME, repository does not exist or may require 'docker login': "],
  [403, 'DENIED', "pull access denied for NAME, repository does not exist or may require 'docker login': denied: "],
  [404, 'NAME_UNKNOWN', 'manifest for NAME:v1 not found: manifest unknown: manifest unknown'],
  [429, 'TOOMANYREQUESTS', 'toomanyrequests: '],
])('%i %s in docker’s words', async (status, code, words) => {
  await using upstream = await startUpstream();
  upstream.hook = (call, next) => (call.path === '/v2/' ? next(call) : json(status, { errors: [{ code, message: 'said' }] }));
  const { pull, repository } = local(upstream);
  await expect(pull('app:v1')).rejects.toMatchObject({
    message: expect.stringContaining(words.replace('NAME', repository('app'))),
  });
});

test('a pushed index comes back whole, and its second tag moves nothing', async () => {
  await using upstream = await startUpstream();
  const home = memoryHome();
  const name = `${upstream.host}/app`;
  const members: object[] = [];
  for (const [platform, layer] of [
    [amd64, 'one'],
    [arm64, 'two'],
  ] as const) {
    const config = JSON.stringify({ ...platform, rootfs: { type: 'layers', diff_ids: [sha256(layer)] } });
    for (const blob of [config, layer]) {
      await home.blobs.put(ReadableStream.from([Buffer.from(blob)]));
      await home.catalog.link(name, sha256(blob), blob.length);
    }
    const manifest = JSON.stringify({
      schemaVersion: 2,
      mediaType: mediaType.ociManifest,
      config: { mediaType: mediaType.ociConfig, digest: sha256(config), size: config.length },
      layers: [{ mediaType: mediaType.ociLayerTar, digest: sha256(layer), size: layer.length }],
    });
    await home.catalog.commit(name, { bytes: Buffer.from(manifest), mediaType: mediaType.ociManifest });
    members.push({ mediaType: mediaType.ociManifest, digest: sha256(manifest), size: manifest.length, platform });
  }
  const index = Buffer.from(JSON.stringify({ schemaVersion: 2, mediaType: mediaType.ociIndex, manifests: members }));
  await home.catalog.commit(name, { bytes: index, mediaType: mediaType.ociIndex, tags: ['v1', 'v2'] });
  const push = (tag: string, platform?: typeof amd64) =>
    pushImage(home, upstream.client, {
      reference: { ...parseReference(`${name}:${tag}`), tag },
      ...(platform === undefined ? {} : { platform }),
    });
  expect((await push('v1')).digest).toBe(sha256(index));
  expect((await upstream.client.resolve('app', 'v1'))?.digest).toBe(sha256(index));
  upstream.calls.length = 0;
  await push('v2');
  expect(upstream.calls).toEqual([`HEAD /v2/app/manifests/${sha256(index)}`, 'PUT /v2/app/manifests/v2']);
  expect((await push('v1', arm64)).mediaType).toBe(mediaType.ociManifest);
  await expect(push('v1', { os: 'linux', architecture: 's390x' })).rejects.toMatchObject({ code: 'NOT_FOUND' });
  // One of one platform is not sent as another's either.
  await home.catalog.tag(name, 'amd', (members[0] as { digest: `sha256:${string}` }).digest);
  await expect(push('amd', arm64)).rejects.toMatchObject({ code: 'INVALID_PLATFORM' });
  expect(await upstream.client.resolve('app', 'amd')).toBeUndefined();
  expect((await push('amd', amd64)).digest).toBe((members[0] as { digest: string }).digest);
  await expect(push('v9')).rejects.toMatchObject({ code: 'NOT_FOUND' });
});

test('a pull and a push that are stopped are cancelled, whatever the reason was', async () => {
  await using upstream = await startUpstream();
  await pushRunnable(upstream, 'app', 'v1', amd64, ['x']);
  const { home, pull, repository } = local(upstream);
  await pull('app:v1');
  const reference = { ...parseReference(`${repository('app')}:v1`), tag: 'v1' };
  for (const work of [
    (signal: AbortSignal) => pullImage(home, upstream.client, { reference, platform: { wanted: amd64, strict: false }, signal }),
    (signal: AbortSignal) => pushImage(home, upstream.client, { reference, signal }),
  ]) {
    const stop = new AbortController();
    // As the command line does on Ctrl-C: the reason is a word.
    upstream.hook = () => {
      stop.abort('SIGINT');
      return new Promise(() => undefined);
    };
    await expect(work(stop.signal)).rejects.toMatchObject({ code: 'CANCELLED' });
  }
});
