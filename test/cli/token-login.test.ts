// The command line against a home that takes the tokens of its own token service, as an account does: login, scopes asked for as they are
// found missing, tokens renewed while a build goes on.

import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { createServer, type IncomingMessage } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Home, openHome } from '../../local/home.ts';
import { createApi } from '../../shared/api/app.ts';
import { tokenAccess } from '../../shared/api/token-access.ts';
import { Accounts } from '../../shared/auth/accounts.ts';
import { Issuer } from '../../shared/auth/issuer.ts';
import { authorizerMemory, TokenKeys } from '../../shared/auth/token.ts';
import { tokenEndpoint } from '../../shared/registry/token-endpoint.ts';
import { writeTar } from '../../shared/tar/write.ts';
import { cli } from '../support/cli.ts';
import { type TempFolder, tempFolder } from '../support/temp.ts';

const keys = new TokenKeys('k'.repeat(64));
let folder: TempFolder;
let home: Home;
let url: string;
let close: () => Promise<void>;
const password: Record<string, string> = {};
/** The scopes that tokens were asked for, one a request. */
let asked: string[] = [];
/** Seconds by which the server's clock is ahead. */
let ahead = 0;
const now = () => Date.now() / 1000 + ahead;

beforeAll(async () => {
  folder = await tempFolder();
  home = await openHome({ env: { SLIPWAY_HOME: join(folder.path, 'server'), HOME: folder.path }, now: Date.now, served: true });
  const accounts = new Accounts({ table: home.parts.table, now, cost: { n: 1024, r: 8, p: 1 } });
  const make = async (name: string, grants: Parameters<Accounts['create']>[0]['grants']) => {
    password[name] = (await accounts.create({ name, kind: 'robot', grants })).password;
  };
  await make('ci', [
    { projects: 'default', actions: ['build'] },
    { repositories: 'team/*', actions: ['pull', 'push'] },
  ]);
  await make('reader', [{ projects: '*', actions: ['view'] }]);
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const service = `127.0.0.1:${(server.address() as AddressInfo).port}`;
  url = `http://${service}`;
  const issuer = new Issuer({ accounts, keys: async () => keys, audience: service, anonymousPull: [], now });
  const token = tokenEndpoint({ issuer, requestId: () => 'id' });
  const verify = (text: string) => keys.verify(text, { kind: 'access', audience: service, now: now(), left: authorizerMemory });
  const api = createApi(home.parts, { sameMachine: false, guard: tokenAccess(verify, { url, service }) });
  const body = (request: IncomingMessage) => request as AsyncIterable<Uint8Array>;
  server.on('request', async (request, response) => {
    const { pathname, search } = new URL(request.url ?? '/', url);
    const header = (name: string) => request.headers[name.toLowerCase()] as string | undefined;
    const { signal } = new AbortController();
    if (pathname === '/token') {
      const form = Buffer.concat(await Array.fromAsync(body(request)));
      asked.push(new URLSearchParams(form.toString()).getAll('scope').join(' '));
      const reply = await token({
        method: request.method ?? '',
        path: pathname,
        query: search.slice(1),
        header,
        body: Readable.from([form]),
        signal,
      });
      response.writeHead(reply.status, reply.headers as Record<string, string>).end(reply.body as Uint8Array | undefined);
      return;
    }
    const answer = await api({
      method: request.method ?? 'GET',
      url: `${url}${request.url}`,
      headers: { get: (name) => header(name) ?? null },
      body: request.method === 'GET' ? null : body(request),
    });
    // As API Gateway does.
    const { 'www-authenticate': challenge, ...headers } = answer.headers;
    response.writeHead(answer.status, {
      ...headers,
      ...(challenge === undefined ? {} : { 'x-amzn-remapped-www-authenticate': challenge }),
    });
    if (answer.body === null || answer.body instanceof Uint8Array) response.end(answer.body ?? undefined);
    else await pipeline(Readable.from(answer.body), response).catch(() => undefined);
  });
  close = async () => {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  };
});
afterAll(async () => {
  await close();
  await home[Symbol.asyncDispose]();
  await folder[Symbol.asyncDispose]();
});

const run = (who: string, args: readonly string[], stdin?: string | Buffer) =>
  cli(args, {
    home: join(folder.path, 'none'),
    cwd: folder.path,
    env: { HOME: join(folder.path, who), SLIPWAY_ENDPOINT: url },
    ...(stdin === undefined ? {} : { stdin }),
  });
const login = async (who: string) => {
  const { code, err } = await run(who, ['login', '-u', who, '--password-stdin', url], `${password[who]}\n`);
  expect([code, err]).toEqual([0, '']);
};
async function context(text: string): Promise<string> {
  const path = join(folder.path, 'context');
  await mkdir(path, { recursive: true });
  await writeFile(join(path, 'Dockerfile'), text);
  await writeFile(join(path, 'file'), 'a file');
  return path;
}

// One story: who logs in first is who builds next.
describe('a token login', { shuffle: false }, () => {
  it('keeps a token and no password, and a wrong password nothing', async () => {
    const wrong = await run('ci', ['login', '-u', 'ci', '--password-stdin', url], 'wrong');
    expect([wrong.code, wrong.err]).toEqual([1, expect.stringContaining('refused this login')]);
    await login('ci');
    const file = await readFile(join(folder.path, 'ci/.docker/config.json'), 'utf8');
    expect(file).toContain('identitytoken');
    expect(file).not.toContain(password.ci);
    expect(file).not.toContain(Buffer.from(password.ci!).toString('base64').slice(0, 12));
  });

  it('asks for what a build takes once it is said to be missing, and builds', async () => {
    asked = [];
    const { code, err } = await run('ci', ['build', '-q', '-t', 'team/app:1', await context('FROM scratch\nCOPY file /\n')]);
    expect([code, err]).toEqual([0, '']);
    expect(asked).toContainEqual(expect.stringContaining('repository:team/app:pull,push'));
    const list = JSON.parse((await run('ci', ['builds', 'ls', '--json'])).out) as { by: string; tags: string[] }[];
    expect(list).toMatchObject([{ by: 'ci', project: 'default', tags: ['team/app:1'], state: 'succeeded' }]);
    expect((await run('ci', ['inspect', 'team/app:1'])).code).toBe(0);
  });

  it('sends an archive again when its token did not cover the name', async () => {
    const tar = Buffer.concat(
      await Array.fromAsync(writeTar([{ entry: { path: 'x', type: 'dir', mode: 0o755, uid: 0, gid: 0, size: 0, mtime: 0 } }])),
    );
    const { code, err } = await run('ci', ['import', '-', 'team/imported:1'], tar);
    expect([code, err]).toEqual([0, '']);
    const other = await run('ci', ['import', '-', 'other/imported:1'], tar);
    expect([other.code, other.err]).toEqual([1, expect.stringContaining('no grant for repository:other/imported:pull,push')]);
  });

  it('is told what it has no grant for, after asking', async () => {
    const other = await run('ci', ['build', '-q', '-t', 'other/app', await context('FROM scratch\nCOPY file /\n')]);
    expect([other.code, other.err]).toEqual([1, expect.stringContaining('no grant for repository:other/app:pull,push')]);
    expect((await run('ci', ['images'])).err).toContain('registry:catalog:*');
    await login('reader');
    const build = await run('reader', ['build', '-q', await context('FROM scratch\nCOPY file /\n')]);
    expect([build.code, build.err]).toEqual([1, expect.stringContaining('no grant for project:default:build')]);
    expect(JSON.parse((await run('reader', ['builds', 'ls', '--json'])).out)).toHaveLength(1);
  });

  it('goes on when a token is over in the middle of a build', async () => {
    const silent = createServer(() => undefined);
    await new Promise<void>((resolve) => silent.listen(0, '127.0.0.1', resolve));
    try {
      const { port } = silent.address() as AddressInfo;
      const base = `127.0.0.1:${port}/never`;
      const records = await home.parts.builds();
      const id = await records.start(
        {
          context: { kind: 'none', project: 'default' },
          dockerfile: { name: 'D', text: `FROM ${base}\n` },
          tags: [],
          buildArgs: {},
          labels: {},
          noCache: false,
          pull: false,
        },
        { by: 'ci' },
      );
      const following = run('ci', ['builds', 'logs', '-f', id]);
      ahead = 2 * 3600;
      const cancel = await run('ci', ['builds', 'cancel', id]);
      expect([cancel.code, cancel.out]).toEqual([0, `${id}\n`]);
      const { code, out, err } = await following;
      expect([code, out + err]).toEqual([1, expect.stringContaining('cancelled')]);
    } finally {
      ahead = 0;
      silent.closeAllConnections();
      silent.close();
    }
  });

  it('takes a token from SLIPWAY_TOKEN, which is never renewed, and says when it is over', async () => {
    const { code, err } = await cli(['images'], {
      home: join(folder.path, 'none'),
      env: { HOME: join(folder.path, 'x'), SLIPWAY_ENDPOINT: url, SLIPWAY_TOKEN: 'over' },
    });
    expect([code, err]).toEqual([1, expect.stringContaining('the token is missing, wrong or over')]);
  });

  it('ends with logout', async () => {
    expect((await run('ci', ['logout'])).out).toContain('Removed the login');
    expect((await run('ci', ['images'])).code).toBe(1);
  });
});
