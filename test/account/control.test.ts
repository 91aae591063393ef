// The control API and the command line against a deployed account: login, builds of folders and archives, their list and logs, what a
// robot may not do. The stack is that of production, on a local AWS, behind what CloudFront and API Gateway do to messages.
import { randomBytes } from 'node:crypto';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { PutObjectCommand, S3Client } from '@aws-sdk/client-s3';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { writeTar } from '../../shared/tar/write.ts';
import { deployAccount, type TestAccount } from '../support/account.ts';
import { whyNoAws } from '../support/aws.ts';
import { cli } from '../support/cli.ts';
import { attempt, installed } from '../support/command.ts';
import { type Scratch, scratch } from '../support/scratch.ts';

const missing = whyNoAws();

let account: TestAccount;
let folder: Scratch;
const passwords: Record<string, string> = {};

const run = (who: string, args: readonly string[], stdin?: string | Uint8Array) =>
  cli(args, {
    home: join(folder.path, 'none'),
    cwd: folder.path,
    env: { HOME: join(folder.path, who), SLIPWAY_ENDPOINT: account.proxy.url, SOURCE_DATE_EPOCH: '1700000000' },
    ...(stdin === undefined ? {} : { stdin }),
  });
const ok = async (who: string, args: readonly string[], stdin?: string | Uint8Array) => {
  const result = await run(who, args, stdin);
  expect(result, result.err).toMatchObject({ code: 0 });
  return result.out;
};
const login = (who: string) => ok(who, ['login', '-u', who, '--password-stdin'], `${passwords[who]}\n`);

const files = { Dockerfile: 'FROM scratch\nCOPY src /src\nENV A=b\n', 'src/a': 'file a\n', 'src/b': 'file b\n' };
async function archive(members: Readonly<Record<string, string>> = files): Promise<Buffer> {
  const common = { uid: 0, gid: 0, mtime: 0, mode: 0o644, type: 'file' as const };
  const all = Object.entries(members).map(([path, text]) => ({
    entry: { ...common, path, size: Buffer.byteLength(text) },
    body: { kind: 'bytes' as const, bytes: Buffer.from(text) },
  }));
  return gzipSync(Buffer.concat(await Array.fromAsync(writeTar(all))));
}
/** As `aws s3 cp` does. */
async function put(key: string, bytes: Uint8Array): Promise<string> {
  const credentials = { accessKeyId: 'test', secretAccessKey: 'test' };
  const client = new S3Client({ endpoint: account.aws, region: 'us-east-1', forcePathStyle: true, credentials });
  const Bucket = /^s3:\/\/([^/]+)\//.exec(account.outputs.Archives ?? '')?.[1];
  await client.send(new PutObjectCommand({ Bucket, Key: key, Body: bytes }));
  client.destroy();
  return `s3://${Bucket}/${key}`;
}

beforeAll(async () => {
  if (missing !== undefined) return;
  folder = await scratch('slw-ctl-');
  const context = join(folder.path, 'context');
  await mkdir(join(context, 'src'), { recursive: true });
  for (const [path, text] of Object.entries(files)) await writeFile(join(context, path), text);
  account = await deployAccount();
  const make = async (name: string, grants?: object[]) => {
    const made = await account.accounts({ do: 'create', name, kind: 'robot', ...(grants === undefined ? {} : { grants }) });
    passwords[name] = String(made.password);
  };
  await make('admin');
  await make('ci', [
    { projects: 'default', actions: ['build'] },
    { repositories: 'team/*', actions: ['pull', 'push'] },
  ]);
});
afterAll(async () => {
  await account?.[Symbol.asyncDispose]();
  await folder?.[Symbol.asyncDispose]();
});

// One story: it begins with the login of those who do the rest.
describe.skipIf(missing)(
  `the control API of an account${missing === undefined ? '' : ` (${missing})`}`,
  { shuffle: false },
  () => {
    let image: string;

    test('takes a login, which keeps no password, and builds a folder', async () => {
      expect((await run('ci', ['images'])).err).toContain('slipway login');
      await login('ci');
      const kept = await readFile(join(folder.path, 'ci/.docker/config.json'), 'utf8');
      expect(kept).toContain('identitytoken');
      expect(kept).not.toContain(Buffer.from(`ci:${passwords.ci}`).toString('base64'));
      image = (await ok('ci', ['build', '-q', '-t', 'team/app:1', 'context'])).trim();
      expect(image).toMatch(/^sha256:[0-9a-f]{64}$/);
      // The same as on this machine.
      const here = await cli(['build', '-q', 'context'], {
        home: join(folder.path, 'here'),
        cwd: folder.path,
        env: { HOME: join(folder.path, 'ci'), SOURCE_DATE_EPOCH: '1700000000' },
      });
      expect(here.out.trim()).toBe(image);
    });

    test('names what it builds as docker pulls it, and builds on it', async () => {
      const { host } = account.proxy;
      expect((await ok('ci', ['build', '-q', '--push', '-t', `${host}/team/named:1`, 'context'])).trim()).toBe(image);
      const early = await run('ci', ['build', '-q', '--push', '-t', 'team/app', 'context']);
      expect([early.code, early.err]).toEqual([1, expect.stringContaining(`Name it ${host}/`)]);
      await writeFile(join(folder.path, 'context', 'Dockerfile.next'), `FROM ${host}/team/named:1\nENV C=d\n`);
      await ok('ci', ['build', '-q', '-f', 'context/Dockerfile.next', '-t', `${host}/team/next`, 'context']);
      if (!(await installed('skopeo')) && !process.env.CI) return;
      const inspect = ['skopeo', 'inspect', '--tls-verify=false', '--creds', `ci:${passwords.ci}`, '--format', '{{.Digest}}'];
      const pulled = await attempt([...inspect, `docker://${host}/team/named:1`]);
      expect(pulled, pulled.stderr).toMatchObject({ exitCode: 0, stdout: expect.stringContaining(image) });
      expect(await attempt([...inspect, `docker://${host}/team/next`])).toMatchObject({ exitCode: 0 });
    });

    test('builds an archive from standard input, and from its bucket, to the same image', async () => {
      const bytes = await archive();
      expect((await ok('ci', ['build', '-q', '-t', 'team/stdin', '-'], bytes)).trim()).toBe(image);
      const url = await put('contexts/x.tar.gz', bytes);
      expect((await ok('ci', ['build', '-q', '-t', 'team/bucket', url])).trim()).toBe(image);
    });

    test('builds from its bucket by one request of any client', async () => {
      const url = await put('contexts/curl.tar.gz', await archive());
      const { proxy } = account;
      const at = new URL('/token', proxy.url);
      at.searchParams.set('service', proxy.host);
      at.searchParams.append('scope', 'project:default:build');
      at.searchParams.append('scope', 'repository:team/curl:pull,push');
      const basic = { authorization: `Basic ${Buffer.from(`ci:${passwords.ci}`).toString('base64')}` };
      const { token } = (await (await fetch(at, { headers: basic })).json()) as { token: string };
      const headers = { authorization: `Bearer ${token}` };
      const body = JSON.stringify({
        context: { kind: 'archive', url },
        dockerfile: { name: 'Dockerfile', text: '' },
        tags: ['team/curl'],
        buildArgs: { SOURCE_DATE_EPOCH: '1700000000' },
        labels: {},
        noCache: false,
        pull: false,
      });
      const started = await fetch(`${proxy.url}/api/v1/builds`, { method: 'POST', headers, body });
      expect(started.status).toBe(201);
      const { id } = (await started.json()) as { id: string };
      let last = '';
      let after = 0;
      while (!/"type":"(result|error)"/.test(last)) {
        const answer = await (await fetch(`${proxy.url}/api/v1/builds/${id}/events?after=${after}`, { headers })).text();
        last = answer.trim().split('\n').at(-1) ?? '';
        if (last !== '') after = (JSON.parse(last) as { number: number }).number;
      }
      expect(JSON.parse(last)).toMatchObject({ type: 'result', digest: image });
    });

    test('reads no other place, and says what is wrong with an archive', async () => {
      const { bucket } = /^s3:\/\/(?<bucket>[^/]+)\//.exec(account.outputs.Archives ?? '')?.groups ?? {};
      for (const [url, said] of [
        ['s3://elsewhere/contexts/x.tar.gz', 'not in this home'],
        [`s3://${bucket}/blobs/sha256/x`, 'not below contexts/'],
        [`s3://${bucket}/contexts/web/x`, 'of the project web'],
        [`s3://${bucket}/contexts/nosuch`, 'there is no object'],
        [await put('contexts/bad.tar.gz', (await archive()).subarray(0, 60)), 'contexts/bad.tar.gz'],
        [await put('contexts/out.tar.gz', await archive({ '../up': 'x' })), 'contexts/out.tar.gz'],
      ] as const) {
        const { code, err } = await run('ci', ['build', '-q', url]);
        expect([url, code, err]).toEqual([url, 1, expect.stringContaining(said)]);
      }
    });

    test('loads, saves and imports more than the gateway passes', async () => {
      await login('ci');
      const own = { home: join(folder.path, 'own'), cwd: folder.path, env: { HOME: folder.path } };
      const entry = { path: 'data', type: 'file' as const, mode: 0o644, uid: 0, gid: 0, size: 7_000_000, mtime: 0 };
      const body = { kind: 'bytes' as const, bytes: randomBytes(entry.size) };
      await writeFile(join(folder.path, 'large.tar'), Buffer.concat(await Array.fromAsync(writeTar([{ entry, body }]))));
      for (const args of [
        ['import', 'large.tar', 'team/large:1'],
        ['save', '-o', 'large.archive', 'team/large'],
      ])
        expect(await cli(args, own)).toMatchObject({ code: 0 });
      expect(await ok('ci', ['load', '-i', 'large.archive'])).toBe('Loaded image: team/large:1\n');
      await ok('ci', ['save', '-o', 'again.archive', 'team/large']);
      const [first, again] = await Promise.all(['large', 'again'].map((name) => readFile(join(folder.path, `${name}.archive`))));
      expect(again!.equals(first!)).toBe(true);
      const id = (await ok('ci', ['import', 'large.tar', 'team/imported:1'])).trim();
      expect(JSON.parse(await ok('ci', ['inspect', 'team/imported:1']))).toMatchObject([{ Id: id }]);
    });

    test('lists, shows and tells builds, and keeps them from who may not see them', async () => {
      const list = JSON.parse(await ok('ci', ['builds', 'ls', '--json'])) as { id: string; state: string; tags: string[] }[];
      const first = list.at(-1)!;
      expect(first).toMatchObject({ by: 'ci', project: 'default', state: 'succeeded', tags: ['team/app:1'], image });
      expect(list.filter(({ state }) => state === 'failed')).not.toHaveLength(0);
      expect(JSON.parse(await ok('ci', ['builds', 'inspect', first.id]))).toMatchObject({ id: first.id, image });
      const log = await ok('ci', ['builds', 'logs', '--progress', 'rawjson', first.id]);
      const events = log
        .trim()
        .split('\n')
        .map((line) => JSON.parse(line) as { number: number; type: string });
      expect(events.map(({ number }) => number)).toEqual(events.map((_, i) => i + 1));
      expect(events.at(-1)).toMatchObject({ type: 'result', digest: image });
      const rest = await ok('ci', ['builds', 'logs', '-f', '--progress', 'rawjson', '--after', '2', first.id]);
      expect(rest).toBe(log.split('\n').slice(2).join('\n'));
      await account
        .accounts({ do: 'create', name: 'eve', grants: [{ projects: 'web', actions: ['view', 'build', 'manage'] }] })
        .then(({ password }) => (passwords.eve = String(password)));
      await login('eve');
      for (const args of [['inspect', first.id], ['logs', first.id], ['cancel', first.id], ['ls']]) {
        const { code, err } = await run('eve', ['builds', ...args]);
        expect([code, err]).toEqual([1, expect.stringContaining('project:default:')]);
      }
    });

    test('refuses tags and bases that the account has no grant for, and images by ID', async () => {
      const other = await run('ci', ['build', '-q', '-t', 'other/app', 'context']);
      expect([other.code, other.err]).toEqual([1, expect.stringContaining('no grant for repository:other/app:pull,push')]);
      const url = await put('contexts/base.tar.gz', await archive({ Dockerfile: 'FROM secret/base\n' }));
      const base = await run('ci', ['build', '-q', url]);
      expect([base.code, base.err]).toEqual([1, expect.stringContaining('secret/base')]);
      expect((await run('ci', ['inspect', image])).err).toContain('registry:catalog:*');
      expect(JSON.parse(await ok('ci', ['inspect', 'team/app:1']))).toMatchObject([{ Id: image }]);
      expect((await run('ci', ['pull', 'debian'])).err).toContain('no grant for repository:debian:pull,push');
    });

    test('shows the list of repositories to who may pull all of them, by stock clients too', async () => {
      await login('admin');
      await ok('admin', ['build', '-q', '-t', 'team/app:1', 'context']);
      expect(await ok('admin', ['images', '--format', '{{.Repository}}:{{.Tag}}'])).toContain('team/app:1');
      if (!(await installed('podman')) && !process.env.CI) return;
      const search = async (who: string) => {
        const auths = { [account.proxy.host]: { auth: Buffer.from(`${who}:${passwords[who]}`).toString('base64') } };
        const file = join(folder.path, `${who}.json`);
        await writeFile(file, JSON.stringify({ auths }));
        return attempt(['podman', 'search', '--tls-verify=false', '--authfile', file, `${account.proxy.host}/app`]);
      };
      const found = await search('admin');
      expect(found, found.stderr).toMatchObject({
        exitCode: 0,
        stdout: expect.stringContaining(`${account.proxy.host}/team/app`),
      });
      expect((await search('ci')).stdout).not.toContain('team/app');
    });
  },
);
