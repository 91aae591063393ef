// A home as an account has it, in this process: control API, registry and token service as the functions have them, each request an event of
// API Gateway's and each answer a result of a function, with their limits. Blobs leave by links, as they leave S3. Unlike a deployed stack it
// takes no time to start, and its stores can be looked into.
import { randomBytes } from 'node:crypto';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import type { APIGatewayProxyEvent } from 'aws-lambda';
import { answerLimit, apiHandler } from '../../functions/api-gateway.ts';
import { bodyLimit, chunkLimit, type GatewayResult, gatewayHandler } from '../../functions/gateway.ts';
import { type Home, openHome } from '../../local/home.ts';
import { createApi } from '../../shared/api/app.ts';
import { tokenAccess } from '../../shared/api/token-access.ts';
import { Accounts } from '../../shared/auth/accounts.ts';
import type { Grant } from '../../shared/auth/grants.ts';
import { Issuer } from '../../shared/auth/issuer.ts';
import { authorizerMemory, TokenKeys } from '../../shared/auth/token.ts';
import { isDigest } from '../../shared/oci/digest.ts';
import { createRegistry } from '../../shared/registry/app.ts';
import { tokenEndpoint } from '../../shared/registry/token-endpoint.ts';
import { tokenGuard } from '../../shared/registry/token-guard.ts';
import type { BlobLinks, Blobs } from '../../shared/store/blobs.ts';

export interface GatewayHome extends AsyncDisposable {
  readonly url: string;
  /** What images are called by others. */
  readonly host: string;
  readonly home: Home;
  /** Method and path of each request, digests shortened to `sha256:ab..`. */
  readonly requests: string[];
  /** Scopes that tokens were asked for. */
  readonly scopes: Set<string>;
  /** Called with each request before it is answered. */
  onRequest: (name: string) => void;
  /** Makes an account; answers its password. */
  account(name: string, grants: readonly Grant[]): Promise<string>;
}

export async function gatewayHome(root: string): Promise<GatewayHome> {
  const home = await openHome({ env: { SLIPWAY_HOME: root }, now: Date.now, served: true });
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const host = `127.0.0.1:${(server.address() as AddressInfo).port}`;
  const url = `http://${host}`;
  const keys = new TokenKeys(randomBytes(32).toString('hex'));
  const now = () => Date.now() / 1000;
  const accounts = new Accounts({ table: home.parts.table, now, cost: { n: 1024, r: 8, p: 1 } });
  const issuer = new Issuer({ accounts, keys: async () => keys, audience: host, anonymousPull: [], now });
  const verify = (text: string) => keys.verify(text, { kind: 'access', audience: host, now: now(), left: authorizerMemory });
  const blobs = linked(home.parts.blobs, url);
  const parts = { ...home.parts, blobs, host, limits: { request: bodyLimit, answer: answerLimit } };
  const guard = tokenAccess(verify, { url, service: host });
  const api = apiHandler(async () => createApi(parts, { sameMachine: false, guard }));
  const registry = gatewayHandler(
    createRegistry({ blobs, catalog: parts.catalog, ...tokenGuard(verify), chunkLimit, requestId: () => 'id' }).handle,
  );
  const token = gatewayHandler(tokenEndpoint({ issuer, requestId: () => 'id' }));
  const requests: string[] = [];
  const scopes = new Set<string>();
  const own: GatewayHome = {
    url,
    host,
    home,
    requests,
    scopes,
    onRequest: () => undefined,
    account: async (name, grants) => (await accounts.create({ name, kind: 'robot', grants })).password,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
      await home[Symbol.asyncDispose]();
    },
  };

  const serve = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const at = new URL(request.url ?? '/', url);
    const name = `${request.method} ${at.pathname.replace(/(sha256:..)[0-9a-f]{62}/g, '$1..').replace(/uploads\/.+/, 'uploads/ID')}`;
    requests.push(name);
    own.onRequest(name);
    if (at.pathname.startsWith('/bucket/')) {
      const digest = at.pathname.slice('/bucket/'.length);
      const blob = isDigest(digest) ? await home.parts.blobs.open(digest) : undefined;
      response.writeHead(blob === undefined ? 404 : 200, blob && { 'content-length': blob.size });
      await pipeline(blob === undefined ? Readable.from([]) : Readable.fromWeb(blob.body as never), response);
      return;
    }
    const body = Buffer.concat(await Array.fromAsync(request as AsyncIterable<Buffer>));
    const event = {
      httpMethod: request.method ?? 'GET',
      path: at.pathname,
      headers: {},
      multiValueHeaders: Object.fromEntries(
        Object.entries(request.headers).map(([header, value]) => [header, [value].flat().filter((one) => one !== undefined)]),
      ),
      multiValueQueryStringParameters: Object.fromEntries(
        Array.from(at.searchParams.keys(), (key) => [key, at.searchParams.getAll(key)]),
      ),
      body: body.length === 0 ? null : body.toString('base64'),
      isBase64Encoded: true,
    } as unknown as APIGatewayProxyEvent;
    const form = new URLSearchParams(at.pathname === '/token' ? body.toString() : '');
    for (const scope of [...at.searchParams.getAll('scope'), ...form.getAll('scope')].join(' ').split(' ')) scopes.add(scope);
    const handler = at.pathname.startsWith('/api/') ? api : at.pathname === '/token' ? token : registry;
    send(await handler(event), request.method === 'HEAD', response);
  };

  const send = (result: GatewayResult, head: boolean, response: ServerResponse): void => {
    const bytes = Buffer.from(result.body, result.isBase64Encoded ? 'base64' : 'utf8');
    const { 'www-authenticate': challenge, ...headers } = {
      ...(result.headers as Record<string, string> | undefined),
      ...(result.multiValueHeaders as Record<string, string[]> | undefined),
    };
    response.writeHead(result.statusCode, {
      ...headers,
      'content-length': bytes.length,
      ...(challenge === undefined ? {} : { 'x-amzn-remapped-www-authenticate': challenge }),
      // The gateway's own, by which registry clients find the token service.
      ...(result.statusCode === 401 && challenge === undefined
        ? { 'www-authenticate': `Bearer realm="${url}/token",service="${host}"` }
        : {}),
    });
    response.end(head ? undefined : bytes);
  };
  server.on('request', (request, response) => {
    serve(request, response).catch((error: unknown) => response.destroy(error instanceof Error ? error : undefined));
  });
  return own;
}

/** Blobs that can be read past the home. */
function linked(blobs: Blobs, url: string): Blobs {
  const no = () => Promise.reject(new Error('this store takes no direct uploads'));
  const link: BlobLinks = {
    read: async (digest) => ((await blobs.stat(digest)) === undefined ? undefined : `${url}/bucket/${digest}`),
    write: no,
    confirm: no,
  };
  return new Proxy(blobs, {
    get(target, name) {
      if (name === 'link') return link;
      const value: unknown = Reflect.get(target, name, target);
      return typeof value === 'function' ? value.bind(target) : value;
    },
  });
}
