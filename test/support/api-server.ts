// The control API of a home over node:http, behind a token: what a command line elsewhere meets. It counts what travels, and can lose
// connections; with `direct`, contents are put straight into a store of its own, as presigned URLs of S3 are used.
import { createHash, randomBytes } from 'node:crypto';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { openHome } from '../../local/home.ts';
import { createApi } from '../../shared/api/app.ts';
import type { ApiFetch } from '../../shared/api/http.ts';
import type { ApiParts } from '../../shared/api/parts.ts';
import { SlipwayError } from '../../shared/errors.ts';
import type { BlobLinks, BlobStat, Blobs } from '../../shared/store/blobs.ts';
import type { Table } from '../../shared/store/table.ts';

export interface ApiServer extends AsyncDisposable {
  readonly url: string;
  readonly token: string;
  /** Bytes of request bodies by method and path, with ids left out: `PUT /contexts/P/packs`. */
  readonly sent: ReadonlyMap<string, number>;
  /** Bytes of context contents that came in, through the API or past it. */
  contents(): number;
  /** Cuts the connection of the next `times` answers of event streams after so many bytes. */
  cutEvents(times: number, bytes: number): void;
  readonly requests: readonly string[];
}

export interface ApiServerOptions {
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly direct?: boolean;
  /** Other stores than those of the home, for everything but builds. */
  readonly stores?: { readonly blobs: Blobs; readonly table: Table };
  /** Other parts than the home's own. */
  readonly parts?: (own: ApiParts) => Partial<ApiParts>;
  /** Basic instead of a bare token. */
  readonly login?: { readonly username: string; readonly password: string };
}

export async function apiServer({ env, direct = false, stores, parts, login }: ApiServerOptions): Promise<ApiServer> {
  const home = await openHome({ env, now: Date.now, served: true });
  const token = randomBytes(16).toString('hex');
  const wanted =
    login === undefined ? `Bearer ${token}` : `Basic ${Buffer.from(`${login.username}:${login.password}`).toString('base64')}`;
  const sent = new Map<string, number>();
  const requests: string[] = [];
  let url = '';
  let cuts = 0;
  let cutAfter = 0;
  const bucket = directStore(home.parts.blobs, () => url);
  const own = parts?.(home.parts) ?? stores ?? (direct ? { blobs: bucket.blobs } : undefined);
  const api: ApiFetch = own === undefined ? home.fetch : createApi({ ...home.parts, ...own });

  const serve = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const path = request.url ?? '/';
    const name = `${request.method} ${path
      .replace(/\?.*/, '')
      .replace('/api/v1', '')
      .replace(/(sha256:)?[0-9a-f-]{32,}/g, 'ID')}`;
    requests.push(name);
    const count = async function* () {
      for await (const chunk of request as AsyncIterable<Buffer>) {
        sent.set(name, (sent.get(name) ?? 0) + chunk.length);
        yield chunk;
      }
    };
    if (path.startsWith('/bucket/')) {
      const status = await bucket.put(path, request.headers['x-amz-checksum-sha256'], count());
      response.writeHead(status).end();
      return;
    }
    if (request.headers.authorization !== wanted) {
      request.resume();
      response.writeHead(401, { 'www-authenticate': 'Basic realm="test"', 'content-type': 'text/plain' }).end('who are you?');
      return;
    }
    const gone = new AbortController();
    response.once('close', () => gone.abort());
    const answer = await api({
      method: request.method ?? 'GET',
      url: `http://server${path}`,
      headers: { get: (header) => (request.headers[header.toLowerCase()] as string | undefined) ?? null },
      body: ['GET', 'HEAD'].includes(request.method ?? 'GET') ? null : count(),
      signal: gone.signal,
    });
    response.writeHead(answer.status, answer.headers);
    if (answer.body === null || answer.body instanceof Uint8Array) {
      response.end(answer.body ?? undefined);
      return;
    }
    if (path.includes('/events') && cuts > 0) {
      cuts--;
      let bytes = 0;
      for await (const chunk of answer.body) {
        response.write(chunk);
        bytes += chunk.length;
        if (bytes < cutAfter) continue;
        await new Promise((resolve) => setTimeout(resolve, 20));
        response.destroy();
        return;
      }
      response.end();
      return;
    }
    await pipeline(Readable.from(answer.body), response).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== 'ERR_STREAM_PREMATURE_CLOSE') throw error;
    });
  };
  const server = createServer((request, response) => {
    serve(request, response).catch((error: unknown) => response.destroy(error instanceof Error ? error : undefined));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  return {
    url,
    token,
    sent,
    requests,
    contents: () =>
      [...sent].filter(([name]) => /\/packs$|\/bodies\/|^PUT \/bucket\//.test(name)).reduce((sum, [, bytes]) => sum + bytes, 0),
    cutEvents(times, bytes) {
      cuts = times;
      cutAfter = bytes;
    },
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
      await home[Symbol.asyncDispose]();
    },
  };
}

/** Presigned uploads as S3 has them: a URL takes the bytes of one digest, and they are seen only once confirmed. */
function directStore(blobs: Blobs, origin: () => string) {
  const objects = new Map<string, { readonly blob: BlobStat; bytes?: Buffer }>();
  const link: BlobLinks = {
    read: async () => undefined,
    async write(blob) {
      const id = randomBytes(16).toString('hex');
      objects.set(id, { blob });
      const checksum = Buffer.from(blob.digest.slice(7), 'hex').toString('base64');
      return {
        id,
        url: `${origin()}/bucket/${id}`,
        headers: { 'x-amz-checksum-sha256': checksum, 'content-length': String(blob.size) },
      };
    },
    async confirm(id, blob, { proven = false } = {}) {
      const bytes = objects.get(id)?.bytes;
      if (bytes === undefined) {
        const there = proven ? undefined : await blobs.stat(blob.digest);
        if (there !== undefined) return there;
        throw new SlipwayError('UPLOAD_UNKNOWN', `no bytes arrived under ${id}`);
      }
      return await blobs.put(Readable.from([bytes]), blob);
    },
  };
  return {
    blobs: new Proxy(blobs, {
      get(target, name) {
        if (name === 'link') return link;
        const value: unknown = Reflect.get(target, name, target);
        return typeof value === 'function' ? value.bind(target) : value;
      },
    }),
    async put(path: string, checksum: string | string[] | undefined, body: AsyncIterable<Buffer>): Promise<number> {
      const object = objects.get(path.slice('/bucket/'.length));
      const bytes = Buffer.concat(await Array.fromAsync(body));
      const actual = createHash('sha256').update(bytes).digest('base64');
      if (object === undefined || checksum !== actual || bytes.length !== object.blob.size) return 403;
      object.bytes = bytes;
      return 200;
    },
  };
}
