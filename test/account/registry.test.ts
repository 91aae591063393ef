// The registry as a team gets it: the stack of production, deployed to a local AWS by `cdk deploy`, and other people's client in front.
import { createHash } from 'node:crypto';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { deployAccount, type TestAccount } from '../support/account.ts';
import { whyNoAws } from '../support/aws.ts';
import { attempt, type CommandResult, installed, must } from '../support/command.ts';
import { type Descriptor, makeLayout, nameAll, putImage, randomLayer } from '../support/oci-folder.ts';
import { type Scratch, scratch } from '../support/scratch.ts';

const missing = whyNoAws() ?? ((await installed('skopeo')) || process.env.CI ? undefined : 'skopeo is not installed');

let account: TestAccount;
let folder: Scratch;
let image: Descriptor;
let admin: string;

const authFile = () => join(folder.path, 'auth.json');
const at = (name: string) => `docker://${account.proxy.host}/${name}`;
const layout = (name: string) => `oci:${join(folder.path, 'layout')}:${name}`;

/** skopeo, with whatever `login` is (`name:password`), or as nobody. */
function copy(from: string, to: string, login?: string): Promise<CommandResult> {
  const who = (side: string) => (login === undefined ? [`--${side}-no-creds`] : [`--${side}-creds=${login}`]);
  const remote = (side: 'src' | 'dest', name: string) =>
    name.startsWith('docker:') ? [`--${side}-tls-verify=false`, ...who(side)] : [];
  return attempt([
    'skopeo',
    '--insecure-policy',
    'copy',
    '-q',
    '--retry-times=0',
    '--preserve-digests',
    ...remote('src', from),
    ...remote('dest', to),
    from,
    to,
  ]);
}

async function tokenFor(scope: string, login?: string): Promise<string> {
  const url = new URL('/token', account.proxy.url);
  url.searchParams.set('service', account.proxy.host);
  url.searchParams.set('scope', scope);
  const headers = login === undefined ? {} : { authorization: `Basic ${Buffer.from(login).toString('base64')}` };
  const answer = await fetch(url, { headers });
  expect(answer.status).toBe(200);
  return ((await answer.json()) as { token: string }).token;
}

const call = (token: string, method: string, path: string, init: RequestInit = {}) =>
  fetch(new URL(path, account.proxy.url), {
    redirect: 'manual',
    ...init,
    method,
    headers: { ...(init.headers as Record<string, string>), authorization: `Bearer ${token}` },
  });

beforeAll(async () => {
  if (missing !== undefined) return;
  folder = await scratch('slw-acc-');
  const images = join(folder.path, 'layout');
  await makeLayout(images);
  image = await putImage(images, [await randomLayer(images, 1_500_000, 'base'), await randomLayer(images, 40_000, 'top')]);
  const large = await putImage(images, [await randomLayer(images, 6_000_000, 'large')]);
  await nameAll(images, { image, large });
  account = await deployAccount({ settings: { anonymousPull: 'public/**' } });
  admin = `admin:${String((await account.accounts({ do: 'create', name: 'admin' })).password)}`;
});

afterAll(async () => {
  await account?.[Symbol.asyncDispose]();
  await folder?.[Symbol.asyncDispose]();
});

describe.skipIf(missing)(`a deployed registry${missing === undefined ? '' : ` (${missing})`}`, () => {
  test('skopeo logs in, pushes an image and pulls the same bytes', async () => {
    const login = ['skopeo', 'login', '--tls-verify=false', '--authfile', authFile(), '-u', 'admin', '--password-stdin'];
    await must([...login, account.proxy.host], { input: admin.slice('admin:'.length) });
    const options = ['--insecure-policy', 'copy', '-q', '--preserve-digests', '--authfile', authFile()];
    await must(['skopeo', ...options, '--dest-tls-verify=false', layout('image'), at('team/app:v1')]);
    const back = join(folder.path, 'back');
    await must(['skopeo', ...options, '--src-tls-verify=false', at('team/app:v1'), `dir:${back}`]);
    const manifest = await readFile(join(back, 'manifest.json'));
    expect(`sha256:${createHash('sha256').update(manifest).digest('hex')}`).toBe(image.digest);
    const { layers } = JSON.parse(manifest.toString()) as { layers: Descriptor[] };
    for (const { digest } of layers) {
      const bytes = await readFile(join(back, digest.slice('sha256:'.length)));
      expect(`sha256:${createHash('sha256').update(bytes).digest('hex')}`).toBe(digest);
    }
  });

  test('blobs leave by a URL of the bucket, HEAD says lengths', async () => {
    expect((await copy(layout('image'), at('team/head:v1'), admin)).exitCode).toBe(0);
    const token = await tokenFor('repository:team/head:pull', admin);
    const manifest = await call(token, 'HEAD', '/v2/team/head/manifests/v1');
    expect(manifest.status).toBe(200);
    expect(manifest.headers.get('docker-content-digest')).toBe(image.digest);
    expect(Number(manifest.headers.get('content-length'))).toBe(image.size);
    const { layers } = (await (await call(token, 'GET', '/v2/team/head/manifests/v1')).json()) as { layers: Descriptor[] };
    const layer = layers[0] as Descriptor;
    for (const method of ['GET', 'HEAD']) {
      const blob = await call(token, method, `/v2/team/head/blobs/${layer.digest}`);
      expect(blob.status).toBe(307);
      const location = new URL(blob.headers.get('location') ?? '');
      expect(location.searchParams.has('X-Amz-Signature')).toBe(true);
      const bytes = await fetch(location, { method });
      expect(Number(bytes.headers.get('content-length'))).toBe(layer.size);
      await bytes.arrayBuffer();
    }
  });

  test('nobody is told to log in, a wrong password is refused', async () => {
    const nobody = await fetch(`${account.proxy.url}/v2/`);
    expect(nobody.status).toBe(401);
    expect(nobody.headers.get('www-authenticate')).toBe(
      `Bearer realm="${account.proxy.url}/token",service="${account.proxy.host}"`,
    );
    const wrong = await copy(layout('image'), at('team/wrong:v1'), 'admin:not-it');
    expect(wrong.exitCode).not.toBe(0);
    expect(wrong.stderr).toContain('incorrect username or password');
    const unknown = await copy(layout('image'), at('team/wrong:v1'), 'who:not-it');
    expect(unknown.stderr).toContain('incorrect username or password');
    // A good token, changed by one character.
    const token = await tokenFor('repository:team/app:pull', admin);
    const forged = `${token.slice(0, -1)}${token.endsWith('A') ? 'B' : 'A'}`;
    expect((await call(forged, 'GET', '/v2/team/app/manifests/v1')).status).toBe(401);
  });

  test('a robot does what it was granted and no more', async () => {
    const made = await account.accounts({
      do: 'create',
      name: 'ci',
      kind: 'robot',
      days: 30,
      grants: [{ repositories: 'ci/*', actions: ['pull', 'push'] }],
    });
    const robot = `ci:${String(made.password)}`;
    expect((await copy(layout('image'), at('ci/app:v1'), robot)).exitCode).toBe(0);
    const elsewhere = await copy(layout('image'), at('team/app:v2'), robot);
    expect(elsewhere.exitCode).not.toBe(0);
    expect(elsewhere.stderr).toMatch(/unauthorized|401/);
    // What it asks for beyond that is not in its token.
    const token = await tokenFor('repository:ci/app:pull,push,delete', robot);
    expect((await call(token, 'GET', '/v2/ci/app/manifests/v1')).status).toBe(200);
    // What is missing is named, as the token specification has it, so that a client that can get it does.
    const refusedWith = async (method: string, path: string) => {
      const { status, headers } = await call(token, method, path);
      return [status, /scope="([^"]*)",error="insufficient_scope"/.exec(headers.get('www-authenticate') ?? '')?.[1]];
    };
    expect(await refusedWith('DELETE', '/v2/ci/app/manifests/v1')).toEqual([401, 'repository:ci/app:delete']);
    expect(await refusedWith('GET', '/v2/team/app/manifests/v1')).toEqual([401, 'repository:team/app:pull']);
    expect(await refusedWith('GET', '/v2/_catalog')).toEqual([401, 'registry:catalog:*']);
    // A blob of a repository it cannot read is not mounted: it is asked to upload it.
    const { layers } = (await (await call(token, 'GET', '/v2/ci/app/manifests/v1')).json()) as { layers: Descriptor[] };
    const mount = `/v2/ci/other/blobs/uploads/?mount=${layers[0]?.digest}&from=team/app`;
    const pushing = await tokenFor('repository:ci/other:push,pull repository:team/app:pull', robot);
    expect((await call(pushing, 'POST', mount)).status).toBe(202);
    const both = await tokenFor('repository:ci/other:push,pull repository:team/app:pull', admin);
    expect((await call(both, 'POST', mount)).status).toBe(201);
  });

  test('anybody pulls what the policy names, and nothing else', async () => {
    expect((await copy(layout('image'), at('public/app:v1'), admin)).exitCode).toBe(0);
    expect((await copy(at('public/app:v1'), `dir:${join(folder.path, 'public')}`)).exitCode).toBe(0);
    const closed = await copy(at('team/app:v1'), `dir:${join(folder.path, 'closed')}`);
    expect(closed.exitCode).not.toBe(0);
    expect(closed.stderr).toContain('docker login');
    expect((await copy(layout('image'), at('public/app:v2'))).exitCode).not.toBe(0);
  });

  test('a layer goes up in chunks of 4 MiB; one too large for the gateway is refused with what to do', async () => {
    const token = await tokenFor('repository:team/chunks:pull,push', admin);
    const bytes = new Uint8Array(6 << 20).map((_, i) => (i * 31 + (i >> 12)) & 255);
    const digest = `sha256:${createHash('sha256').update(bytes).digest('hex')}`;
    let location = (await call(token, 'POST', '/v2/team/chunks/blobs/uploads/')).headers.get('location') ?? '';
    for (let start = 0; start < bytes.length; start += 4 << 20) {
      const chunk = bytes.subarray(start, start + (4 << 20));
      const range = `${start}-${start + chunk.length - 1}`;
      const headers = { 'content-type': 'application/octet-stream', 'content-range': range };
      const sent = await call(token, 'PATCH', location, { headers, body: chunk });
      expect(sent.status).toBe(202);
      expect(sent.headers.get('range')).toBe(`0-${start + chunk.length - 1}`);
      location = sent.headers.get('location') ?? '';
    }
    expect((await call(token, 'PUT', `${location}?digest=${digest}`)).status).toBe(201);
    const there = await call(token, 'GET', `/v2/team/chunks/blobs/${digest}`);
    const got = new Uint8Array(await (await fetch(there.headers.get('location') ?? '')).arrayBuffer());
    expect(Buffer.compare(got, bytes)).toBe(0);

    // With its length announced, and without.
    const large = await copy(layout('large'), at('team/large:v1'), admin);
    expect(large.exitCode).not.toBe(0);
    expect(large.stderr).toContain('4 MiB');
    const next = (await call(token, 'POST', '/v2/team/chunks/blobs/uploads/')).headers.get('location') ?? '';
    for (const size of [5_000_000, 11_000_000]) {
      const refused = await call(token, 'PATCH', next, { body: new Uint8Array(size) });
      expect(refused.status).toBe(413);
      expect(await refused.text()).toContain('4 MiB');
    }
  });

  test('our own client pushes what is larger than the gateway takes, and skopeo pulls it', async () => {
    const env = { SLIPWAY_HOME: join(folder.path, 'home'), DOCKER_CONFIG: join(folder.path, 'docker') };
    await mkdir(env.DOCKER_CONFIG);
    const auths = { [account.proxy.host]: { auth: Buffer.from(admin).toString('base64') } };
    await writeFile(join(env.DOCKER_CONFIG, 'config.json'), JSON.stringify({ auths }));
    const slipway = (...args: string[]) =>
      must([process.execPath, join(import.meta.dirname, '../../cli/main.ts'), ...args], { env });
    const archive = join(folder.path, 'large.tar');
    const name = `${account.proxy.host}/team/large:v2`;
    await must(['skopeo', '--insecure-policy', 'copy', '-q', layout('large'), `oci-archive:${archive}:${name}`]);
    await slipway('load', '-q', '-i', archive);
    await slipway('push', '-q', name);
    expect((await copy(at('team/large:v2'), `dir:${join(folder.path, 'large')}`, admin)).exitCode).toBe(0);
  });
});
