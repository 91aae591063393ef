// The command line's side of the control API. The same requests go to an embedded home (its `fetch` is the app itself, in process).

import { type ApiFetch, type ApiRequest, type ApiResponse, readAll, readLines } from '../shared/api/http.ts';
import { type ErrorCode, isErrorCode, SlipwayError, type SourceRange } from '../shared/errors.ts';

const maxAnswerBytes = 256 * 1024 * 1024;

export interface SendOptions {
  /** May be sent twice, because the server does it once. GET, PUT and DELETE may unless it says otherwise. */
  readonly repeatable?: boolean;
}

/** An ApiFetch, which may also be told how a request can be sent. */
export type Send = (request: ApiRequest, options?: SendOptions) => ReturnType<ApiFetch>;

/** A body that is in memory: it can be read again. */
export class BytesBody implements AsyncIterable<Uint8Array> {
  readonly bytes: Uint8Array;

  constructor(bytes: Uint8Array) {
    this.bytes = bytes;
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Uint8Array> {
    yield this.bytes;
  }
}

export class Api {
  readonly #fetch: Send;
  readonly #base: string;
  readonly #signal: AbortSignal;

  constructor(fetch: Send, base: string, signal: AbortSignal) {
    this.#fetch = fetch;
    this.#base = base;
    this.#signal = signal;
  }

  /** The same API, with another signal: for what has to be said after the first one has fired. */
  withSignal(signal: AbortSignal): Api {
    return new Api(this.#fetch, this.#base, signal);
  }

  /** The raw answer; an error status is thrown as the SlipwayError it says. `path` starts with /api/v1. */
  async send(
    method: string,
    path: string,
    body: AsyncIterable<Uint8Array> | Uint8Array | null = null,
    headers: Readonly<Record<string, string>> = {},
    options: SendOptions = {},
  ): Promise<ApiResponse> {
    const lower = new Map(Object.entries(headers).map(([name, value]) => [name.toLowerCase(), value]));
    const request: ApiRequest = {
      method,
      url: `${this.#base}${path}`,
      headers: { get: (name) => lower.get(name.toLowerCase()) ?? null },
      body: body instanceof Uint8Array ? new BytesBody(body) : body,
      signal: this.#signal,
    };
    const response = await this.#fetch(request, options);
    if (response.status >= 400) throw await errorOf(response, this.#base);
    return response;
  }

  async json<T>(method: string, path: string, value?: unknown, options: SendOptions = {}): Promise<T> {
    const body = value === undefined ? null : Buffer.from(JSON.stringify(value));
    return await this.answer<T>(await this.send(method, path, body, { 'content-type': 'application/json' }, options));
  }

  /** The document in an answer. */
  async answer<T>(response: ApiResponse): Promise<T> {
    const text = (await readAll(response.body, maxAnswerBytes, 'the answer')).toString('utf8');
    return (text === '' ? undefined : JSON.parse(text)) as T;
  }

  /** Events as they come. An event `{error: {...}}` is thrown. */
  async *events<T>(method: string, path: string, value?: unknown, body?: AsyncIterable<Uint8Array>): AsyncGenerator<T> {
    const response = await this.send(method, path, body ?? (value === undefined ? null : Buffer.from(JSON.stringify(value))));
    yield* this.eventsOf<T>(response);
  }

  /** The events in an answer. */
  async *eventsOf<T>(response: ApiResponse): AsyncGenerator<T> {
    for await (const event of readLines(response.body)) {
      if (typeof event === 'object' && event !== null && 'error' in event) throw errorFrom(event.error, 500);
      yield event as T;
    }
  }
}

/** What a status means that did not come from the API itself: a gateway, a proxy, another program. */
const codes: Readonly<Record<number, ErrorCode>> = {
  400: 'USAGE',
  401: 'UNAUTHORIZED',
  403: 'DENIED',
  404: 'NOT_FOUND',
  413: 'TOO_LARGE',
  429: 'TOO_MANY_REQUESTS',
};

async function errorOf(response: ApiResponse, from: string): Promise<SlipwayError> {
  const { status } = response;
  const text = (await readAll(response.body, 1024 * 1024, 'the error')).toString('utf8');
  let document: unknown;
  let said = text.trim().slice(0, 200);
  try {
    const answer = JSON.parse(text) as {
      readonly error?: unknown;
      readonly errors?: readonly { readonly message?: unknown }[];
    } | null;
    document = answer?.error;
    // A gateway in front speaks as registries do.
    const message = answer?.errors?.[0]?.message;
    if (typeof message === 'string') said = message.slice(0, 1000);
  } catch {
    // Not of the API: the status alone tells.
  }
  if (typeof document === 'object' && document !== null && 'code' in document) {
    const known = errorFrom(document, status);
    if (known.code !== 'UNAUTHORIZED') return known;
    const scope = known.details?.scope;
    if (typeof scope !== 'string') return known.hint === undefined ? unauthorized(known.message, from) : known;
    // It was asked for by then (remote.ts).
    return new SlipwayError(
      'DENIED',
      `${from}: this login may not do that: it has no grant for ${scope.replaceAll(' ', ' or ')}`,
      {
        hint: 'Whoever keeps the accounts of that home can give one (docs/account.md, "People and robots").',
        details: { scope },
      },
    );
  }
  const message = `${from} answered ${status}${said === '' ? '' : `: ${said}`}`;
  if (status === 401) return unauthorized(`${from} wants a login`, from);
  if (status === 404) return new SlipwayError('NOT_FOUND', message, { hint: 'Is this the endpoint of a Slipway?' });
  return new SlipwayError(codes[status] ?? (status >= 500 ? 'UPSTREAM' : 'INTERNAL'), message);
}

const unauthorized = (message: string, from: string): SlipwayError =>
  new SlipwayError('UNAUTHORIZED', message, { hint: `slipway login ${from}` });

function errorFrom(document: unknown, status: number): SlipwayError {
  const d = (typeof document === 'object' && document !== null ? document : {}) as Record<string, unknown>;
  const code = typeof d.code === 'string' && isErrorCode(d.code) ? d.code : 'INTERNAL';
  return new SlipwayError(code, typeof d.message === 'string' ? d.message : `the server answered ${status}`, {
    ...(typeof d.hint === 'string' ? { hint: d.hint } : {}),
    ...(d.where === undefined ? {} : { where: d.where as SourceRange }),
    ...(d.details === undefined ? {} : { details: d.details as Record<string, unknown> }),
  });
}

/** A query string from the members that are set. */
export function query(values: Readonly<Record<string, string | number | boolean | readonly string[] | undefined>>): string {
  const params = new URLSearchParams();
  for (const [name, value] of Object.entries(values)) {
    if (value === undefined || value === false) continue;
    for (const one of Array.isArray(value) ? value : [value]) params.append(name, String(one));
  }
  const text = params.toString();
  return text === '' ? '' : `?${text}`;
}
