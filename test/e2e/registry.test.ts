// Other people's clients against our registry: what they push, they and the others pull, byte for byte.
import { createHash, randomBytes } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { attempt, installed, must } from '../support/command.ts';
import { type Descriptor, makeLayout, nameAll, putImage, putIndex, randomLayer } from '../support/oci-folder.ts';
import { dockerMissing, startDocker } from '../support/peers.ts';
import { type RegistryProcess, serveFolder } from '../support/registry-process.ts';
import { watchMemory } from '../support/rss.ts';
import { type Scratch, scratch } from '../support/scratch.ts';

const required = Boolean(process.env.CI);
const missing = {
  skopeo: (await installed('skopeo')) ? undefined : 'skopeo is not installed',
  podman: (await installed('podman')) ? undefined : 'podman is not installed',
  buildah: (await installed('buildah')) ? undefined : 'buildah is not installed',
  docker: await dockerMissing(),
};
const needs = (...tools: (keyof typeof missing)[]) => {
  const why = tools.map((tool) => missing[tool]).find((reason) => reason !== undefined);
  return why === undefined || required ? undefined : why;
};
const named = (title: string, why: string | undefined) => (why === undefined ? title : `${title} (${why})`);

let folder: Scratch;
let layout: string;
let registry: RegistryProcess;
let image: Descriptor;
let other: Descriptor;
let index: Descriptor;

beforeAll(async () => {
  folder = await scratch('slw-reg-');
  layout = join(folder.path, 'layout');
  await makeLayout(layout);
  const base = await randomLayer(layout, 3_000_000, 'base');
  image = await putImage(layout, [base, await randomLayer(layout, 100_000, 'top')]);
  other = await putImage(layout, [base, await randomLayer(layout, 50_000, 'arm')], 'arm64');
  index = await putIndex(layout, [image, other]);
  // Layers of its own: what the registry has already would be reused as it is.
  const zstd = await putImage(layout, [await randomLayer(layout, 200_000, 'a'), await randomLayer(layout, 1000, 'b')]);
  await nameAll(layout, { image, index, zstd });
  registry = await serveFolder(join(folder.path, 'home'));
});

afterAll(async () => {
  await registry?.[Symbol.asyncDispose]();
  await folder?.[Symbol.asyncDispose]();
});

const skopeo = (...args: string[]) =>
  must(['skopeo', '--insecure-policy', 'copy', '-q', '--dest-tls-verify=false', '--src-tls-verify=false', ...args]);
/** As it is: skopeo would compress the layers. */
const push = (name: string) => skopeo('--preserve-digests', `oci:${layout}:image`, remote(name));
const remote = (name: string) => `docker://${registry.host}/${name}`;
const get = (path: string, headers: Record<string, string> = {}) => fetch(`http://${registry.host}${path}`, { headers });
const digestAt = async (name: string, tag: string) =>
  (await fetch(`http://${registry.host}/v2/${name}/manifests/${tag}`, { method: 'HEAD' })).headers.get('docker-content-digest');

describe.skipIf(needs('skopeo'))(named('skopeo', needs('skopeo')), () => {
  test('pushes and pulls an image, digest kept', async () => {
    await push('skopeo/app:v1');
    expect(await digestAt('skopeo/app', 'v1')).toBe(image.digest);
    const back = join(folder.path, 'back');
    await skopeo(remote('skopeo/app:v1'), `dir:${back}`);
    const manifest = await readFile(join(back, 'manifest.json'));
    expect(`sha256:${createHash('sha256').update(manifest).digest('hex')}`).toBe(image.digest);
  });

  test('pushes an index with all its images', async () => {
    await skopeo('--all', '--preserve-digests', `oci:${layout}:index`, remote('skopeo/multi:v1'));
    expect(await digestAt('skopeo/multi', 'v1')).toBe(index.digest);
    expect(await digestAt('skopeo/multi', other.digest)).toBe(other.digest);
    await skopeo('--all', remote('skopeo/multi:v1'), `oci:${join(folder.path, 'multi')}:v1`);
  });

  test('pushes zstd layers and gets them back', async () => {
    await skopeo('--dest-compress-format', 'zstd', '--dest-compress', `oci:${layout}:zstd`, remote('skopeo/zstd:v1'));
    const manifest = (await (await get('/v2/skopeo/zstd/manifests/v1')).json()) as { layers: { mediaType: string }[] };
    expect(manifest.layers.map((l) => l.mediaType)).toEqual(Array(2).fill('application/vnd.oci.image.layer.v1.tar+zstd'));
    await skopeo(remote('skopeo/zstd:v1'), `dir:${join(folder.path, 'zstd')}`);
  });

  test('pushes as Docker schema 2 and gets Docker types back', async () => {
    await skopeo('--format', 'v2s2', `oci:${layout}:image`, remote('skopeo/v2s2:v1'));
    const got = await get('/v2/skopeo/v2s2/manifests/v1');
    expect(got.headers.get('content-type')).toBe('application/vnd.docker.distribution.manifest.v2+json');
    await skopeo(remote('skopeo/v2s2:v1'), `dir:${join(folder.path, 'v2s2')}`);
  });

  test('schema 1 is refused', async () => {
    const pushed = await attempt([
      'skopeo',
      '--insecure-policy',
      'copy',
      '--dest-tls-verify=false',
      '--format',
      'v2s1',
      `oci:${layout}:image`,
      remote('skopeo/v2s1:v1'),
    ]);
    expect(pushed.exitCode).not.toBe(0);
  });

  test('lists tags and deletes', async () => {
    await push('skopeo/del:a');
    await push('skopeo/del:b');
    const tags = await must(['skopeo', 'list-tags', '--tls-verify=false', remote('skopeo/del')]);
    expect(JSON.parse(tags.stdout).Tags).toEqual(['a', 'b']);
    await must(['skopeo', 'delete', '--tls-verify=false', remote('skopeo/del:a')]);
    expect(await digestAt('skopeo/del', 'a')).toBe(null);
  });

  test('a second repository mounts what the first has', async () => {
    await push('skopeo/app:v1');
    await skopeo(remote('skopeo/app:v1'), remote('skopeo/copy:v1'));
    expect(await digestAt('skopeo/copy', 'v1')).toBe(image.digest);
  });
});

describe.skipIf(needs('podman', 'buildah', 'skopeo'))(named('podman and buildah', needs('podman', 'buildah', 'skopeo')), () => {
  test.each(['podman', 'buildah'])('%s pulls, pushes and searches', async (tool) => {
    await push('from/skopeo:v1');
    const root = ['--root', join(folder.path, tool), '--runroot', join(folder.path, `${tool}-run`), '--storage-driver', 'vfs'];
    const run = (...args: string[]) => must([tool, ...root, ...args], { env: { TMPDIR: folder.path } });
    await run('pull', '-q', '--tls-verify=false', `${registry.host}/from/skopeo:v1`);
    await run('tag', `${registry.host}/from/skopeo:v1`, `${registry.host}/${tool}/app:v2`);
    await run('push', '-q', '--tls-verify=false', `${registry.host}/${tool}/app:v2`);
    expect((await get(`/v2/${tool}/app/manifests/v2`)).status).toBe(200);
    if (tool === 'podman') {
      const found = await run('search', '--tls-verify=false', `${registry.host}/skopeo`);
      expect(found.stdout).toContain(`${registry.host}/from/skopeo`);
    }
    await run('rmi', '-af');
  });
});

describe.skipIf(needs('docker', 'skopeo'))(named('docker', needs('docker', 'skopeo')), () => {
  test('pulls, pushes and searches', async () => {
    await push('from/skopeo:v1');
    await using work = await scratch('slwd-');
    await using docker = await startDocker(join(work.path, 'd'), { storageDriver: 'vfs' });
    const run = async (...args: string[]) => {
      const result = await docker.run(args);
      if (result.exitCode !== 0) throw new Error(`docker ${args.join(' ')}: ${result.stderr}`);
      return result.stdout;
    };
    expect(await run('pull', `${registry.host}/from/skopeo:v1`)).toContain(`Digest: ${image.digest}`);
    await run('tag', `${registry.host}/from/skopeo:v1`, `${registry.host}/docker/app:v3`);
    expect(await run('push', `${registry.host}/docker/app:v3`)).toMatch(/v3: digest: sha256:/);
    expect(await run('push', `${registry.host}/docker/app:v3`)).toContain('Layer already exists');
    await run('tag', `${registry.host}/from/skopeo:v1`, `${registry.host}/docker/mounted:v1`);
    expect(await run('push', `${registry.host}/docker/mounted:v1`)).toContain('Mounted from');
    expect(await run('search', `${registry.host}/docker`)).toContain('docker/app');
    const refused = await docker.run(['pull', `${registry.host}/docker/app:none`]);
    expect(refused.stderr).toContain('manifest unknown');
  });
});

test('an artifact with referrers, by plain HTTP', async () => {
  const blob = async (bytes: string) => {
    const digest = `sha256:${createHash('sha256').update(bytes).digest('hex')}`;
    const put = await fetch(`http://${registry.host}/v2/artifacts/a/blobs/uploads/?digest=${digest}`, {
      method: 'POST',
      body: bytes,
    });
    expect(put.status).toBe(201);
    return { digest, size: bytes.length };
  };
  const config = { mediaType: 'application/vnd.oci.empty.v1+json', ...(await blob('{}')) };
  const manifest = (more: object) =>
    JSON.stringify({
      schemaVersion: 2,
      mediaType: 'application/vnd.oci.image.manifest.v1+json',
      config,
      layers: [config],
      ...more,
    });
  const put = async (reference: string, body: string) => {
    const answer = await fetch(`http://${registry.host}/v2/artifacts/a/manifests/${reference}`, {
      method: 'PUT',
      headers: { 'content-type': 'application/vnd.oci.image.manifest.v1+json' },
      body,
    });
    expect(answer.status).toBe(201);
    return answer;
  };
  const subjectBody = manifest({});
  const subject = {
    mediaType: 'application/vnd.oci.image.manifest.v1+json',
    digest: `sha256:${createHash('sha256').update(subjectBody).digest('hex')}`,
    size: subjectBody.length,
  };
  // The referrer first: its subject may come later.
  const first = await put('sbom', manifest({ subject, artifactType: 'application/x-sbom', annotations: { tool: 'test' } }));
  expect(first.headers.get('oci-subject')).toBe(subject.digest);
  await put('v1', subjectBody);
  const listed = (await (await get(`/v2/artifacts/a/referrers/${subject.digest}?artifactType=application/x-sbom`)).json()) as {
    manifests: unknown[];
  };
  expect(listed.manifests).toEqual([
    expect.objectContaining({ artifactType: 'application/x-sbom', annotations: { tool: 'test' } }),
  ]);
});

test('an upload goes on after the server was killed', async () => {
  await using own = await scratch('slw-kill-');
  const bytes = randomBytes(6_000_000);
  const digest = `sha256:${createHash('sha256').update(bytes).digest('hex')}`;
  const first = await serveFolder(own.path);
  const begun = await fetch(`http://${first.host}/v2/app/blobs/uploads/`, { method: 'POST' });
  const location = begun.headers.get('location') as string;
  await fetch(`http://${first.host}${location}`, {
    method: 'PATCH',
    body: bytes.subarray(0, 2_000_000),
    headers: { 'content-range': '0-1999999' },
  });
  // A second piece that never ends: the server dies in the middle of it.
  const endless = new ReadableStream<Uint8Array>({
    start: (controller) => controller.enqueue(new Uint8Array(bytes.subarray(2_000_000, 3_500_000))),
  });
  const broken = fetch(`http://${first.host}${location}`, { method: 'PATCH', body: endless, duplex: 'half' }).catch(
    () => undefined,
  );
  const kept = async (host: string) => Number((await fetch(`http://${host}${location}`)).headers.get('range')?.slice(2)) + 1;
  while ((await kept(first.host)) === 2_000_000) await sleep(20);
  await first.kill('SIGKILL');
  await broken;
  await using second = await serveFolder(own.path);
  const offset = await kept(second.host);
  expect(offset).toBeGreaterThan(2_000_000);
  const done = await fetch(`http://${second.host}${location}?digest=${digest}`, { method: 'PUT', body: bytes.subarray(offset) });
  expect(done.status).toBe(201);
  const back = Buffer.from(await (await fetch(`http://${second.host}/v2/app/blobs/${digest}`)).arrayBuffer());
  expect(Buffer.compare(back, bytes)).toBe(0);
});

test('two processes on one home: a tag moved or removed by one is seen by the other at once', async () => {
  await using own = await scratch('slw-two-');
  await using one = await serveFolder(own.path);
  await using two = await serveFolder(own.path);
  const config = '{}';
  const digest = `sha256:${createHash('sha256').update(config).digest('hex')}`;
  await fetch(`http://${one.host}/v2/app/blobs/uploads/?digest=${digest}`, { method: 'POST', body: config });
  const put = async (host: string, note: string) => {
    const descriptor = { mediaType: 'application/vnd.oci.image.config.v1+json', digest, size: 2 };
    const body = JSON.stringify({ schemaVersion: 2, config: descriptor, layers: [], annotations: { note } });
    const headers = { 'content-type': 'application/vnd.oci.image.manifest.v1+json' };
    expect((await fetch(`http://${host}/v2/app/manifests/v1`, { method: 'PUT', headers, body })).status).toBe(201);
    return body;
  };
  for (let i = 0; i < 20; i++) {
    const [writer, reader] = i % 2 === 0 ? [one, two] : [two, one];
    const body = await put(writer.host, String(i));
    expect(await (await fetch(`http://${reader.host}/v2/app/manifests/v1`)).text()).toBe(body);
  }
  await fetch(`http://${one.host}/v2/app/manifests/v1`, { method: 'DELETE' });
  expect((await fetch(`http://${two.host}/v2/app/manifests/v1`)).status).toBe(404);
});

describe.skipIf(needs('skopeo'))(named('big layers', needs('skopeo')), () => {
  test('2 GiB in and out, several at a time, in bounded memory', async () => {
    await using work = await scratch('slw-big-', 16 * 1024 ** 3);
    const big = join(work.path, 'layout');
    await makeLayout(big);
    const layers = [await randomLayer(big, 1024 ** 3, 'one'), await randomLayer(big, 1024 ** 3, 'two')];
    await nameAll(big, { big: await putImage(big, layers) });
    await using server = await serveFolder(join(work.path, 'home'));
    using memory = watchMemory([server.pid], 50);
    await skopeo('--preserve-digests', `oci:${big}:big`, `docker://${server.host}/big:v1`);
    const digests = await Promise.all(
      layers.map(async ({ digest }) => {
        const response = await fetch(`http://${server.host}/v2/big/blobs/${digest}`);
        const hash = createHash('sha256');
        for await (const chunk of response.body ?? []) hash.update(chunk);
        return `sha256:${hash.digest('hex')}`;
      }),
    );
    expect(digests).toEqual(layers.map((l) => l.digest));
    expect(memory.peak().largest).toBeLessThan(300 * 1024 ** 2);
    expect(server.faults()).toBe('');
  });
});

test('nothing went wrong inside', () => {
  expect(registry.faults()).toBe('');
});
