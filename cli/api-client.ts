// The command line's side of the control API. The same requests go to an embedded home (its `fetch` is the app itself, in process).

import { type ApiFetch, type ApiRequest, type ApiResponse, readAll, readLines } from '../shared/api/http.ts';
import { isErrorCode, SlipwayError, type SourceRange } from '../shared/errors.ts';

const maxAnswerBytes = 256 * 1024 * 1024;

export class Api {
  readonly #fetch: ApiFetch;
  readonly #base: string;
  readonly #signal: AbortSignal;

  constructor(fetch: ApiFetch, base: string, signal: AbortSignal) {
    this.#fetch = fetch;
    this.#base = base;
    this.#signal = signal;
  }

  /** The raw answer; an error status is thrown as the SlipwayError it says. `path` starts with /api/v1. */
  async send(
    method: string,
    path: string,
    body: AsyncIterable<Uint8Array> | Uint8Array | null = null,
    headers: Readonly<Record<string, string>> = {},
  ): Promise<ApiResponse> {
    const lower = new Map(Object.entries(headers).map(([name, value]) => [name.toLowerCase(), value]));
    const request: ApiRequest = {
      method,
      url: `${this.#base}${path}`,
      headers: { get: (name) => lower.get(name.toLowerCase()) ?? null },
      body: body instanceof Uint8Array ? once(body) : body,
      signal: this.#signal,
    };
    const response = await this.#fetch(request);
    if (response.status >= 400) throw await errorOf(response);
    return response;
  }

  async json<T>(method: string, path: string, value?: unknown): Promise<T> {
    const body = value === undefined ? null : Buffer.from(JSON.stringify(value));
    const response = await this.send(method, path, body, { 'content-type': 'application/json' });
    const text = (await readAll(response.body, maxAnswerBytes, 'the answer')).toString('utf8');
    return (text === '' ? undefined : JSON.parse(text)) as T;
  }

  /** Events as they come. An event `{error: {...}}` is thrown. */
  async *events<T>(method: string, path: string, value?: unknown, body?: AsyncIterable<Uint8Array>): AsyncGenerator<T> {
    const response = await this.send(method, path, body ?? (value === undefined ? null : Buffer.from(JSON.stringify(value))));
    for await (const event of readLines(response.body)) {
      if (typeof event === 'object' && event !== null && 'error' in event) throw errorFrom(event.error, 500);
      yield event as T;
    }
  }
}

async function* once(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  yield bytes;
}

async function errorOf(response: ApiResponse): Promise<SlipwayError> {
  const text = (await readAll(response.body, 1024 * 1024, 'the error')).toString('utf8');
  try {
    return errorFrom((JSON.parse(text) as { error?: unknown }).error, response.status);
  } catch {
    return new SlipwayError('INTERNAL', `the server answered ${response.status}: ${text.slice(0, 500)}`);
  }
}

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
