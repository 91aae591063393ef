// The registry behind node:http. It moves bytes and knows nothing of images: a call in, a reply out, with backpressure both ways.
import { constants, createReadStream } from 'node:fs';
import { open } from 'node:fs/promises';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { pipeline } from 'node:stream/promises';
import { errnoOf, SlipwayError } from '../errors.ts';
import type { Call, Content, Handler, Reply } from './exchange.ts';

export interface ServerOptions {
  readonly handle: Handler;
  /** An address to listen on, e.g. 127.0.0.1. */
  readonly host: string;
  /** 0 takes any free one. */
  readonly port: number;
  /** Told of what goes wrong after an answer has begun, when the client can no longer be told. */
  readonly onError?: (error: unknown) => void;
}

export interface RunningServer extends AsyncDisposable {
  readonly host: string;
  readonly port: number;
  /** Takes no more connections, lets running requests end (cut off after `seconds`), then resolves. */
  stop(seconds?: number): Promise<void>;
}

/** 1 MiB buffers send a file at 1.4 GB/s, the default 64 KiB at a third of that. */
const fileChunk = 1024 * 1024;

/** Milliseconds without a byte either way after which a connection counts as dead, so that its upload can be taken up by another. */
const silence = 300_000;

/** Listens. A port in use or not allowed is USAGE with what to do. */
export async function startServer(options: ServerOptions): Promise<RunningServer> {
  const running = new Set<ServerResponse>();
  const server = createServer({ keepAliveTimeout: 65_000, headersTimeout: 60_000, requestTimeout: 0, highWaterMark: 256 * 1024 });
  server.timeout = silence;
  const take = (expects: boolean) => (request: IncomingMessage, response: ServerResponse) => {
    running.add(response);
    response.once('close', () => running.delete(response));
    serve(options, request, response, expects).catch((error: unknown) => {
      response.destroy();
      options.onError?.(error);
    });
  };
  server.on('request', take(false));
  // `Expect: 100-continue`: the body is asked for when somebody reads it, so that a refusal costs the client nothing.
  server.on('checkContinue', take(true));
  await listen(server, options);
  const { address, port } = server.address() as AddressInfo;
  const stop = async (seconds = 10): Promise<void> => {
    const closed = new Promise<void>((resolve) => server.close(() => resolve()));
    for (const response of running) if (!response.headersSent) response.shouldKeepAlive = false;
    server.closeIdleConnections();
    const late = setTimeout(() => server.closeAllConnections(), seconds * 1000);
    await closed;
    clearTimeout(late);
  };
  return { host: address, port, stop, [Symbol.asyncDispose]: () => stop(0) };
}

async function serve(
  options: ServerOptions,
  request: IncomingMessage,
  response: ServerResponse,
  expects: boolean,
): Promise<void> {
  const asked = { body: !expects };
  const { body, headers, status } = await options.handle(callOf(request, response, asked));
  if (response.destroyed) return;
  // A client that was not told to go on may or may not send its body now: where the next request begins cannot be known.
  if (!asked.body) response.shouldKeepAlive = false;
  if (request.method === 'HEAD' || !(body instanceof Uint8Array || (body?.size ?? 0) > 0)) {
    response.writeHead(status, headers as Record<string, string | string[]>).end();
    return;
  }
  if (body === undefined || body instanceof Uint8Array) {
    response.writeHead(status, headers as Record<string, string | string[]>).end(body);
    return;
  }
  await send(response, { status, headers, body }, body);
}

async function send(response: ServerResponse, reply: Reply, body: Content): Promise<void> {
  const gone = new AbortController();
  response.once('close', () => gone.abort());
  const file = body.file === undefined ? undefined : await openFile(body.file.path);
  const source =
    file !== undefined && body.file !== undefined
      ? createReadStream('', { fd: file, start: body.file.start, end: body.file.end - 1, highWaterMark: fileChunk })
      : await body.open(gone.signal);
  if (source === undefined) {
    response.writeHead(404, { 'content-length': 0 }).end();
    return;
  }
  response.writeHead(reply.status, reply.headers as Record<string, string | string[]>);
  try {
    await pipeline(source, response);
  } catch (error) {
    // A client that went away is its own affair; a store that failed half-way is cut off, so that nobody takes half a blob for a whole.
    if (!gone.signal.aborted || errnoOf(error) !== 'ERR_STREAM_PREMATURE_CLOSE') throw error;
  }
}

async function openFile(path: string): Promise<Awaited<ReturnType<typeof open>> | undefined> {
  try {
    return await open(path, constants.O_RDONLY | constants.O_NOFOLLOW);
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return undefined;
    throw error;
  }
}

function callOf(request: IncomingMessage, response: ServerResponse, asked: { body: boolean }): Call {
  const target = request.url ?? '/';
  const queryAt = target.indexOf('?');
  let gone: AbortController | undefined;
  return {
    method: request.method ?? 'GET',
    path: queryAt < 0 ? target : target.slice(0, queryAt),
    query: queryAt < 0 ? '' : target.slice(queryAt + 1),
    header: (name) => {
      const value = request.headers[name];
      return Array.isArray(value) ? value.join(', ') : value;
    },
    body: asked.body ? request : whenRead(request, response, asked),
    // Made when first asked for: most calls end before anyone could give up on them.
    get signal() {
      if (gone === undefined) {
        const controller = new AbortController();
        gone = controller;
        if (response.destroyed) controller.abort();
        response.once('close', () => controller.abort());
      }
      return gone.signal;
    },
  };
}

async function* whenRead(
  request: IncomingMessage,
  response: ServerResponse,
  asked: { body: boolean },
): AsyncGenerator<Uint8Array> {
  asked.body = true;
  response.writeContinue();
  yield* request as AsyncIterable<Uint8Array>;
}

function listen(server: Server, { host, port }: ServerOptions): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', (cause) => reject(listenError(cause, host, port)));
    server.listen(port, host, resolve);
  });
}

function listenError(cause: Error, host: string, port: number): SlipwayError {
  const errno = errnoOf(cause);
  const where = `${host}:${port}`;
  if (errno === 'EADDRINUSE') {
    return new SlipwayError('USAGE', `cannot listen on ${where}: something else does already`, {
      hint: 'Choose another port with --port, or --port 0 for any free one.',
      cause,
    });
  }
  if (errno === 'EACCES') {
    return new SlipwayError('USAGE', `cannot listen on ${where}: not allowed`, { hint: 'Choose a port of 1024 or more.', cause });
  }
  return new SlipwayError('USAGE', `cannot listen on ${where}: ${cause.message}`, {
    hint: 'Give --host an address of this machine.',
    cause,
  });
}
