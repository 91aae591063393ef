// Stands where CloudFront and API Gateway's edge stand, in front of an emulator's API: puts the stage before the path (CloudFront's
// origin path), and does to messages what API Gateway does and emulators do not (reference: API Gateway developer guide, "known issues"
// and "quotas"). On a real gateway all of this happens by itself.
import { readFileSync } from 'node:fs';
import {
  createServer,
  type IncomingHttpHeaders,
  type IncomingMessage,
  request,
  type Server,
  type ServerResponse,
} from 'node:http';
import type { AddressInfo } from 'node:net';

export interface GatewayProxyOptions {
  /** The stage's own URL, such as http://127.0.0.1:4566/_aws/execute-api/ID/live. May be said later, by `aim`. */
  readonly stageUrl?: string;
  /** 0 takes any free one. */
  readonly port?: number;
}

export interface GatewayProxy extends AsyncDisposable {
  readonly url: string;
  readonly host: string;
  aim(stageUrl: string): void;
  stop(): Promise<void>;
}

/** API Gateway's payload limit, which nothing raises. */
const payloadLimit = 10 * 1024 * 1024;
/** Of all header lines together. */
const headersLimit = 10_240;

const hopByHop = new Set([
  'connection',
  'keep-alive',
  'transfer-encoding',
  'upgrade',
  'te',
  'trailer',
  'proxy-connection',
  'expect',
]);
/** What the gateway does not let a function say; it comes out as x-amzn-Remapped-NAME. */
const remapped = new Set(['www-authenticate', 'server', 'user-agent', 'authorization']);

type Headers = Record<string, string | string[]>;
interface FrontRequest {
  readonly method: string;
  readonly uri: string;
  readonly headers: Record<string, { readonly value: string }>;
}
const frontCode = readFileSync(new URL('../../infra/front-request.js', import.meta.url), 'utf8');
/** An answer in place of the request. */
interface FrontAnswer {
  readonly statusCode: number;
  readonly headers: Record<string, { readonly value: string }>;
  readonly body: { readonly data: string };
}
const front = new Function(`${frontCode}\nreturn handler;`)() as (event: {
  readonly request: FrontRequest;
}) => FrontRequest | FrontAnswer;

export async function startGatewayProxy({ stageUrl, port = 0 }: GatewayProxyOptions = {}): Promise<GatewayProxy> {
  let target = stageUrl;
  const server: Server = createServer((incoming, outgoing) => {
    pass(target, incoming, outgoing).catch((error: unknown) => {
      if (!outgoing.headersSent) outgoing.writeHead(502, { 'content-type': 'text/plain' });
      outgoing.end(`gateway proxy: ${error instanceof Error ? error.message : String(error)}\n`);
    });
  });
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(port, '127.0.0.1', resolve);
  });
  const host = `127.0.0.1:${(server.address() as AddressInfo).port}`;
  const stop = async (): Promise<void> => {
    const closed = new Promise<void>((resolve) => server.close(() => resolve()));
    server.closeAllConnections();
    await closed;
  };
  return {
    url: `http://${host}`,
    host,
    aim(url) {
      target = url;
    },
    stop,
    [Symbol.asyncDispose]: stop,
  };
}

interface Answer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly body: Buffer;
}

async function pass(target: string | undefined, incoming: IncomingMessage, outgoing: ServerResponse): Promise<void> {
  if (target === undefined) throw new Error('nothing is deployed behind it yet');
  const headerBytes = incoming.rawHeaders.reduce((sum, text) => sum + text.length + 2, 0);
  if (headerBytes > headersLimit) {
    outgoing.writeHead(431).end();
    return;
  }
  const asked = throughFront(incoming);
  if ('statusCode' in asked) {
    // Read, or the client would hear of a broken connection first.
    for await (const _ of incoming);
    outgoing.writeHead(
      asked.statusCode,
      Object.fromEntries(Object.entries(asked.headers).map(([name, { value }]) => [name, value])),
    );
    outgoing.end(asked.body.data);
    return;
  }
  const body = await collect(incoming, payloadLimit);
  if (body === undefined) {
    const { status, text } = await tooLarge(target);
    // What is left of the body is nobody's any more.
    outgoing.writeHead(status, {
      'content-type': 'application/json',
      'content-length': Buffer.byteLength(text),
      connection: 'close',
    });
    outgoing.end(text);
    return;
  }
  const headers: Headers = {};
  for (const [name, value] of Object.entries(incoming.headers)) {
    const set = asCloudFrontSpells(name) in asked.added;
    if (value !== undefined && !set && !hopByHop.has(name) && name !== 'host') headers[name] = value;
  }
  if (incoming.headers.host !== undefined) headers['x-forwarded-host'] = incoming.headers.host;
  Object.assign(headers, asked.added);
  // A gateway takes a body without a type for JSON, and tells its function a length that it counted.
  if (body.length > 0) headers['content-type'] ??= 'application/json';
  headers.accept ??= '*/*';
  headers['content-length'] = String(body.length);
  const answer = await send(`${target.replace(/\/$/, '')}${incoming.url ?? '/'}`, incoming.method ?? 'GET', headers, body);
  const reply: Record<string, string | string[]> = {};
  // Only the gateway's own errors have this header: what they say is not renamed.
  const ownAnswer = answer.headers['x-amzn-errortype'] !== undefined;
  for (const [name, value] of Object.entries(answer.headers)) {
    if (value === undefined || hopByHop.has(name) || name === 'content-length') continue;
    reply[remapped.has(name) && !ownAnswer ? `x-amzn-remapped-${name}` : name] = value;
  }
  // The emulator sends no body for HEAD; the length it states there is of its own counting too.
  const length = incoming.method === 'HEAD' ? (answer.headers['content-length'] ?? '0') : String(answer.body.length);
  if (answer.status !== 204 && answer.status !== 304) reply['content-length'] = length;
  outgoing.writeHead(answer.status, reply);
  outgoing.end(incoming.method === 'HEAD' ? undefined : answer.body);
}

/** As CloudFront runs a function at each request, and spells what that adds. Here realms are plain HTTP. */
function throughFront({ method = 'GET', url = '/', headers }: IncomingMessage): FrontAnswer | { readonly added: Headers } {
  const seen = new Set(['host', 'authorization', 'content-length']);
  const asked = Object.fromEntries(
    Object.entries(headers).flatMap(([name, value]) => (seen.has(name) ? [[name, { value: String(value) }]] : [])),
  );
  // It changes what it is given.
  const answer = front({ request: { method, uri: url.replace(/\?.*/s, ''), headers: { ...asked } } });
  if ('statusCode' in answer) return answer;
  const added = Object.entries(answer.headers).filter(([name]) => !(name in asked));
  return {
    added: Object.fromEntries(
      added.map(([name, { value }]) => [asCloudFrontSpells(name), value.replace('realm="https:', 'realm="http:')]),
    ),
  };
}

/** A header that a function added (CloudFront developer guide, "CloudFront Functions event structure"). */
export const asCloudFrontSpells = (name: string): string => name.replace(/(^|-)[a-z]/g, (first) => first.toUpperCase());

async function collect(stream: AsyncIterable<Buffer>, limit: number): Promise<Buffer | undefined> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of stream) {
    size += chunk.length;
    if (size > limit) return undefined;
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

function send(url: string, method: string, headers: Record<string, string | string[]>, body: Buffer): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const sent = request(url, { method, headers }, (answer) => {
      const chunks: Buffer[] = [];
      answer.on('data', (chunk: Buffer) => chunks.push(chunk));
      answer.on('error', reject);
      answer.on('end', () => resolve({ status: answer.statusCode ?? 502, headers: answer.headers, body: Buffer.concat(chunks) }));
    });
    sent.on('error', reject);
    sent.end(body);
  });
}

/** The API's own answer for too large a payload, as the stack defined it. */
async function tooLarge(target: string): Promise<{ readonly status: number; readonly text: string }> {
  const { origin, pathname } = new URL(target);
  const id = /execute-api\/([^/]+)\//.exec(pathname)?.[1];
  const found = await fetch(`${origin}/restapis/${id}/gatewayresponses/REQUEST_TOO_LARGE`, {
    // The emulator finds the service by the scope of a signature, which it does not check.
    headers: {
      authorization:
        'AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/apigateway/aws4_request, SignedHeaders=host, Signature=0',
    },
  });
  const document = (await found.json()) as { responseTemplates?: Record<string, string>; statusCode?: string };
  return {
    status: Number(document.statusCode ?? 413),
    text: document.responseTemplates?.['application/json'] ?? '{"message":"Request Too Long"}',
  };
}
