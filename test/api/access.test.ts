// What a token opens in the control API, and what it does not: every route is called by callers who lack one scope.
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Home, openHome } from '../../local/home.ts';
import { allRoutes, createApi } from '../../shared/api/app.ts';
import { type ApiFetch, readAll, readLines } from '../../shared/api/http.ts';
import { tokenAccess } from '../../shared/api/token-access.ts';
import { parseScopes } from '../../shared/auth/scope.ts';
import { authorizerMemory, TokenKeys } from '../../shared/auth/token.ts';
import { Context } from '../../shared/context/list.ts';
import { sha256 } from '../../shared/oci/digest.ts';
import type { StartTransfer, TransferFacts, TransferService } from '../../shared/transfer/service.ts';
import { type TempFolder, tempFolder } from '../support/temp.ts';

const keys = new TokenKeys('s'.repeat(64));
const now = 1_800_000_000;
const service = 'images.example.com';
let folder: TempFolder;
let home: Home;
let api: ApiFetch;

beforeAll(async () => {
  folder = await tempFolder();
  home = await openHome({ env: { SLIPWAY_HOME: join(folder.path, 'home'), HOME: folder.path }, now: Date.now, served: true });
  const link = {
    read: async () => undefined,
    write: async () => ({ id: 'ab'.repeat(16), url: 'https://bucket.example/x', headers: {} }),
    confirm: async (_: string, blob: { digest: ReturnType<typeof sha256>; size: number }) => blob,
  };
  const blobs = new Proxy(home.parts.blobs, {
    get(target, name) {
      if (name === 'link') return link;
      const value: unknown = Reflect.get(target, name, target);
      return typeof value === 'function' ? value.bind(target) : value;
    },
  });
  const verify = (token: string) => keys.verify(token, { kind: 'access', audience: service, now });
  const guard = tokenAccess(verify, { url: `https://${service}`, service });
  api = createApi({ ...home.parts, blobs, host: service }, { sameMachine: false, guard });
});
afterAll(async () => {
  await home[Symbol.asyncDispose]();
  await folder[Symbol.asyncDispose]();
});

const tokenOf = (subject: string, ...scopes: string[]): string =>
  keys.sign({
    kind: 'access',
    audience: service,
    subject,
    issued: now - 10,
    expires: now + 3600 + authorizerMemory,
    scopes: parseScopes(scopes),
  });

interface Answer {
  readonly status: number;
  readonly challenge: string | undefined;
  // biome-ignore lint/suspicious/noExplicitAny: answers of many shapes, each compared with what is expected.
  readonly value: any;
}

async function call(token: string | undefined, method: string, path: string, body?: unknown, to = api): Promise<Answer> {
  const bytes = body instanceof Uint8Array ? body : body === undefined ? undefined : Buffer.from(JSON.stringify(body));
  const answer = await to({
    method,
    url: `https://home${path}`,
    headers: { get: (name) => (name === 'authorization' && token !== undefined ? `Bearer ${token}` : null) },
    body:
      bytes === undefined
        ? null
        : (async function* () {
            yield bytes;
          })(),
  });
  const text = (await readAll(answer.body, 1e7, 'answer')).toString('utf8');
  const type = answer.headers['content-type'];
  const value =
    type === 'application/x-ndjson'
      ? await Array.fromAsync(readLines(Buffer.from(text)))
      : text === ''
        ? undefined
        : JSON.parse(text);
  return { status: answer.status, challenge: answer.headers['www-authenticate'], value };
}

const build = (more: object = {}) => ({
  context: { kind: 'none' },
  dockerfile: { name: 'Dockerfile', text: 'FROM scratch\nENV A=b\n' },
  tags: [],
  buildArgs: {},
  labels: {},
  noCache: false,
  pull: false,
  ...more,
});
const asked = (scope: string): string =>
  `Bearer realm="https://${service}/token",service="${service}",scope="${scope}",error="insufficient_scope"`;

async function built(token: string, more: object = {}): Promise<string> {
  const started = await call(token, 'POST', '/api/v1/builds', build(more));
  expect([started.status, started.value]).toEqual([201, { id: expect.any(String) }]);
  const { id } = started.value as { id: string };
  // The home's own user follows: no scope is in the way.
  for await (const event of (await home.parts.builds()).events(id))
    if (event.event.type === 'error') throw new Error(JSON.stringify(event.event));
  return id;
}

describe('without a token', () => {
  it('nothing is answered, whatever the route', async () => {
    const routes = await allRoutes(home.parts, { sameMachine: false });
    expect(routes.length).toBeGreaterThan(20);
    for (const { method, path } of routes) {
      const concrete = path.replace(/:name\+?/g, 'team/app').replace(/:[a-z]+/gi, 'x');
      const { status, challenge, value } = await call(undefined, method, concrete);
      expect([path, status, value.error.code]).toEqual([path, 401, 'UNAUTHORIZED']);
      expect(challenge).toBe(`Bearer realm="https://${service}/token",service="${service}"`);
    }
  });

  it('nor with one that is forged, for another service, too old, for nobody, or of another kind', async () => {
    const claims = {
      kind: 'access',
      audience: service,
      subject: 'ann',
      issued: now - 10,
      expires: now + 600,
      scopes: [],
    } as const;
    const bad = [
      new TokenKeys('t'.repeat(64)).sign(claims),
      keys.sign({ ...claims, audience: 'other.example.com' }),
      keys.sign({ ...claims, issued: now - 900, expires: now - 1 }),
      keys.sign({ ...claims, subject: '' }),
      keys.sign({ ...claims, kind: 'refresh', generation: 'g' }),
      'x',
    ];
    for (const token of bad) expect((await call(token, 'GET', '/api/v1')).status).toBe(401);
    expect((await call(keys.sign(claims), 'GET', '/api/v1')).status).toBe(200);
  });
});

describe('a token without scopes', () => {
  it('opens no route but those that say what this is', async () => {
    const token = tokenOf('ann');
    const routes = await allRoutes(home.parts, { sameMachine: false });
    const opened: string[] = [];
    const bodies: Record<string, unknown> = {
      'POST /api/v1/builds': build(),
      'POST /api/v1/images/:name+/tag': { target: 'other:1' },
      'POST /api/v1/images/save': { names: ['team/app'] },
      'POST /api/v1/images/pull': { reference: 'team/app' },
      'POST /api/v1/images/push': { reference: 'team/app' },
      'POST /api/v1/blobs': { digest: sha256('x'), size: 1 },
      'POST /api/v1/blobs/:digest/confirm': { upload: 'ab'.repeat(16), size: 1 },
      'PUT /api/v1/contexts/:project/packs': Buffer.from('x'),
      'PUT /api/v1/contexts/:project/bodies/:digest': Buffer.from('x'),
      'POST /api/v1/images/load': Buffer.from('x'),
      'POST /api/v1/images/import': Buffer.from('x'),
      'POST /api/v1/contexts/archive': Buffer.from('FROM scratch\n'),
    };
    for (const { method, path } of routes) {
      const concrete = path
        .replace(/:name\+/g, 'team/app')
        .replace(':digest', sha256('x'))
        .replace('contexts/:id', `contexts/${sha256('x')}`)
        .replace(/:[a-z]+/gi, 'x');
      const name = `${method} ${path}`;
      const { status, value } = await call(token, method, `${concrete}?project=web&size=1`, bodies[name]);
      const code = Array.isArray(value) ? value[0]?.error?.code : value?.error?.code;
      if (status < 300 && code === undefined) opened.push(name);
      // Not found: a build that is not there has no project, a transfer no repository.
      else expect([name, ['UNAUTHORIZED', 'NOT_FOUND', 'INVALID_ARCHIVE']]).toEqual([name, expect.arrayContaining([code])]);
      if (code === 'NOT_FOUND') expect(path).toMatch(/\/(builds|transfers)\/:id/);
    }
    expect(opened.toSorted()).toEqual(['GET /api/openapi.json', 'GET /api/v1']);
  });
});

describe('builds', () => {
  it('take the project, the repositories they push, and those they read, said all at once', async () => {
    const body = build({
      tags: ['team/app:1', 'team/app:2'],
      dockerfile: {
        name: 'D',
        text: 'ARG B=team/base\nFROM $B AS b\nFROM scratch\nCOPY --from=b / /\nCOPY --from=team/tools /a /\n',
      },
    });
    const { status, challenge, value } = await call(tokenOf('ann'), 'POST', '/api/v1/builds', body);
    const scope = 'project:default:build repository:team/app:pull,push repository:team/base:pull repository:team/tools:pull';
    expect([status, challenge, value.error.details]).toEqual([401, asked(scope), { scope }]);
    const some = tokenOf('ann', 'project:default:build', 'repository:team/app:pull,push', 'repository:team/base:pull');
    expect((await call(some, 'POST', '/api/v1/builds', body)).challenge).toBe(asked('repository:team/tools:pull'));
  });

  it('read nothing that only a base from elsewhere asks for, and its maker may not pull', async () => {
    const records = await home.parts.builds();
    const id = await records.start(build({ dockerfile: { name: 'D', text: 'FROM secret/app\n' } }) as never, {
      by: 'ann',
      reads: [],
    });
    const events = await Array.fromAsync(records.events(id));
    expect(events.at(-1)!.event).toMatchObject({ type: 'error', failure: { code: 'DENIED' } });
  });

  it('are seen and cancelled by their maker, and by others with the right to', async () => {
    const ann = tokenOf('ann', 'project:web:build');
    const id = await built(ann, { context: { kind: 'none', project: 'web' } });
    expect((await call(ann, 'GET', `/api/v1/builds/${id}`)).value).toMatchObject({ by: 'ann', project: 'web', reads: [] });
    const others: [string, number, number][] = [
      [tokenOf('bob', 'project:web:build'), 401, 401],
      [tokenOf('bob', 'project:web:view'), 200, 401],
      [tokenOf('bob', 'project:web:manage'), 401, 202],
      [tokenOf('bob', 'project:default:view,build,manage'), 401, 401],
      [tokenOf('ann', 'project:default:build'), 401, 401],
      [ann, 200, 202],
    ];
    for (const [token, sees, cancels] of others) {
      expect((await call(token, 'GET', `/api/v1/builds/${id}`)).status).toBe(sees);
      expect((await call(token, 'GET', `/api/v1/builds/${id}/events`)).status).toBe(sees);
      expect((await call(token, 'GET', `/api/v1/builds/${id}/events?follow=false`)).status).toBe(sees);
      expect((await call(token, 'POST', `/api/v1/builds/${id}/cancel`)).status).toBe(cancels);
    }
    expect((await call(tokenOf('bob'), 'GET', `/api/v1/builds/${id}`)).challenge).toBe(asked('project:web:view'));
    expect((await call(tokenOf('ann'), 'POST', `/api/v1/builds/${id}/cancel`)).challenge).toBe(asked('project:web:build,manage'));
  });

  it('are listed as far as they may be seen, page by page', async () => {
    const ids: string[] = [];
    for (const [who, project] of [
      ['ann', 'list'],
      ['bob', 'list'],
      ['ann', 'list'],
      ['bob', 'hidden'],
    ] as const)
      ids.unshift(await built(tokenOf(who, `project:${project}:build`), { context: { kind: 'none', project } }));
    const list = async (token: string, query: string) => (await call(token, 'GET', `/api/v1/builds?project=list${query}`)).value;
    const names = (value: { builds: { id: string }[] }) => value.builds.map((one) => one.id);
    const [, second, third, fourth] = ids;
    const ann = tokenOf('ann', 'project:list:build');
    expect(names(await list(ann, ''))).toEqual([second, fourth]);
    const page = await list(ann, '&limit=1');
    expect([names(page), page.next]).toEqual([[second], second]);
    expect(names(await list(ann, `&limit=1&after=${page.next}`))).toEqual([fourth]);
    expect(names(await list(tokenOf('eve', 'project:list:view'), ''))).toEqual([second, third, fourth]);
    const all = (await call(tokenOf('eve', 'project:list:view'), 'GET', '/api/v1/builds')).value;
    expect(names(all)).toEqual([second, third, fourth]);
    expect((await call(ann, 'GET', '/api/v1/builds?project=hidden')).challenge).toBe(asked('project:hidden:view,build'));
    expect((await call(tokenOf('ann'), 'GET', '/api/v1/builds')).challenge).toBe(asked('project:default:view,build'));
  });
});

describe('names with the host of the home itself', () => {
  it('are those without it, for tags, bases and images', async () => {
    const body = build({
      tags: [`${service}/own/app:1`],
      dockerfile: { name: 'D', text: `FROM ${service}/own/base\n` },
    });
    const { challenge } = await call(tokenOf('ann'), 'POST', '/api/v1/builds', body);
    expect(challenge).toBe(asked('project:default:build repository:own/app:pull,push repository:own/base:pull'));
    const ann = tokenOf('ann', 'project:default:build', 'repository:own/app:pull,push');
    const dockerfile = { name: 'D', text: 'FROM scratch\nENV OWN=1\n' };
    const id = await built(ann, { tags: [`${service}/own/app:1`], dockerfile });
    expect((await call(ann, 'GET', `/api/v1/builds/${id}`)).value).toMatchObject({ tags: ['own/app:1'] });
    for (const name of ['own/app:1', `${service}/own/app:1`])
      expect((await call(ann, 'GET', `/api/v1/images/${name}/inspect`)).value).toMatchObject({ RepoTags: ['own/app:1'] });
    expect((await call(tokenOf('ann'), 'GET', '/api/v1')).value).toMatchObject({ name: 'slipway', registry: service });
  });
});

describe('uploads', () => {
  it('count for who began them', async () => {
    const scope = 'project:web:build';
    const digest = sha256('some bytes');
    const begun = await call(tokenOf('ann', scope), 'POST', '/api/v1/blobs', { digest, size: 10 });
    const { upload } = begun.value;
    const confirm = (who: string) => call(tokenOf(who, scope), 'POST', `/api/v1/blobs/${digest}/confirm`, { upload, size: 10 });
    const adopt = (who: string) =>
      call(tokenOf(who, scope), 'POST', '/api/v1/contexts/web/adopt', { kind: 'body', upload, digest, size: 10 });
    expect([(await confirm('bob')).value.error.code, (await adopt('bob')).value.error.code]).toEqual([
      'UPLOAD_UNKNOWN',
      'UPLOAD_UNKNOWN',
    ]);
    expect((await confirm('ann')).status).toBe(200);
    // Known as hers: refused for another reason.
    expect((await adopt('ann')).value.error.code).toBe('USAGE');
  });

  it('and contexts are for who may build in the project', async () => {
    const list = new Context([]).encode();
    const { status, challenge } = await call(tokenOf('bob', 'project:web:view'), 'POST', '/api/v1/contexts?project=web', list);
    expect([status, challenge]).toEqual([401, asked('project:web:build')]);
    expect((await call(tokenOf('bob', 'project:web:build'), 'POST', '/api/v1/contexts?project=web', list)).status).toBe(201);
  });
});

describe('images', () => {
  it('are for who may pull, push or delete them by name, and by ID for who sees all', async () => {
    const id = await built(tokenOf('ann', 'project:default:build', 'repository:one/app:pull,push'), { tags: ['one/app:1'] });
    const image = (await (await home.parts.builds()).get(id)).image!;
    const inspect = (token: string, name: string) => call(token, 'GET', `/api/v1/images/${name}/inspect`);
    expect((await inspect(tokenOf('bob', 'repository:one/app:pull'), 'one/app:1')).value.Id).toBe(image);
    expect((await inspect(tokenOf('bob', 'repository:two/app:pull'), 'one/app:1')).challenge).toBe(
      asked('repository:one/app:pull'),
    );
    for (const word of [image, image.slice(7), image.slice(7, 19)]) {
      // A repository of that name would be bob's; the image is not.
      const bob = tokenOf('bob', `repository:${word.replace('sha256:', '')}:pull`, 'repository:one/app:pull');
      expect([(await inspect(bob, word)).status, word]).toEqual([401, word]);
    }
    expect((await inspect(tokenOf('eve', 'registry:catalog:*'), image)).value.Id).toBe(image);
    const tag = (token: string) => call(token, 'POST', '/api/v1/images/one/app:1/tag', { target: 'two/app:1' });
    expect((await tag(tokenOf('bob', 'repository:one/app:pull'))).challenge).toBe(asked('repository:two/app:pull,push'));
    expect((await tag(tokenOf('bob', 'repository:two/app:push'))).challenge).toBe(asked('repository:one/app:pull'));
    expect((await tag(tokenOf('bob', 'repository:one/app:pull', 'repository:two/app:push'))).status).toBe(201);
    const remove = (token: string, name: string) => call(token, 'DELETE', `/api/v1/images/${name}`);
    expect((await remove(tokenOf('bob', 'repository:two/app:pull,push'), 'two/app:1')).status).toBe(401);
    expect((await remove(tokenOf('bob', 'repository:two/app:delete'), 'two/app:1')).status).toBe(200);
    // The last name: it would leave both repositories.
    expect((await remove(tokenOf('bob', 'repository:one/app:delete'), 'one/app:1')).challenge).toBe(
      asked('repository:two/app:delete'),
    );
    expect((await remove(tokenOf('bob', 'repository:one/app:delete', 'repository:two/app:delete'), 'one/app:1')).status).toBe(
      200,
    );
  });
});

describe('transfers', () => {
  const started: { verb: string; options: StartTransfer }[] = [];
  const facts: TransferFacts = { id: 'x', verb: 'pull', reference: 'ghcr.io/team/app:1', state: 'queued', created: 1, by: 'ann' };
  let verb: 'pull' | 'push' = 'pull';
  let cancelled = 0;
  let transferring: ApiFetch;
  const ask = (token: string, method: string, path: string, request?: unknown) =>
    call(token, method, path, request, transferring);
  beforeAll(() => {
    const transfers: TransferService = {
      start: async (asked, _, options) => {
        started.push({ verb: asked, options });
        return 'x';
      },
      get: async () => ({ ...facts, verb }),
      async *events() {
        yield { number: 1, kind: 'done', name: 'n', canonical: 'c', fresh: true };
      },
      cancel: async () => {
        cancelled++;
      },
    };
    const verify = (token: string) => keys.verify(token, { kind: 'access', audience: service, now });
    const guard = tokenAccess(verify, { url: `https://${service}`, service });
    transferring = createApi({ ...home.parts, host: service, transfers: async () => transfers }, { sameMachine: false, guard });
  });
  const name = 'ghcr.io/team/app';
  const body = { reference: `${name}:1`, clientToken: 't' };

  it('into the home give tags, and out of it read: begun, watched and stopped by who may', async () => {
    const reader = tokenOf('bob', `repository:${name}:pull`);
    const writer = tokenOf('ann', `repository:${name}:pull,push`, 'repository:team/base:pull');
    for (const token of [tokenOf('eve'), tokenOf('eve', 'repository:team/app:pull,push'), reader]) {
      const refused = await ask(token, 'POST', '/api/v1/images/pull', body);
      expect([refused.status, refused.challenge]).toEqual([401, asked(`repository:${name}:pull,push`)]);
    }
    expect((await ask(tokenOf('eve'), 'POST', '/api/v1/images/push', body)).challenge).toBe(asked(`repository:${name}:pull`));
    expect(started).toEqual([]);
    expect(await ask(writer, 'POST', '/api/v1/images/pull', body)).toMatchObject({ status: 202, value: { id: 'x' } });
    const login = { username: 'u', password: 'p' };
    expect((await ask(reader, 'POST', '/api/v1/images/push', { ...body, login })).status).toBe(202);
    const all = tokenOf('root', `repository:${name}:pull,push`, 'registry:catalog:*');
    expect((await ask(all, 'POST', '/api/v1/images/pull', body)).status).toBe(202);
    expect(started).toEqual([
      { verb: 'pull', options: { clientToken: 't', by: 'ann', reads: [name, 'team/base'], login: 'nobody' } },
      { verb: 'push', options: { clientToken: 't', by: 'bob', reads: [name], login } },
      { verb: 'pull', options: { clientToken: 't', by: 'root', login: 'nobody' } },
    ]);

    for (const [method, path] of [
      ['GET', ''],
      ['GET', '/events'],
      ['POST', '/cancel'],
    ] as const) {
      const at = `/api/v1/transfers/x${path}`;
      verb = 'pull';
      expect((await ask(reader, method, at)).challenge).toBe(asked(`repository:${name}:pull,push`));
      expect((await ask(writer, method, at)).status).toBeLessThan(300);
      verb = 'push';
      expect((await ask(reader, method, at)).status).toBeLessThan(300);
      expect((await ask(tokenOf('eve'), method, at)).challenge).toBe(asked(`repository:${name}:pull`));
    }
    expect(cancelled).toBe(2);
  });

  it('are not begun with a request that makes no sense, nor for what is here already', async () => {
    const before = started.length;
    const token = tokenOf('root', `repository:${name}:pull,push`);
    const codeOf = async (verb: string, request: object) =>
      (await ask(token, 'POST', `/api/v1/images/${verb}`, request)).value.error.code;
    expect(await codeOf('pull', { reference: `${service}/team/app` })).toBe('USAGE');
    expect(await codeOf('pull', { reference: `${name}:1`, allTags: true })).toBe('USAGE');
    expect(await codeOf('push', { reference: `${name}@${sha256('x')}` })).toBe('INVALID_REFERENCE');
    expect(await codeOf('pull', { reference: `${name}:1`, platform: 'no/such/thing/at all' })).toBe('INVALID_PLATFORM');
    expect(await codeOf('pull', { reference: `${name}:1`, login: 'x' })).toBe('INVALID_DOCUMENT');
    expect(started).toHaveLength(before);
  });
});
