// Layers that API Gateway does not pass, pushed by other people's clients as they always push: the upload goes on at the upload host. Here
// that is the program of the Web Function as a process; that a Web Function takes the same on AWS has not been seen.
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { DynamoDBClient, ListTablesCommand } from '@aws-sdk/client-dynamodb';
import { ListSecretsCommand, SecretsManagerClient } from '@aws-sdk/client-secrets-manager';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { deployAccount, type TestAccount } from '../support/account.ts';
import { whyNoAws } from '../support/aws.ts';
import { attempt, installed, must } from '../support/command.ts';
import { type CountingProxy, startCountingProxy } from '../support/counting-proxy.ts';
import { type Descriptor, makeLayout, nameAll, putImage, randomLayer } from '../support/oci-folder.ts';
import { type Scratch, scratch } from '../support/scratch.ts';

const foreign = process.env.AWS_ENDPOINT_URL ? 'needs a MiniStack of its own' : undefined;
const missing = whyNoAws() ?? foreign ?? ((await installed('skopeo')) || process.env.CI ? undefined : 'skopeo is not installed');

let account: TestAccount;
let folder: Scratch;
let image: Descriptor;
let host: ChildProcess;
/** In front of it: its address is in the stack before it runs, and no port is free for that long by itself. */
let front: CountingProxy;
let login: string;

const layout = () => `oci:${join(folder.path, 'layout')}:image`;
const at = (name: string) => `docker://${account.proxy.host}/${name}`;
const authFile = () => join(folder.path, 'docker', 'config.json');
const pull = async (name: string): Promise<string> => {
  const to = join(folder.path, `back-${name.replace(/\W/g, '-')}`);
  await must([
    'skopeo',
    '--insecure-policy',
    'copy',
    '-q',
    '--preserve-digests',
    '--src-tls-verify=false',
    '--authfile',
    authFile(),
    at(name),
    `dir:${to}`,
  ]);
  return readFile(join(to, 'manifest.json'), 'utf8');
};

beforeAll(async () => {
  if (missing !== undefined) return;
  folder = await scratch('slw-large-');
  const images = join(folder.path, 'layout');
  await makeLayout(images);
  image = await putImage(images, [await randomLayer(images, 23_000_000, 'large'), await randomLayer(images, 40_000, 'top')]);
  await nameAll(images, { image });
  front = await startCountingProxy();
  account = await deployAccount({ settings: { uploadHost: front.url } });
  const aws = { endpoint: account.aws, region: 'us-east-1', credentials: { accessKeyId: 'test', secretAccessKey: 'test' } };
  const [table] = (await new DynamoDBClient(aws).send(new ListTablesCommand({}))).TableNames ?? [];
  const secrets = (await new SecretsManagerClient(aws).send(new ListSecretsCommand({}))).SecretList ?? [];
  const env = {
    PATH: process.env.PATH,
    AWS_ENDPOINT_URL: account.aws,
    AWS_REGION: 'us-east-1',
    AWS_ACCESS_KEY_ID: 'test',
    AWS_SECRET_ACCESS_KEY: 'test',
    SLIPWAY_S3_PATH_STYLE: 'true',
    SLIPWAY_TABLE: table,
    SLIPWAY_BUCKET: /^s3:\/\/([^/]+)\//.exec(account.outputs.Archives ?? '')?.[1],
    SLIPWAY_TOKEN_SECRET: secrets.find(({ Name }) => /TokenSecret/.test(Name ?? ''))?.ARN,
    SLIPWAY_URL: account.proxy.url,
    SLIPWAY_LISTEN: '127.0.0.1:0',
  };
  host = spawn(process.execPath, [join(import.meta.dirname, '../../functions/upload/handler.ts')], {
    env,
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const line = await new Promise<string>((resolve, reject) => {
    createInterface({ input: host.stdout! }).once('line', resolve);
    host.once('exit', (code) => reject(new Error(`the upload host ended with ${code}`)));
  });
  front.aim(`http://${(JSON.parse(line) as { listening: string }).listening}`);
  const { password } = await account.accounts({ do: 'create', name: 'admin' });
  login = `admin:${String(password)}`;
  await mkdir(join(folder.path, 'docker'));
  await writeFile(
    authFile(),
    JSON.stringify({ auths: { [account.proxy.host]: { auth: Buffer.from(login).toString('base64') } } }),
  );
});
afterAll(async () => {
  host?.kill();
  await front?.[Symbol.asyncDispose]();
  await account?.[Symbol.asyncDispose]();
  await folder?.[Symbol.asyncDispose]();
});

describe.skipIf(missing)(`a push of large layers${missing === undefined ? '' : ` (${missing})`}`, () => {
  const manifest = () => readFile(join(folder.path, 'layout', 'blobs', ...image.digest.split(':')), 'utf8');

  test('by skopeo, which sends each layer in one PATCH', async () => {
    await must([
      'skopeo',
      '--insecure-policy',
      'copy',
      '-q',
      '--preserve-digests',
      '--dest-tls-verify=false',
      '--authfile',
      authFile(),
      layout(),
      at('team/skopeo:1'),
    ]);
    expect(await pull('team/skopeo:1')).toBe(await manifest());
  });

  test('by buildah, and so by podman', async () => {
    if (!process.env.CI && !(await installed('buildah'))) return;
    const [root, runroot] = [join(folder.path, 'storage'), join(folder.path, 'run')];
    const name = 'localhost/app:1';
    await must(['skopeo', '--insecure-policy', 'copy', '-q', layout(), `containers-storage:[vfs@${root}+${runroot}]${name}`]);
    const storage = ['--root', root, '--runroot', runroot, '--storage-driver', 'vfs'];
    const pushed = await attempt([
      'buildah',
      ...storage,
      'push',
      '-q',
      '--tls-verify=false',
      '--authfile',
      authFile(),
      name,
      at('team/buildah:1'),
    ]);
    expect(pushed, pushed.stderr).toMatchObject({ exitCode: 0 });
    expect(JSON.parse(await pull('team/buildah:1'))).toMatchObject({ layers: [{}, {}] });
  });

  test('by our own client, which needs no chunks then', async () => {
    const env = { SLIPWAY_HOME: join(folder.path, 'home'), DOCKER_CONFIG: join(folder.path, 'docker'), HOME: folder.path };
    const slipway = (...args: string[]) =>
      must([process.execPath, join(import.meta.dirname, '../../cli/main.ts'), ...args], { env });
    const archive = join(folder.path, 'image.tar');
    const name = `${account.proxy.host}/team/own:1`;
    await must(['skopeo', '--insecure-policy', 'copy', '-q', layout(), `oci-archive:${archive}:${name}`]);
    await slipway('load', '-q', '-i', archive);
    await slipway('push', '-q', name);
    const { layers } = JSON.parse(await pull('team/own:1')) as { layers: readonly Descriptor[] };
    expect(layers.map(({ size }) => size > 20_000_000)).toEqual([true, false]);
  });
});
