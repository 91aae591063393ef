// What the registry is asked and what it answers, without a server: plain data, so that the hot path builds no Request, Headers or
// Response objects. `toReply` and `toResponse` are the two bridges to the web's own types.
import type { Bytes } from '../store/blobs.ts';

export interface Call {
  /** Upper case. */
  readonly method: string;
  /** As sent: percent-encoding is not undone. Without the query. */
  readonly path: string;
  /** Without the question mark; may be empty. */
  readonly query: string;
  /** `name` in lower case. Several lines of one header are joined by `, `. */
  header(name: string): string | undefined;
  /** Read at most once. An absent body reads as empty. */
  readonly body: Bytes;
  /** Fires when the caller has gone. */
  readonly signal: AbortSignal;
}

/** A body that is opened only when it is sent, so HEAD never touches the bytes. */
export interface Content {
  /** Bytes that will be sent. */
  readonly size: number;
  /** Absence (deleted since the answer was made) is `undefined`. */
  open(signal: AbortSignal): Promise<ReadableStream<Uint8Array> | undefined>;
  /** Where the same bytes lie on this machine; `end` is exclusive. A server may send them from there. */
  readonly file?: { readonly path: string; readonly start: number; readonly end: number };
}

export interface Reply {
  readonly status: number;
  /** Names in lower case. `content-length` is set whenever it is known, on HEAD too. */
  readonly headers: Readonly<Record<string, string | readonly string[]>>;
  readonly body?: Uint8Array<ArrayBuffer> | Content;
}

export type Handler = (call: Call) => Promise<Reply>;

const encoder = new TextEncoder();

/** A JSON answer; UTF-8. */
export function json(status: number, value: unknown, headers: Reply['headers'] = {}): Reply {
  const body = encoder.encode(JSON.stringify(value));
  return {
    status,
    headers: {
      'content-type': 'application/json',
      'content-length': String(body.length),
      'x-content-type-options': 'nosniff',
      ...headers,
    },
    body,
  };
}

/** An answer without a body. 204 and 304 carry no length; everything else says 0. */
export const empty = (status: number, headers: Reply['headers'] = {}): Reply => ({
  status,
  headers: status === 204 || status === 304 ? headers : { 'content-length': '0', ...headers },
});

async function* nothing(): AsyncGenerator<Uint8Array> {
  // An absent body.
}

/** A web Request as a Call. */
export function toCall(request: Request): Call {
  const url = new URL(request.url);
  const { body } = request;
  return {
    method: request.method,
    path: url.pathname,
    query: url.search.slice(1),
    header: (name) => request.headers.get(name) ?? undefined,
    body: body ?? nothing(),
    signal: request.signal,
  };
}

/** A Reply as a web Response. HEAD gets the headers of GET and no body. */
export async function toResponse(reply: Reply, call: Pick<Call, 'method' | 'signal'>): Promise<Response> {
  const headers = new Headers();
  for (const [name, value] of Object.entries(reply.headers)) {
    for (const one of typeof value === 'string' ? [value] : value) headers.append(name, one);
  }
  const { body } = reply;
  if (body === undefined || call.method === 'HEAD') return new Response(null, { status: reply.status, headers });
  if (body instanceof Uint8Array) return new Response(body, { status: reply.status, headers });
  const stream = await body.open(call.signal);
  if (stream === undefined) return new Response(null, { status: 404, headers: { 'content-length': '0' } });
  return new Response(stream, { status: reply.status, headers });
}
