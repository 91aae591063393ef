// Pulls and pushes of an account, which take longer than its gateway waits: a function of their own carries them out, and the command line
// follows. The other registries are on this machine, which the local stage lets functions reach.
import { createHash, randomBytes } from 'node:crypto';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type Digest, sha256 } from '../../shared/oci/digest.ts';
import { mediaType } from '../../shared/oci/media-type.ts';
import { deployAccount, type TestAccount } from '../support/account.ts';
import { whyNoAws } from '../support/aws.ts';
import { type CliOptions, cli } from '../support/cli.ts';
import { type Scratch, scratch } from '../support/scratch.ts';
import { startUpstream, type Upstream } from '../support/upstream.ts';

const missing = whyNoAws();

let account: TestAccount;
let folder: Scratch;
let upstream: Upstream;
const passwords: Record<string, string> = {};

const run = (who: string, args: readonly string[], more: Partial<CliOptions> = {}) =>
  cli(args, {
    home: join(folder.path, 'none'),
    cwd: folder.path,
    env: { HOME: join(folder.path, who), SLIPWAY_ENDPOINT: account.proxy.url },
    ...more,
  });
const ok = async (who: string, args: readonly string[], more: Partial<CliOptions> = {}) => {
  const result = await run(who, args, more);
  expect(result, result.err).toMatchObject({ code: 0 });
  return result.out;
};

const layer = randomBytes(3 << 20);
/** Milliseconds that the layer takes: more than a gateway waits. */
const slow = 33_000;

async function published(name: string, bytes: Uint8Array<ArrayBuffer>): Promise<Digest> {
  const blob = async (body: Uint8Array<ArrayBuffer>): Promise<{ readonly digest: Digest; readonly size: number }> => {
    const digest: Digest = `sha256:${createHash('sha256').update(body).digest('hex')}`;
    expect((await upstream.ask('POST', `/v2/${name}/blobs/uploads/?digest=${digest}`, body)).status).toBe(201);
    return { digest, size: body.length };
  };
  const stored = await blob(bytes);
  const config = { os: 'linux', architecture: 'arm64', rootfs: { type: 'layers', diff_ids: [stored.digest] } };
  const manifest = JSON.stringify({
    schemaVersion: 2,
    mediaType: mediaType.ociManifest,
    config: { mediaType: mediaType.ociConfig, ...(await blob(Buffer.from(JSON.stringify(config)))) },
    layers: [{ mediaType: mediaType.ociLayerTar, ...stored }],
  });
  const put = await upstream.ask('PUT', `/v2/${name}/manifests/1`, manifest, { 'content-type': mediaType.ociManifest });
  expect(put.status).toBe(201);
  return sha256(manifest);
}

/** Serves the layer in so many pieces, each after so many milliseconds. */
function slowly(pieces: number, milliseconds: number): void {
  upstream.hook = async (call, next) => {
    const reply = await next(call);
    if (call.method !== 'GET' || !call.path.endsWith(sha256(layer))) return reply;
    const length = Math.ceil(layer.length / pieces);
    let piece = 0;
    const open = async () =>
      new ReadableStream<Uint8Array>(
        {
          async pull(controller) {
            await sleep(milliseconds);
            controller.enqueue(layer.subarray(piece * length, ++piece * length));
            if (piece === pieces) controller.close();
          },
        },
        { highWaterMark: 0 },
      );
    return { ...reply, body: { size: layer.length, open } };
  };
}

beforeAll(async () => {
  if (missing !== undefined) return;
  folder = await scratch('slw-transfer-');
  upstream = await startUpstream();
  account = await deployAccount();
  const make = async (name: string, grants?: object[]) => {
    const made = await account.accounts({ do: 'create', name, kind: 'robot', ...(grants === undefined ? {} : { grants }) });
    passwords[name] = String(made.password);
    await ok(name, ['login', '-u', name, '--password-stdin'], { stdin: `${passwords[name]}\n` });
  };
  await make('admin');
  await make('reader', [{ repositories: '**', actions: ['pull'] }]);
});
afterAll(async () => {
  await account?.[Symbol.asyncDispose]();
  await upstream?.[Symbol.asyncDispose]();
  await folder?.[Symbol.asyncDispose]();
});

// One story: what the first pulls is what the others push and remove.
describe.skipIf(missing)(`transfers of an account${missing === undefined ? '' : ` (${missing})`}`, { shuffle: false }, () => {
  let digest: Digest;

  test('a pull that takes longer than the gateway waits is followed to its end, and pushed on elsewhere', async () => {
    digest = await published('team/app', layer);
    slowly(33, slow / 33);
    const began = performance.now();
    const out = await ok('admin', ['pull', `${upstream.host}/team/app:1`], { terminal: true });
    expect(performance.now() - began).toBeGreaterThan(slow);
    // As it came, and in the lines of docker.
    expect(out).toContain('1: Pulling from team/app');
    expect(out.match(/Downloading {2}\[/g)?.length ?? 0).toBeGreaterThan(5);
    expect(out).toContain('Pull complete');
    expect(out).toContain(`Digest: ${digest}`);
    expect(out).toContain(`Status: Downloaded newer image for ${upstream.host}/team/app:1`);
    upstream.hook = undefined;
    expect(await ok('admin', ['pull', '-q', `${upstream.host}/team/app:1`])).toBe(`${upstream.host}/team/app:1\n`);

    await ok('admin', ['tag', `${upstream.host}/team/app:1`, `${upstream.host}/other/app:2`]);
    const pushed = await ok('reader', ['push', `${upstream.host}/other/app:2`]);
    expect(pushed).toContain(`The push refers to repository [${upstream.host}/other/app]`);
    expect(pushed).toContain(`2: digest: ${digest}`);
    expect((await upstream.home.catalog.resolve('other/app', '2'))?.digest).toBe(digest);
  });

  test('a login for the other registry goes along, and what fails says why', async () => {
    const basic = `Basic ${Buffer.from('ann:secret').toString('base64')}`;
    upstream.hook = (call, next) =>
      call.header('authorization') === basic
        ? next(call)
        : { status: 401, headers: { 'www-authenticate': 'Basic realm="x"' }, body: undefined };
    const denied = await run('admin', ['push', `${upstream.host}/other/app:2`]);
    expect([denied.code, denied.err]).toEqual([1, expect.stringContaining(`docker login ${upstream.host}`)]);
    const docker = join(folder.path, 'docker');
    await mkdir(docker);
    const auths = {
      [upstream.host]: { auth: Buffer.from('ann:secret').toString('base64') },
      [account.proxy.host]: { auth: Buffer.from(`admin:${passwords.admin}`).toString('base64') },
    };
    await writeFile(join(docker, 'config.json'), JSON.stringify({ auths }));
    const env = { HOME: folder.path, DOCKER_CONFIG: docker, SLIPWAY_ENDPOINT: account.proxy.url };
    expect(await ok('ann', ['push', '-q', `${upstream.host}/other/app:2`], { env })).toBe(`${upstream.host}/other/app:2\n`);
    upstream.hook = undefined;
    const absent = await run('admin', ['pull', `${upstream.host}/no/such:1`]);
    expect([absent.code, absent.err]).toEqual([1, expect.stringContaining('manifest unknown')]);
    const refused = await run('reader', ['pull', `${upstream.host}/team/app:1`]);
    expect([refused.code, refused.err]).toEqual([1, expect.stringContaining(`repository:${upstream.host}/team/app:pull,push`)]);
    const own = await run('admin', ['pull', `${account.proxy.host}/team/app:1`]);
    expect([own.code, own.err]).toEqual([1, expect.stringContaining('very home')]);
  });

  test('a build is pushed to another registry when it is done', async () => {
    const context = join(folder.path, 'context');
    await mkdir(context);
    await writeFile(join(context, 'Dockerfile'), 'FROM scratch\nCOPY Dockerfile /\n');
    const tags = ['-t', `${account.proxy.host}/team/built:1`, '-t', `${upstream.host}/team/built:1`];
    const built = (await ok('admin', ['build', '-q', '--push', ...tags, 'context'])).trim();
    expect((await upstream.home.catalog.resolve('team/built', '1'))?.digest).toBe(built);
    const vague = await run('admin', ['build', '-q', '--push', '-t', 'team/built', 'context']);
    expect([vague.code, vague.err]).toEqual([1, expect.stringContaining(`Name it ${account.proxy.host}/`)]);
  });

  test('Ctrl-C stops it within seconds, and no tag has moved', async () => {
    await ok('admin', ['rm', `${upstream.host}/team/app:1`, `${upstream.host}/other/app:2`]);
    // Another image, so that nothing of it is here.
    layer.fill('x');
    await published('next/late', layer);
    slowly(1000, 1000);
    const stop = new AbortController();
    const pulling = run('admin', ['pull', `${upstream.host}/next/late:1`], { signal: stop.signal, terminal: true });
    while (!upstream.calls.includes(`GET /v2/next/late/blobs/${sha256(layer)}`)) await sleep(50);
    stop.abort();
    const began = performance.now();
    const stopped = await pulling;
    expect([stopped.code, stopped.err]).toEqual([130, expect.stringContaining('Cancelled')]);
    // It was told of the end, and did not lose its patience (cli/follow-events.ts).
    expect(performance.now() - began).toBeLessThan(20_000);
    upstream.hook = undefined;
    expect((await run('admin', ['inspect', `${upstream.host}/next/late:1`])).code).toBe(1);
    expect(await ok('admin', ['pull', '-q', `${upstream.host}/next/late:1`])).toBe(`${upstream.host}/next/late:1\n`);
  });
});
