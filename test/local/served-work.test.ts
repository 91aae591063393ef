// What a request of a served home has found there and not yet written down is kept while others remove images.
import { expect, test } from 'vitest';
import { Api } from '../../cli/api-client.ts';
import { type Home, openHome } from '../../local/home.ts';
import type { RemovedImage } from '../../shared/api/images.ts';
import type { TransferEvent } from '../../shared/client/transfer-events.ts';
import { type Digest, sha256 } from '../../shared/oci/digest.ts';
import { mediaType } from '../../shared/oci/media-type.ts';
import { tempFolder } from '../support/temp.ts';
import { startUpstream, type Upstream } from '../support/upstream.ts';

const apiOf = (home: Home): Api => new Api(home.fetch, 'http://slipway', new AbortController().signal);

async function published(upstream: Upstream, name: string, layers: readonly string[]): Promise<void> {
  const diffIds = layers.map((layer) => sha256(layer));
  const config = JSON.stringify({ os: 'linux', architecture: 'amd64', rootfs: { type: 'layers', diff_ids: diffIds } });
  const manifest = JSON.stringify({
    schemaVersion: 2,
    mediaType: mediaType.ociManifest,
    config: { mediaType: mediaType.ociConfig, digest: await upstream.pushBlob(name, config), size: config.length },
    layers: layers.map((layer) => ({ mediaType: mediaType.ociLayerTar, digest: sha256(layer), size: layer.length })),
  });
  for (const layer of layers) await upstream.pushBlob(name, layer);
  const put = await upstream.ask('PUT', `/v2/${name}/manifests/1`, manifest, { 'content-type': mediaType.ociManifest });
  expect(put.status).toBe(201);
}

test.each([
  ['the server', false],
  ['a command', true],
])('a layer that a pull found stays, when %s removes the image that had it', async (_, byCommand) => {
  await using folder = await tempFolder();
  const env = { SLIPWAY_HOME: folder.path };
  await using upstream = await startUpstream();
  await using served = await openHome({ env, now: Date.now, served: true });
  await published(upstream, 'one', ['shared']);
  await published(upstream, 'two', ['shared', 'new']);
  const pull = (name: string) =>
    apiOf(served).events<TransferEvent>('POST', '/api/v1/images/pull', {
      reference: `${upstream.host}/${name}:1`,
      platform: 'linux/amd64',
    });
  await Array.fromAsync(pull('one'));

  const removed = Promise.withResolvers<void>();
  upstream.hook = async (call, next) => {
    if (call.path.endsWith(sha256('new'))) await removed.promise;
    return next(call);
  };
  const states: string[] = [];
  const found = Promise.withResolvers<void>();
  const pulled = (async () => {
    for await (const event of pull('two')) {
      if (event.kind === 'layer') states.push(`${event.digest === sha256('shared') ? 'shared' : 'new'}: ${event.state}`);
      if (states.includes('shared: Already exists')) found.resolve();
    }
  })();
  await Promise.race([found.promise, pulled]);
  const image = `/api/v1/images/${upstream.host}/one:1`;
  if (byCommand) {
    await using command = await openHome({ env, now: Date.now });
    await apiOf(command).json<RemovedImage>('DELETE', image);
  } else {
    await apiOf(served).json<RemovedImage>('DELETE', image);
  }
  removed.resolve();
  await pulled;
  expect(states).toContain('new: Pull complete');
  for (const layer of ['shared', 'new']) {
    expect(await served.parts.blobs.stat(sha256(layer)), layer).toMatchObject({ size: layer.length });
  }
});

test('what nobody needs any more goes at once when no request is at work', async () => {
  await using folder = await tempFolder();
  await using upstream = await startUpstream();
  await using served = await openHome({ env: { SLIPWAY_HOME: folder.path }, now: Date.now, served: true });
  await published(upstream, 'one', ['shared']);
  const reference = `${upstream.host}/one:1`;
  const wanted = { reference, platform: 'linux/amd64' };
  await Array.fromAsync(apiOf(served).events<TransferEvent>('POST', '/api/v1/images/pull', wanted));
  const digest: Digest = sha256('shared');
  expect(await served.parts.blobs.stat(digest)).toBeDefined();
  const { freed } = await apiOf(served).json<RemovedImage>('DELETE', `/api/v1/images/${reference}`);
  expect(freed).toBeGreaterThan('shared'.length);
  expect(await served.parts.blobs.stat(digest)).toBeUndefined();
});
