// The command line against a home elsewhere: a real home behind node:http, and an empty machine.
import { randomBytes } from 'node:crypto';
import { existsSync, statSync } from 'node:fs';
import { chmod, mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { createServer, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { Remote } from '../../cli/remote.ts';
import { sha256 } from '../../shared/oci/digest.ts';
import { writeTar } from '../../shared/tar/write.ts';
import { type ApiServer, apiServer } from '../support/api-server.ts';
import { type CliOptions, cli } from '../support/cli.ts';
import { type TempFolder, tempFolder } from '../support/temp.ts';

let folder: TempFolder;
let server: ApiServer;
let context: string;
let env: Record<string, string>;

const dockerfile = `FROM scratch
COPY small /s/
COPY large /l/large
WORKDIR /w
ENV A=b
`;

const machine = (): CliOptions => ({ home: join(folder.path, 'machine'), cwd: folder.path, env });
const run = (argv: readonly string[], more: Partial<CliOptions> = {}) => cli(argv, { ...machine(), ...more });
const ok = async (argv: readonly string[], more: Partial<CliOptions> = {}) => {
  const result = await run(argv, more);
  expect(result, result.err).toMatchObject({ code: 0 });
  return result;
};

const large = randomBytes(5 << 20);

const ask = (method: string, path: string, body?: unknown) =>
  fetch(`${server.url}${path}`, {
    method,
    headers: { authorization: `Bearer ${server.token}` },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });

async function makeContext(): Promise<void> {
  context = join(folder.path, 'context');
  await mkdir(join(context, 'small', 'deep'), { recursive: true });
  for (let i = 0; i < 60; i++) await writeFile(join(context, 'small', i % 2 ? 'deep' : '.', `file ${i}`), `content ${i}\n`);
  await writeFile(join(context, 'large'), large);
  await writeFile(join(context, 'secret'), 'do not send me');
  await writeFile(join(context, '.dockerignore'), 'secret\n');
  await writeFile(join(context, 'Dockerfile'), dockerfile);
}

for (const direct of [false, true]) {
  // One story: what is built first is what has been sent and is worked on afterwards.
  describe(`a home elsewhere, contents ${direct ? 'straight to its store' : 'through its API'}`, { shuffle: false }, () => {
    beforeAll(async () => {
      folder = await tempFolder();
      await makeContext();
      server = await apiServer({ env: { SLIPWAY_HOME: join(folder.path, 'server') }, direct });
      env = {
        HOME: join(folder.path, 'user'),
        SLIPWAY_ENDPOINT: server.url,
        SLIPWAY_TOKEN: server.token,
        SOURCE_DATE_EPOCH: '1700000000',
      };
    });
    afterAll(async () => {
      await server[Symbol.asyncDispose]();
      await folder[Symbol.asyncDispose]();
    });

    it('builds what the embedded home builds, and sends each content once', async () => {
      const { out: id, err } = await ok(['build', '-q', '-t', 'app:1', context]);
      expect(err).toBe('');
      const first = server.contents();
      expect(first).toBeGreaterThan(large.length);
      expect(first).toBeLessThan(large.length + 60 * 80 + 10_000);
      const embedded = await ok(['build', '-q', context], {
        env: { ...env, SLIPWAY_ENDPOINT: '' },
        home: join(folder.path, 'embedded'),
      });
      expect(id).toBe(embedded.out);

      const again = await ok(['build', '--progress', 'plain', '-t', 'app:2', context]);
      expect(server.contents()).toBe(first);
      expect(again.err).toContain('nothing new to send');
      expect(server.requests.filter((name) => name === 'POST /contexts')).toHaveLength(1);
      expect(again.err.match(/CACHED/g)).toHaveLength(4);
      expect(again.err).toContain('#0 [internal] load build context');

      await writeFile(join(context, 'small', 'file 0'), 'changed\n');
      await ok(['build', '-q', '-t', 'app:3', context]);
      expect(server.contents() - first).toBeLessThan(200);
      expect(server.contents()).toBeGreaterThan(first);
      // Nothing of it is on this machine.
      expect(existsSync(join(folder.path, 'machine'))).toBe(false);
    });

    it('works on its images with the same commands', async () => {
      const { out } = await ok(['images', '--format', '{{.Repository}}:{{.Tag}} {{.ID}}', 'app']);
      expect(
        out
          .trim()
          .split('\n')
          .map((line) => line.split(' ')[0])
          .sort(),
      ).toEqual(['app:1', 'app:2', 'app:3']);
      await ok(['tag', 'app:1', 'other:x']);
      expect(JSON.parse((await ok(['inspect', 'other:x'])).out)[0].Config.Env).toContain('A=b');
      expect((await ok(['history', '--no-trunc', 'other:x'])).out).toContain('COPY large');
      const file = join(folder.path, 'app.tar');
      await ok(['save', '-o', file, 'app:1']);
      expect((await readFile(file)).length).toBeGreaterThan(large.length);
      await ok(['rm', 'other:x', 'app:2']);
      expect((await ok(['images', '-q', 'other'])).out).toBe('');
      await ok(['rm', 'app:1', 'app:3']);
      expect((await ok(['load', '-i', file])).out).toContain('Loaded image: app:1');
      const tar = await Array.fromAsync(
        writeTar([{ entry: { path: 'x', type: 'dir', mode: 0o755, uid: 0, gid: 0, size: 0, mtime: 0 } }]),
      );
      expect((await ok(['import', '-', 'imported'], { stdin: Buffer.concat(tar) })).out).toMatch(/^sha256:/);
      expect(await run(['inspect', 'nosuch'])).toMatchObject({ code: 1 });
    });

    it('takes an archive from standard input', async () => {
      const entry = (path: string, text: string) => {
        const bytes = Buffer.from(text);
        return {
          entry: { path, type: 'file' as const, mode: 0o644, uid: 0, gid: 0, size: bytes.length, mtime: 0 },
          body: { kind: 'bytes' as const, bytes },
        };
      };
      const tar = await Array.fromAsync(writeTar([entry('Dockerfile', 'FROM scratch\nCOPY a /\n'), entry('a', 'from a tar')]));
      await ok(['build', '-q', '-t', 'piped', '-'], { stdin: Buffer.concat(tar) });
      expect((await ok(['history', 'piped'])).out).toContain('COPY a');
      await ok(['build', '-q', '-t', 'alone', '-'], { stdin: 'FROM scratch\nENV ALONE=1\n' });
      expect((await ok(['inspect', 'alone'])).out).toContain('ALONE=1');
    });

    it.runIf(direct)('gives contents to nobody who only knows their digest', async () => {
      const blob = { digest: sha256(large), size: large.length };
      const { upload } = (await (await ask('POST', '/api/v1/blobs', blob)).json()) as { upload: string };
      const answer = await ask('POST', '/api/v1/contexts/thief/adopt', { kind: 'body', upload, ...blob });
      expect(await answer.json()).toMatchObject({ error: { code: 'UPLOAD_UNKNOWN' } });
    });

    it('shows what is wrong with the Dockerfile as at home', async () => {
      const { code, err } = await run(['build', '-f', '-', context], { stdin: 'FROM scratch\nCOPY nosuch /\n' });
      expect(code).toBe(1);
      expect(err).toContain('COPY nosuch /');
      expect(err).toContain('nosuch');
    });
  });
}

describe('a connection', () => {
  beforeEach(async () => {
    folder = await tempFolder();
    await makeContext();
    server = await apiServer({ env: { SLIPWAY_HOME: join(folder.path, 'server') } });
    env = { HOME: join(folder.path, 'user'), SLIPWAY_ENDPOINT: server.url, SLIPWAY_TOKEN: server.token };
  });
  afterEach(async () => {
    await server[Symbol.asyncDispose]();
    await folder[Symbol.asyncDispose]();
  });

  it('that breaks while following is taken up where it was', async () => {
    server.cutEvents(3, 150);
    const { err } = await ok(['build', '--progress', 'rawjson', '-t', 'app', context]);
    const events = err
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as { type: string; id?: number; name?: string });
    const started = events.filter((event) => event.type === 'started').map((event) => event.id);
    expect(started).toEqual([...new Set(started)]);
    expect(events.at(-1)).toMatchObject({ type: 'result' });
    expect(server.requests.filter((name) => name === 'GET /builds/ID/events')).toHaveLength(4);
    expect(server.requests.filter((name) => name === 'POST /builds')).toHaveLength(1);
  });

  it('that is interrupted stops the build there', async () => {
    // A registry that never answers.
    const never = createServer(() => stop.abort('SIGINT'));
    const stop = new AbortController();
    await new Promise<void>((resolve) => never.listen(0, '127.0.0.1', resolve));
    try {
      const { port } = never.address() as AddressInfo;
      const stdin = `FROM 127.0.0.1:${port}/never\n`;
      const { code, err } = await run(['build', '-f', '-', context], { stdin, signal: stop.signal });
      expect(code).toBe(130);
      expect(err).toContain('Cancelled');
      const { builds } = (await (await ask('GET', '/api/v1/builds')).json()) as { builds: { state: string }[] };
      expect(builds.map((build) => build.state)).toEqual(['cancelled']);
    } finally {
      never.closeAllConnections();
      never.close();
    }
  });

  it('brings no file of the server into an image', async () => {
    const asked = {
      context: { kind: 'directory', path: folder.path },
      dockerfile: { name: 'D', text: 'FROM scratch\nCOPY . /\n' },
      tags: [],
      buildArgs: {},
      labels: {},
      noCache: false,
      pull: false,
    };
    const answer = await ask('POST', '/api/v1/builds', asked);
    expect(answer.status).toBe(403);
    expect(await answer.json()).toMatchObject({ error: { code: 'DENIED' } });
  });

  it('is refused without a login, in words that help', async () => {
    const { code, err } = await run(['images'], { env: { ...env, SLIPWAY_TOKEN: 'wrong' } });
    expect(code).toBe(1);
    expect(err).toContain(`slipway login ${server.url}`);
    expect(await run(['images'], { env: { HOME: env.HOME!, SLIPWAY_ENDPOINT: server.url } })).toMatchObject({ code: 1 });
  });

  it('to nowhere says so', async () => {
    const { code, err } = await run(['images'], { env: { ...env, SLIPWAY_ENDPOINT: 'http://127.0.0.1:9' } });
    expect(code).toBe(1);
    expect(err).toContain('connection refused');
    for (const bad of ['ftp://x', 'https://u:p@x', 'https://x/?q']) {
      expect((await run(['images'], { env: { ...env, SLIPWAY_ENDPOINT: bad } })).err).toContain('is not an endpoint');
    }
  });

  it('takes no part in what is of this machine', async () => {
    for (const argv of [['run', 'app', 'true'], ['serve']]) {
      const { code, err } = await run(argv);
      expect(code).not.toBe(0);
      expect(err).toContain('works on this machine');
    }
  });
});

it('a home elsewhere leads no upload to this machine, to a cloud’s metadata, or off HTTPS', async () => {
  const endpoint = { url: 'https://images.example.com', chosenBy: 'the test', project: 'p' };
  using remote = new Remote(endpoint, { env: {}, now: Date.now });
  const body = { size: 1, open: () => Readable.from([Buffer.from('x')]) };
  for (const url of [
    'https://127.0.0.1:1/x',
    'https://169.254.169.254/latest',
    'http://bucket.example.com/x',
    'file:///etc/passwd',
  ]) {
    await expect(remote.put(url, {}, body, undefined)).rejects.toMatchObject({ code: 'DENIED' });
  }
});

it('a home elsewhere may take all the time that a gateway gives it, without being asked again', async () => {
  const asked: ServerResponse[] = [];
  const home = createServer((_, response) => void asked.push(response));
  await new Promise<void>((resolve) => home.listen(0, '127.0.0.1', resolve));
  const url = `http://127.0.0.1:${(home.address() as AddressInfo).port}`;
  using remote = new Remote({ url, chosenBy: 'the test', project: 'p' }, { env: {}, now: Date.now });
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
  try {
    const answer = remote.fetch({
      method: 'GET',
      url: `${url}/api/v1/builds/x/events`,
      headers: { get: () => null },
      body: null,
    });
    while (asked.length === 0) await new Promise((resolve) => setImmediate(resolve));
    // API Gateway's 29 seconds, and the way there and back.
    vi.advanceTimersByTime(32_000);
    for (let i = 0; i < 20; i++) await new Promise((resolve) => setImmediate(resolve));
    expect(asked[0]!.destroyed).toBe(false);
    asked[0]!.end('late');
    expect((await answer).status).toBe(200);
    expect(asked).toHaveLength(1);
  } finally {
    vi.useRealTimers();
    home.closeAllConnections();
    await new Promise((resolve) => home.close(resolve));
  }
});

describe('contexts and logins', () => {
  const login = { username: 'ana', password: 'päss:word' };
  beforeAll(async () => {
    folder = await tempFolder();
    server = await apiServer({ env: { SLIPWAY_HOME: join(folder.path, 'server') }, login });
    env = { HOME: join(folder.path, 'user') };
  });
  afterAll(async () => {
    await server[Symbol.asyncDispose]();
    await folder[Symbol.asyncDispose]();
  });
  const settings = () => join(folder.path, 'user/.config/slipway/settings.json');
  const logins = () => join(folder.path, 'user/.docker/config.json');

  it('are kept for this user alone, and used', async () => {
    expect((await ok(['context', 'show'])).out).toBe('default\n');
    await ok(['context', 'create', 'team', '--endpoint', `${server.url}/`, '--description', 'ours']);
    expect(statSync(settings()).mode & 0o777).toBe(0o600);
    expect(await run(['context', 'create', 'team', '--endpoint', server.url])).toMatchObject({ code: 1 });
    expect(await run(['context', 'create', 'default', '--endpoint', server.url])).toMatchObject({ code: 1 });
    expect(await run(['context', 'use', 'nosuch'])).toMatchObject({ code: 1 });
    await ok(['context', 'use', 'team']);
    expect((await ok(['context', 'ls'])).out).toMatch(/team \* +ours +http:/);
    expect((await run(['images'])).err).toContain('slipway login');

    expect(await run(['login', '-u', 'ana', '--password-stdin'], { stdin: 'wrong\n' })).toMatchObject({ code: 1 });
    expect(existsSync(logins())).toBe(false);
    await mkdir(join(folder.path, 'user/.docker'));
    await writeFile(logins(), '{"proxies":{"default":{}},"auths":{"a.io":{"auth":"YTpi"}}}');
    await chmod(logins(), 0o644);
    expect((await ok(['login', '-u', 'ana', '--password-stdin'], { stdin: `${login.password}\n` })).out).toBe(
      'Login Succeeded\n',
    );
    expect(statSync(logins()).mode & 0o777).toBe(0o600);
    const { host } = new URL(server.url);
    const auth = Buffer.from('ana:päss:word').toString('base64');
    expect(JSON.parse(await readFile(logins(), 'utf8'))).toEqual({
      proxies: { default: {} },
      auths: { 'a.io': { auth: 'YTpi' }, [host]: { auth } },
    });
    expect(await readFile(settings(), 'utf8')).not.toContain('ana');
    expect((await ok(['images', '-q'])).out).toBe('');
    expect((await ok(['--context', 'default', 'images', '-q'])).out).toBe('');
    expect(existsSync(join(folder.path, 'machine'))).toBe(true);
    await rm(join(folder.path, 'machine'), { recursive: true });

    // A stream is sent once: the login has to be settled before.
    const tar = await Array.fromAsync(
      writeTar([{ entry: { path: 'x', type: 'dir', mode: 0o755, uid: 0, gid: 0, size: 0, mtime: 0 } }]),
    );
    await ok(['import', '-', 'imported'], { stdin: Buffer.concat(tar) });

    await ok(['logout']);
    expect(JSON.parse(await readFile(logins(), 'utf8')).auths).toEqual({ 'a.io': { auth: 'YTpi' } });
    expect((await ok(['logout'])).out).toContain('Not logged in');
    expect(JSON.parse((await ok(['context', 'inspect'])).out)).toMatchObject([
      { Name: 'team', Metadata: { Description: 'ours', Project: 'default' }, Endpoints: { slipway: { Host: server.url } } },
    ]);
    expect(await run(['images'])).toMatchObject({ code: 1 });
    expect(await run(['context', 'rm', 'team'])).toMatchObject({ code: 1, err: expect.stringContaining('in use') });
    await ok(['context', 'rm', '-f', 'team']);
    expect((await ok(['context', 'show'])).out).toBe('default\n');
  });

  it('never send a password unprotected, or take one from the command line', async () => {
    const { code, err } = await run(['login', '-u', 'ana', '--password-stdin', 'http://images.example.com'], { stdin: 'x' });
    expect(code).toBe(1);
    expect(err).toContain('plain HTTP');
    expect((await run(['login', '-u', 'a', '-p', 'b', server.url])).err).toContain('--password-stdin');
  });
});
