// The messages of the control API. Plain objects in the shape of the web's Request and Response, because the first use of the real
// ones loads undici: 40 ms, more than all the rest of a cached build (docs/decisions/0004). A real Request satisfies ApiRequest.
import { StringDecoder } from 'node:string_decoder';
import { errorDocument, SlipwayError } from '../errors.ts';

export interface ApiRequest {
  readonly method: string;
  /** Absolute; the host is of no interest. */
  readonly url: string;
  readonly headers: { get(name: string): string | null };
  readonly body: AsyncIterable<Uint8Array> | null;
  readonly signal?: AbortSignal;
}

export interface ApiResponse {
  readonly status: number;
  /** Lower-case names. */
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Uint8Array | AsyncIterable<Uint8Array> | null;
}

export type ApiFetch = (request: ApiRequest) => Promise<ApiResponse>;

/** A JSON request larger than this is TOO_LARGE; what is larger travels as packs, archives or blobs. 64 MiB holds the list of 300,000 files. */
export const maxJsonBytes = 64 * 1024 * 1024;

export function json(value: unknown, status = 200): ApiResponse {
  return { status, headers: { 'content-type': 'application/json' }, body: Buffer.from(JSON.stringify(value)) };
}

/**
 * One JSON document a line, as they come. An error in the middle becomes a last line `{"error": {...}}`. With `heartbeat` (milliseconds)
 * an empty line says now and then that the connection lives, while there is nothing to tell.
 */
export function ndjson(events: AsyncIterable<unknown>, heartbeat?: number): ApiResponse {
  async function* lines(): AsyncGenerator<Uint8Array> {
    try {
      const told = heartbeat === undefined ? events : withHeartbeat(events, heartbeat);
      for await (const event of told) yield event === silence ? newline : Buffer.from(`${JSON.stringify(event)}\n`);
    } catch (error) {
      yield Buffer.from(`${JSON.stringify({ error: errorDocument(asKnown(error)) })}\n`);
    }
  }
  return { status: 200, headers: { 'content-type': 'application/x-ndjson' }, body: lines() };
}

const silence = Symbol('silence');
const newline = Buffer.from('\n');

async function* withHeartbeat(events: AsyncIterable<unknown>, every: number): AsyncGenerator<unknown> {
  const iterator = events[Symbol.asyncIterator]();
  try {
    for (let next = iterator.next(); ; ) {
      let timer: NodeJS.Timeout | undefined;
      const quiet = new Promise<typeof silence>((resolve) => {
        timer = setTimeout(resolve, every, silence);
      });
      const first = await Promise.race([next, quiet]);
      clearTimeout(timer);
      if (first === silence) {
        yield silence;
        continue;
      }
      if (first.done === true) return;
      yield first.value;
      next = iterator.next();
    }
  } finally {
    // Not awaited: it may be waiting for an event that never comes. Its failure is nobody's any more.
    iterator.return?.().catch(() => undefined);
  }
}

/** A stream of bytes, e.g. an archive. */
export const stream = (body: AsyncIterable<Uint8Array>, contentType = 'application/octet-stream'): ApiResponse => ({
  status: 200,
  headers: { 'content-type': contentType },
  body,
});

export async function readAll(body: AsyncIterable<Uint8Array> | Uint8Array | null, limit: number, what: string): Promise<Buffer> {
  if (body === null) return Buffer.alloc(0);
  if (body instanceof Uint8Array) return Buffer.from(body.buffer, body.byteOffset, body.byteLength);
  const chunks: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of body) {
    size += chunk.length;
    if (size > limit) throw new SlipwayError('TOO_LARGE', `${what} is larger than ${limit} bytes`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

export async function readJson(request: ApiRequest, limit = maxJsonBytes): Promise<unknown> {
  const text = await readAll(request.body, limit, 'the request');
  try {
    return JSON.parse(text.toString('utf8'));
  } catch (cause) {
    throw new SlipwayError('INVALID_DOCUMENT', 'the request body is not JSON', { cause });
  }
}

const maxLineBytes = 16 * 1024 * 1024;

/** The documents of an NDJSON body. A line longer than 16 MiB is TOO_LARGE. */
export async function* readLines(body: AsyncIterable<Uint8Array> | Uint8Array | null): AsyncGenerator<unknown> {
  if (body === null) return;
  let rest = '';
  const decoder = new StringDecoder('utf8');
  for await (const chunk of body instanceof Uint8Array ? [body] : body) {
    rest += decoder.write(Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength));
    let from = 0;
    for (let at = rest.indexOf('\n', from); at !== -1; at = rest.indexOf('\n', from)) {
      if (at > from) yield JSON.parse(rest.slice(from, at));
      from = at + 1;
    }
    rest = rest.slice(from);
    if (rest.length > maxLineBytes) throw new SlipwayError('TOO_LARGE', 'a line of the answer is larger than 16 MiB');
  }
  if (rest.trim() !== '') yield JSON.parse(rest);
}

/** What a failed request answers, whatever failed. */
export function errorResponse(error: unknown): ApiResponse {
  const known = asKnown(error);
  return json({ error: errorDocument(known) }, known.status);
}

const asKnown = (error: unknown): SlipwayError =>
  error instanceof SlipwayError
    ? error
    : new SlipwayError('INTERNAL', error instanceof Error ? error.message : String(error), { cause: error });
