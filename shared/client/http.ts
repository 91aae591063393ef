// HTTP as a registry client needs it: streams both ways, retries of what may be repeated, redirects that take no credentials along,
// time limits on silence, proxies from the environment (HTTPS_PROXY, HTTP_PROXY, NO_PROXY).
import { Agent, type IncomingHttpHeaders, type IncomingMessage, request as plainRequest } from 'node:http';
import { Agent as TlsAgent, request as tlsRequest } from 'node:https';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { errnoOf, SlipwayError, throwIfCancelled } from '../errors.ts';
import type { Bytes } from '../store/blobs.ts';
import { checkAddress, guardedLookup, isLoopback } from './address.ts';

export interface Outgoing {
  readonly method: string;
  readonly url: URL;
  readonly headers?: Readonly<Record<string, string>>;
  /** Opened anew for every try. `size` in bytes; absent: chunked encoding. */
  readonly body?: { readonly size?: number; open(): Bytes | Promise<Bytes> };
  /** May be sent twice. GET, HEAD, PUT and DELETE are unless it says otherwise. */
  readonly repeatable?: boolean;
  /** Give the answer with this status back, instead of following or retrying it. */
  readonly passRedirect?: boolean;
  readonly signal?: AbortSignal;
}

export interface Incoming {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  /** Must be read or discarded (`discard`). */
  readonly body: IncomingMessage;
  /** Where it came from, after redirects. */
  readonly url: URL;
}

export interface HttpOptions {
  readonly userAgent: string;
  /** Hosts (with port) whose certificates are not checked. */
  readonly insecure?: (host: string) => boolean;
  /** Milliseconds before try 2, 3, ...; as many retries as entries. */
  readonly delays?: readonly number[];
  readonly sleep?: (milliseconds: number, signal: AbortSignal | undefined) => Promise<void>;
  /** From 0 to 1; spreads retries of many clients. */
  readonly random?: () => number;
  /** Milliseconds of silence after which a connection counts as broken. */
  readonly silence?: number;
  /** Milliseconds within which a connection must stand, TLS included. Default: 10 s. */
  readonly connection?: number;
  /** Milliseconds within which the answer to a GET or HEAD must begin, which takes a registry no work to speak of. Default: 20 s. */
  readonly answer?: number;
  /** False where nothing on this machine may be reached: a function's runtime listens there. Default: true. */
  readonly thisMachine?: boolean;
  /** Where proxies are named. */
  readonly env?: Readonly<Record<string, string | undefined>>;
}

export const maxRedirects = 5;
/** No answer to a question: asked once more, and no longer than that. */
const unanswered = 'UNANSWERED';
/** A server that asks us to wait longer than this (seconds) gets no second try. */
const patience = 30;
const transient: ReadonlySet<string> = new Set(
  'ECONNRESET EPIPE ETIMEDOUT ECONNABORTED EAI_AGAIN ENETDOWN ENETRESET ERR_STREAM_PREMATURE_CLOSE HPE_INVALID_EOF_STATE'.split(
    ' ',
  ),
);

export const isTransient = (error: unknown): boolean => transient.has(errnoOf(error) ?? '') || errnoOf(error) === 'ECONNREFUSED';

const pause = (milliseconds: number, signal: AbortSignal | undefined): Promise<void> =>
  new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, milliseconds);
    signal?.addEventListener(
      'abort',
      () => {
        clearTimeout(timer);
        reject(new SlipwayError('CANCELLED', 'cancelled', { cause: signal.reason }));
      },
      { once: true },
    );
  });

export class HttpClient implements Disposable {
  readonly #options: HttpOptions;
  readonly #plain: Agent;
  readonly #tls: TlsAgent;
  readonly #unchecked: TlsAgent;
  /** For this machine's own addresses, which no proxy can reach for us. */
  readonly #directPlain: Agent;
  readonly #directTls: TlsAgent;
  readonly sleep: (milliseconds: number, signal: AbortSignal | undefined) => Promise<void>;

  constructor(options: HttpOptions) {
    this.#options = options;
    const direct = { keepAlive: true, maxSockets: 16, lookup: guardedLookup(options.thisMachine ?? true) };
    const shared = options.env === undefined ? direct : { ...direct, proxyEnv: options.env as NodeJS.ProcessEnv };
    this.#directPlain = new Agent(direct);
    this.#directTls = new TlsAgent({ ...direct, rejectUnauthorized: false });
    this.#plain = new Agent(shared);
    this.#tls = new TlsAgent(shared);
    this.#unchecked = new TlsAgent({ ...shared, rejectUnauthorized: false });
    this.sleep = options.sleep ?? pause;
  }

  [Symbol.dispose](): void {
    for (const agent of [this.#plain, this.#tls, this.#unchecked, this.#directPlain, this.#directTls]) agent.destroy();
  }

  /** How long to wait before retry `n` (from 0), or `undefined` when there is none. */
  delay(n: number): number | undefined {
    const base = (this.#options.delays ?? [250, 750, 2000])[n];
    return base === undefined ? undefined : base * (0.75 + 0.5 * (this.#options.random ?? Math.random)());
  }

  /**
   * Sends, retrying what may be repeated after 408, 429 and 5xx and after a broken connection, and following redirects. Every other
   * status is the caller's. Credentials (`authorization`) never go to another host.
   */
  async send(outgoing: Outgoing): Promise<Incoming> {
    const repeatable = outgoing.repeatable ?? ['GET', 'HEAD', 'PUT', 'DELETE'].includes(outgoing.method);
    for (let attempt = 0; ; attempt++) {
      throwIfCancelled(outgoing.signal);
      const wait = repeatable ? this.delay(attempt) : undefined;
      let answer: Incoming;
      try {
        answer = await this.#follow(outgoing);
      } catch (error) {
        if (outgoing.signal?.aborted) throw new SlipwayError('CANCELLED', 'cancelled', { cause: error });
        const again = errnoOf(error) === unanswered ? attempt === 0 : isTransient(error) && errnoOf(error) !== 'ECONNREFUSED';
        if (wait === undefined || !again) throw asUpstream(error, outgoing.url);
        await this.sleep(wait, outgoing.signal);
        continue;
      }
      const pauseFor = wait === undefined ? undefined : retryDelay(answer, wait);
      if (pauseFor === undefined) return answer;
      await discard(answer);
      await this.sleep(pauseFor, outgoing.signal);
    }
  }

  async #follow(outgoing: Outgoing): Promise<Incoming> {
    let { url, headers = {} } = outgoing;
    checkAddress(url.hostname, undefined, this.#options.thisMachine);
    for (let hops = 0; ; hops++) {
      const answer = await this.#once({ ...outgoing, url, headers });
      const { location } = answer.headers;
      const followed = answer.status >= 301 && answer.status <= 308 && answer.status !== 304 && location !== undefined;
      if (!followed || outgoing.passRedirect === true) return answer;
      await discard(answer);
      if (hops === maxRedirects) throw new SlipwayError('UPSTREAM', `${url.host} redirects more than ${maxRedirects} times`);
      const next = this.nextUrl(location, url);
      if (next.origin !== url.origin) headers = withoutCredentials(headers);
      url = next;
    }
  }

  /** The URL that a Location names, refused where it leads to a place no registry should name. */
  nextUrl(location: string, from: URL): URL {
    let next: URL;
    try {
      next = new URL(location, from);
    } catch (cause) {
      throw new SlipwayError('UPSTREAM', `${from.host} answered with a Location that is no URL`, { cause });
    }
    if (next.protocol !== 'https:' && next.protocol !== 'http:') {
      throw new SlipwayError('DENIED', `${from.host} redirects to ${next.protocol}, which is no web address`);
    }
    if (from.protocol === 'https:' && next.protocol === 'http:') {
      throw new SlipwayError('DENIED', `${from.host} redirects from HTTPS to plain HTTP (${next.host})`);
    }
    checkAddress(next.hostname, from.hostname, this.#options.thisMachine);
    return next;
  }

  #agentFor(url: URL): Agent {
    const tls = url.protocol === 'https:';
    // Docker's habit: certificates of registries on this machine are not checked, as plain HTTP would do there too.
    if (isLoopback(url.hostname)) return tls ? this.#directTls : this.#directPlain;
    if (!tls) return this.#plain;
    return this.#options.insecure?.(url.host) ? this.#unchecked : this.#tls;
  }

  #once({ method, url, headers = {}, body, signal }: Outgoing): Promise<Incoming> {
    const tls = url.protocol === 'https:';
    const agent = this.#agentFor(url);
    const length =
      body === undefined ? (method === 'GET' || method === 'HEAD' || method === 'DELETE' ? undefined : 0) : body.size;
    return new Promise((resolve, reject) => {
      const request = (tls ? tlsRequest : plainRequest)(url, {
        method,
        agent,
        headers: {
          'user-agent': this.#options.userAgent,
          ...headers,
          ...(length === undefined ? {} : { 'content-length': length }),
        },
        ...(signal === undefined ? {} : { signal }),
      });
      const silence = this.#options.silence ?? 60_000;
      request.setTimeout(silence, () =>
        request.destroy(Object.assign(new Error(`nothing heard for ${silence / 1000} s`), { code: 'ETIMEDOUT' })),
      );
      const giveUp = (code: string, what: string, within: number): (() => void) => {
        const late = setTimeout(
          () => request.destroy(Object.assign(new Error(`${what} within ${within / 1000} s`), { code })),
          within,
        );
        const done = () => clearTimeout(late);
        request.once('close', done);
        return done;
      };
      const connected = (): void => {
        if (method !== 'GET' && method !== 'HEAD') return;
        request.once('response', giveUp(unanswered, 'no answer', this.#options.answer ?? 20_000));
      };
      // A machine that is not there never answers: no reason to wait as long as for a slow answer, or to try again.
      request.once('socket', (socket) => {
        if (!socket.connecting) return connected();
        const done = giveUp('ENOTCONN', 'no connection', this.#options.connection ?? 10_000);
        socket.once(tls ? 'secureConnect' : 'connect', () => {
          done();
          connected();
        });
      });
      request.on('response', (answer) => resolve({ status: answer.statusCode ?? 0, headers: answer.headers, body: answer, url }));
      request.on('error', reject);
      if (body === undefined) request.end();
      else {
        // When the server answers before it has read everything, its answer counts and not the broken pipe; `error` above tells the rest.
        Promise.resolve(body.open())
          .then((bytes) => pipeline(Readable.from(bytes, { objectMode: false, highWaterMark: 1024 * 1024 }), request))
          .catch((error: unknown) => request.destroy(error instanceof Error ? error : new Error(String(error))));
      }
    });
  }
}

function withoutCredentials(headers: Readonly<Record<string, string>>): Record<string, string> {
  const { authorization: _, cookie: __, ...rest } = headers;
  return rest;
}

/** Milliseconds until the same request may be tried again; `undefined` when the answer is final. */
function retryDelay(answer: Incoming, wait: number): number | undefined {
  if (![408, 429, 500, 502, 503, 504].includes(answer.status)) return undefined;
  const asked = answer.headers['retry-after'];
  if (asked === undefined) return wait;
  const seconds = /^\d+$/.test(asked) ? Number(asked) : (Date.parse(asked) - Date.parse(answer.headers.date ?? '')) / 1000;
  if (!Number.isFinite(seconds)) return wait;
  return seconds > patience ? undefined : Math.max(wait, seconds * 1000);
}

/** Reads and forgets a short body, so that the connection can be used again; cuts a long one off. */
export async function discard(answer: Incoming): Promise<void> {
  let size = 0;
  try {
    for await (const chunk of answer.body) {
      size += (chunk as Uint8Array).length;
      if (size > 64 * 1024) break;
    }
  } catch {
    // Nobody wanted it.
  }
  answer.body.destroy();
}

/** The whole body, at most `limit` bytes; more is UPSTREAM. */
export async function readBody(answer: Incoming, limit: number, what: string): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of answer.body) {
    size += (chunk as Buffer).length;
    if (size > limit) {
      answer.body.destroy();
      throw new SlipwayError('UPSTREAM', `${answer.url.host}: ${what} is larger than ${limit} bytes`);
    }
    chunks.push(chunk as Buffer);
  }
  return Buffer.concat(chunks);
}

const reasons: Readonly<Record<string, string>> = {
  ENOTFOUND: 'no such host',
  EAI_AGAIN: 'its name could not be looked up',
  ECONNREFUSED: 'connection refused',
  ECONNRESET: 'the connection was cut',
  ETIMEDOUT: 'no answer in time',
  EHOSTUNREACH: 'no route to it',
  ENETUNREACH: 'no network',
  DEPTH_ZERO_SELF_SIGNED_CERT: 'its certificate is signed by itself',
  SELF_SIGNED_CERT_IN_CHAIN: 'its certificate is signed by an authority that this machine does not know',
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: 'its certificate is signed by an authority that this machine does not know',
  CERT_HAS_EXPIRED: 'its certificate has expired',
  ERR_TLS_CERT_ALTNAME_INVALID: 'its certificate is for another name',
};

/** A failure of the network in words. */
export function asUpstream(error: unknown, url: URL): SlipwayError {
  if (error instanceof SlipwayError) return error;
  const errno = errnoOf(error) ?? '';
  const why = reasons[errno] ?? (error instanceof Error ? error.message : String(error));
  const certificate = /CERT|VERIFY/.test(errno);
  return new SlipwayError('UPSTREAM', `cannot reach ${url.host}: ${why}`, {
    cause: error,
    details: { host: url.host, errno },
    ...(certificate
      ? { hint: 'Give Node the authority with NODE_EXTRA_CA_CERTS=FILE, or name the host in SLIPWAY_INSECURE_REGISTRIES.' }
      : silent.has(errno)
        ? {
            hint: `Is ${url.host} the right address, and is there a proxy in between (HTTPS_PROXY, HTTP_PROXY, NO_PROXY)? Then try again.`,
          }
        : {}),
  });
}

/** Nothing came, which says nothing of why. */
const silent: ReadonlySet<string> = new Set([
  unanswered,
  'ENOTCONN',
  'ETIMEDOUT',
  'ENOTFOUND',
  'EAI_AGAIN',
  'EHOSTUNREACH',
  'ENETUNREACH',
]);
