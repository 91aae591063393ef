// Pull and push at a home that carries them out elsewhere, as the command line sees it: the same lines, broken connections, Ctrl-C.
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { sha256 } from '../../shared/oci/digest.ts';
import { mediaType } from '../../shared/oci/media-type.ts';
import { type ApiServer, apiServer } from '../support/api-server.ts';
import { type CliOptions, cli } from '../support/cli.ts';
import { type TempFolder, tempFolder } from '../support/temp.ts';
import { transfersInProcess } from '../support/transfers-in-process.ts';
import { startUpstream, type Upstream } from '../support/upstream.ts';

let folder: TempFolder;
let upstream: Upstream;
let server: ApiServer;
let transfers: ReturnType<typeof transfersInProcess>;
let name: string;
/** Pulled by others than the test that looks at what a first pull shows. */
let other: string;

/** Puts an image of such layers there, and answers its name. */
async function publish(repository: string, layers: readonly string[]): Promise<string> {
  const config = JSON.stringify({
    os: 'linux',
    architecture: 'amd64',
    rootfs: { type: 'layers', diff_ids: layers.map((one) => sha256(one)) },
  });
  const manifest = JSON.stringify({
    schemaVersion: 2,
    mediaType: mediaType.ociManifest,
    config: { mediaType: mediaType.ociConfig, digest: await upstream.pushBlob(repository, config), size: config.length },
    layers: layers.map((one) => ({ mediaType: mediaType.ociLayerTar, digest: sha256(one), size: one.length })),
  });
  for (const one of layers) await upstream.pushBlob(repository, one);
  await upstream.ask('PUT', `/v2/${repository}/manifests/1`, manifest, { 'content-type': mediaType.ociManifest });
  return `${upstream.host}/${repository}:1`;
}

beforeAll(async () => {
  folder = await tempFolder();
  upstream = await startUpstream();
  name = await publish('team/app', ['a'.repeat(300_000), 'b'.repeat(300_000)]);
  other = await publish('team/other', ['c', 'd']);
  server = await apiServer({
    env: { SLIPWAY_HOME: join(folder.path, 'home'), HOME: folder.path },
    parts(own) {
      transfers = transfersInProcess(own);
      return { transfers: async () => transfers.service };
    },
  });
});
afterAll(async () => {
  await transfers[Symbol.asyncDispose]();
  await server[Symbol.asyncDispose]();
  await upstream[Symbol.asyncDispose]();
  await folder[Symbol.asyncDispose]();
});

const run = (argv: readonly string[], more: Partial<CliOptions> = {}) =>
  cli(argv, {
    home: join(folder.path, 'machine'),
    cwd: folder.path,
    env: { HOME: folder.path, DOCKER_CONFIG: folder.path, SLIPWAY_ENDPOINT: server.url, SLIPWAY_TOKEN: server.token },
    ...more,
  });
/** Without what hangs on the order in which layers come. */
const linesOf = (text: string): readonly string[] => text.split('\n').toSorted();

test('a pull shows what it shows in a home of this machine, whatever happens to connections', async () => {
  const here = await run(['pull', name], { env: { HOME: folder.path, DOCKER_CONFIG: folder.path } });
  expect(here, here.err).toMatchObject({ code: 0 });
  server.cutEvents(3, 40);
  const before = server.requests.length;
  const there = await run(['pull', name]);
  expect(there, there.err).toMatchObject({ code: 0 });
  expect(linesOf(there.out)).toEqual(linesOf(here.out));
  const requests = server.requests.slice(before);
  expect(requests.filter((one) => one === 'GET /transfers/ID/events').length).toBeGreaterThan(3);
  expect(requests.filter((one) => one === 'POST /images/pull')).toHaveLength(1);
  expect((await run(['pull', '-q', name])).out).toBe(`${name}\n`);
  const pushed = await run(['push', name]);
  expect(pushed.out).toMatch(/The push refers to repository \[.*\/team\/app\]\n(.*Layer already exists\n){2}1: digest: sha256:/);
});

test('a login of this machine goes along, and only the one for that registry', async () => {
  const auths = {
    [upstream.host]: { auth: Buffer.from('ann:secret').toString('base64') },
    'ghcr.io': { auth: Buffer.from('bob:other').toString('base64') },
  };
  await writeFile(join(folder.path, 'config.json'), JSON.stringify({ auths }));
  expect((await run(['pull', '-q', other])).code).toBe(0);
  expect(transfers.orders.at(-1)).toMatchObject({ login: { username: 'ann', password: 'secret' } });
  await writeFile(join(folder.path, 'config.json'), '{}');
  await run(['pull', '-q', other]);
  expect(transfers.orders.at(-1)).toMatchObject({ login: 'nobody' });
});

test('what fails is told with its hint, and Ctrl-C is waited for', async () => {
  const absent = await run(['push', `${upstream.host}/no/such:1`]);
  expect([absent.code, absent.err]).toEqual([1, expect.stringMatching(/does not exist locally.*\n.*slipway images/)]);
  const stop = new AbortController();
  const held = Promise.withResolvers<void>();
  upstream.hook = async (call, next) => {
    if (call.method !== 'HEAD' || !call.path.includes('/manifests/')) return next(call);
    held.resolve();
    await sleep(60_000, undefined, { signal: call.signal }).catch(() => undefined);
    return next(call);
  };
  const pulling = run(['pull', other], { signal: stop.signal });
  await held.promise;
  stop.abort();
  expect(await pulling).toMatchObject({ code: 130, err: expect.stringContaining('Cancelled') });
  upstream.hook = undefined;
  expect(server.requests).toContain('POST /transfers/ID/cancel');
  expect(await transfers.service.get(transfers.orders.at(-1)!.transfer)).toMatchObject({ state: 'cancelled' });
});
