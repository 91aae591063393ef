// API Gateway's events as calls, and replies as its answers: REST APIs (payload 1.0) and HTTP APIs (2.0). Bodies stay what they are,
// byte for byte: a manifest's digest is that of its bytes.
import { isUtf8 } from 'node:buffer';
import type { APIGatewayProxyEvent, APIGatewayProxyEventV2, APIGatewayProxyResult } from 'aws-lambda';
import { OciError } from '../shared/registry/errors.ts';
import type { Call, Handler, Reply } from '../shared/registry/exchange.ts';

export type GatewayEvent = APIGatewayProxyEvent | APIGatewayProxyEventV2;
/** What both kinds of API take as an answer. */
export type GatewayResult = APIGatewayProxyResult;

/**
 * Bytes of a body that reach a function: an event has 6 MB at most, and a binary body travels in it as base64, beside its headers
 * twice. A gateway refuses what is larger in words of its own; up to here and no further, wherever the function runs.
 */
export const bodyLimit = 4_500_000;
/** A text answer grows by an escape for every quote, base64 by a third whatever is in it. */
const textLimit = 1024 * 1024;

/** What a client is told to cut its uploads into. */
export const chunkLimit = 4 * 1024 * 1024;

export const tooLarge = `more than ${bodyLimit / 1e6} MB in one request do not pass the gateway: "slipway push", "slipway load" and "slipway build" send any size; other clients push in chunks of 4 MiB at most, or by an upload host (docs/account.md, Large layers)`;

/** A Lambda handler that answers by `handle`. */
export function gatewayHandler(handle: Handler): (event: GatewayEvent) => Promise<GatewayResult> {
  return async (event) => {
    const call = callOf(event);
    const reply = await handle(call);
    // The gateway counts a body and says its length, whatever the function says. For HEAD it counts too and sends nothing, so HEAD is
    // answered with what GET would send.
    const countable = reply.status === 200 && reply.body === undefined && lengthOf(reply) > 0;
    if (call.method === 'HEAD' && countable) return resultOf(await handle({ ...call, method: 'GET' }), call.signal);
    return resultOf(reply, call.signal);
  };
}

/** The event as a Call. A body over {@link bodyLimit} fails when it is read, so that what checks the caller comes first. */
export function callOf(event: GatewayEvent): Call {
  const bytes = event.body ? Buffer.from(event.body, event.isBase64Encoded ? 'base64' : 'utf8') : undefined;
  const { method, path, query, headers } = 'rawPath' in event ? partsOfV2(event) : partsOfV1(event);
  // What came and not what was announced: the client's number may be of another encoding, and chunked bodies have none.
  headers.delete('transfer-encoding');
  if (bytes !== undefined || bodied.has(method)) headers.set('content-length', String(bytes?.length ?? 0));
  return {
    method,
    path,
    query,
    header: (name) => headers.get(name),
    body: bodyOf(bytes),
    // The gateway does not tell a function that its client has gone.
    signal: new AbortController().signal,
  };
}

const bodied: ReadonlySet<string> = new Set(['POST', 'PUT', 'PATCH']);

async function* bodyOf(bytes: Buffer | undefined): AsyncGenerator<Uint8Array> {
  if (bytes === undefined) return;
  if (bytes.length > bodyLimit) throw new OciError('SIZE_INVALID', tooLarge, { status: 413, detail: { limit: bodyLimit } });
  yield bytes;
}

interface Parts {
  readonly method: string;
  readonly path: string;
  readonly query: string;
  /** Names in lower case. */
  readonly headers: Map<string, string>;
}

function partsOfV1(event: APIGatewayProxyEvent): Parts {
  // The values come decoded.
  const query = new URLSearchParams();
  for (const [name, values] of Object.entries(event.multiValueQueryStringParameters ?? {})) {
    for (const value of values ?? []) query.append(name, value);
  }
  const headers = new Map<string, string>();
  for (const [name, values] of Object.entries(event.multiValueHeaders ?? {})) {
    if (values !== undefined) headers.set(name.toLowerCase(), values.join(', '));
  }
  return { method: event.httpMethod, path: event.path, query: query.toString(), headers };
}

function partsOfV2(event: APIGatewayProxyEventV2): Parts {
  const headers = new Map<string, string>();
  for (const [name, value] of Object.entries(event.headers)) if (value !== undefined) headers.set(name.toLowerCase(), value);
  // A stage other than $default is part of the path.
  const { stage, http } = event.requestContext;
  const path = event.rawPath.startsWith(`/${stage}/`) ? event.rawPath.slice(stage.length + 1) : event.rawPath;
  return { method: http.method, path, query: event.rawQueryString, headers };
}

const lengthOf = (reply: Reply): number => {
  const length = reply.headers['content-length'];
  return typeof length === 'string' ? Number(length) : 0;
};

async function resultOf(reply: Reply, signal: AbortSignal): Promise<GatewayResult> {
  const bytes = await bytesOf(reply, signal);
  const single: Record<string, string> = {};
  const several: Record<string, string[]> = {};
  for (const [name, value] of Object.entries(reply.headers)) {
    // Counted by the gateway, which renames ours.
    if (name === 'content-length') continue;
    if (typeof value === 'string') single[name] = value;
    else several[name] = [...value];
  }
  const asText = bytes.length <= textLimit && isUtf8(bytes);
  return {
    statusCode: reply.status,
    headers: single,
    multiValueHeaders: several,
    body: bytes.toString(asText ? 'utf8' : 'base64'),
    isBase64Encoded: !asText,
  };
}

async function bytesOf({ body }: Reply, signal: AbortSignal): Promise<Buffer> {
  if (body === undefined) return Buffer.alloc(0);
  if (body instanceof Uint8Array) return Buffer.from(body.buffer, body.byteOffset, body.length);
  if (body.size > bodyLimit) throw new OciError('SIZE_INVALID', `an answer of ${body.size} bytes does not pass the gateway`);
  const chunks: Uint8Array[] = [];
  for await (const chunk of (await body.open(signal)) ?? []) chunks.push(chunk);
  return Buffer.concat(chunks);
}
