// The control API of a home elsewhere, over HTTP. Loaded only when an endpoint is chosen.
import type { IncomingMessage } from 'node:http';
import type { ApiRequest, ApiResponse } from '../shared/api/http.ts';
import type { Credentials } from '../shared/auth/credentials.ts';
import { dockerCredentials } from '../shared/auth/docker-config.ts';
import { isLoopback } from '../shared/client/address.ts';
import { parseChallenges } from '../shared/client/challenge.ts';
import { asUpstream, discard, HttpClient, type HttpOptions, type Incoming } from '../shared/client/http.ts';
import { RegistryClient } from '../shared/client/registry-client.ts';
import { basic, Tokens } from '../shared/client/tokens.ts';
import { SlipwayError } from '../shared/errors.ts';
import type { Bytes } from '../shared/store/blobs.ts';
import { version } from '../shared/version.ts';
import { BytesBody, type SendOptions } from './api-client.ts';
import type { Endpoint } from './endpoint.ts';
import { inMemory } from './short-body.ts';

export interface RemoteOptions {
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Milliseconds since 1970. */
  readonly now: () => number;
  readonly http?: Partial<HttpOptions>;
}

/**
 * Milliseconds within which an answer has to begin. A gateway hands on whole answers, after 29 seconds at most; and a home that is asked for
 * events of a quiet build holds the question for 20.
 */
const answerWithin = 40_000;

/** Without a login, with a token, with one for what was missing, and for what was found missing then: a name's source after its target. */
const mostTries = 4;

export class Remote implements Disposable {
  readonly endpoint: Endpoint;
  readonly #http: HttpClient;
  readonly #tokens: Tokens;
  readonly #env: RemoteOptions['env'];
  readonly #now: RemoteOptions['now'];
  /** What was last sent and not refused. */
  #settled = false;
  #login: Promise<Credentials | undefined> | undefined;
  /** What tokens are asked for: what commands usually take, and what was found missing since. A server gives of it what it grants. */
  readonly #scopes: Set<string>;

  constructor(endpoint: Endpoint, { env, now, http = {} }: RemoteOptions) {
    this.endpoint = endpoint;
    this.#env = env;
    this.#now = now;
    const named = (env.SLIPWAY_INSECURE_REGISTRIES ?? '').split(',').flatMap((host) => host.trim() || []);
    const insecure = (host: string): boolean => named.includes(host) || named.includes(host.replace(/:\d+$/, ''));
    this.#http = new HttpClient({ userAgent: `slipway/${version}`, env, insecure, answer: answerWithin, ...http });
    this.#scopes = new Set([`project:${endpoint.project}:view,build,manage`, 'registry:catalog:*']);
    this.#tokens = new Tokens({
      http: this.#http,
      clientId: 'slipway',
      now,
      credentials: () => this.#credentials(),
    });
  }

  async #credentials(): Promise<Credentials | undefined> {
    const { url, login } = this.endpoint;
    this.#login ??= login === undefined ? dockerCredentials(new URL(url).host, '', { env: this.#env }) : Promise.resolve(login);
    return await this.#login;
  }

  /** The registry at the same origin, with the same login: its tokens are for the repository in question alone. */
  registry(): RegistryClient {
    const { host, origin } = new URL(this.endpoint.url);
    return new RegistryClient({
      http: this.#http,
      host,
      origin: new URL(origin),
      insecure: false,
      now: this.#now,
      credentials: async () => {
        const login = await this.#credentials();
        if (login !== undefined) checkProtected(this.endpoint.url, this.#env);
        return login;
      },
    });
  }

  /** An answer of any status. What may be repeated is tried again when the connection breaks or the server is overloaded. */
  async fetch(given: ApiRequest, { repeatable }: SendOptions = {}): Promise<ApiResponse> {
    const body = await inMemory(given.body);
    const request = body === given.body ? given : { ...given, body };
    const again = body === null || body instanceof BytesBody;
    // A stream can be sent once: that it will not be refused for want of a login has to be known before.
    if (!again && !this.#settled) await this.#settle(request.signal);
    for (let attempt = 1; ; attempt++) {
      const authorization = await this.#authorization(request.signal);
      const answer = await this.#send(request, authorization, repeatable);
      if (answer.status !== 401) this.#settled = true;
      if (answer.status !== 401 || !again || attempt === mostTries || !(await this.#learn(answer, authorization)))
        return respond(answer, request);
      await discard(answer);
    }
  }

  async #settle(signal: AbortSignal | undefined): Promise<void> {
    const answer = await this.fetch({
      method: 'GET',
      url: `${this.endpoint.url}/api/v1`,
      headers: { get: () => null },
      body: null,
      ...(signal === undefined ? {} : { signal }),
    });
    if (answer.body !== null) for await (const chunk of answer.body as AsyncIterable<Uint8Array>) void chunk.length;
    this.#settled = true;
  }

  async #authorization(signal: AbortSignal | undefined): Promise<string | undefined> {
    const { login, url } = this.endpoint;
    if (login !== undefined) checkProtected(url, this.#env);
    if (login?.registryToken !== undefined) return `Bearer ${login.registryToken}`;
    const wanted = await this.#tokens.header([...this.#scopes], signal);
    if (wanted !== undefined || login?.username === undefined || login.password === undefined) return wanted;
    // Most servers take a name and a password as they are; one that wants a token says so.
    return basic(login.username, login.password);
  }

  /** True when another try can help. */
  async #learn(answer: Incoming, sent: string | undefined): Promise<boolean> {
    const { headers } = answer;
    // API Gateway renames it.
    const header = headers['www-authenticate'] ?? headers['x-amzn-remapped-www-authenticate'];
    const challenge = Array.isArray(header) ? header.join(', ') : header;
    if (await this.#tokens.known()) checkProtected(this.endpoint.url, this.#env);
    else return false;
    // The password itself was refused, but a token that it gets may do.
    const before = sent?.startsWith('Basic ') && /\bbearer\b/i.test(challenge ?? '') ? undefined : sent;
    const again = await this.#tokens.challenged(challenge, answer.url, before, [...this.#scopes]);
    for (const { params } of parseChallenges(challenge)) this.want(params.scope ?? '');
    return again;
  }

  /** Tokens are asked for these scopes as well from now on, written as in a challenge. True when they were not before. */
  want(scopes: string): boolean {
    const before = this.#scopes.size;
    for (const scope of scopes.split(' ')) if (scope !== '') this.#scopes.add(scope);
    return this.#scopes.size > before;
  }

  /**
   * The login that is kept here for another registry, to be sent along to this endpoint. None where it would cross a network unprotected,
   * and none of the endpoint's own.
   */
  async loginFor(host: string, path: string): Promise<Credentials | undefined> {
    const { url } = this.endpoint;
    if (host === new URL(url).host || !isProtected(url, this.#env)) return undefined;
    return await dockerCredentials(host, path, { env: this.#env });
  }

  /** What to keep after a login that was good: a token that stands for the password, where the server gives one. */
  identity(signal: AbortSignal): Promise<string | undefined> {
    return this.#tokens.identity(signal);
  }

  #send(request: ApiRequest, authorization: string | undefined, repeatable: boolean | undefined): Promise<Incoming> {
    const { method, url, headers, body, signal } = request;
    const given = Object.fromEntries(
      ['content-type', 'content-encoding', 'accept'].flatMap((name) => {
        const value = headers.get(name);
        return value === null ? [] : [[name, value]];
      }),
    );
    return this.#http.send({
      method,
      url: new URL(url),
      headers: { ...given, ...(authorization === undefined ? {} : { authorization }) },
      ...(body === null
        ? {}
        : { body: body instanceof BytesBody ? { size: body.bytes.length, open: () => body } : { open: () => body } }),
      ...(body !== null && !(body instanceof BytesBody) ? { repeatable: false } : repeatable === undefined ? {} : { repeatable }),
      ...(signal === undefined ? {} : { signal }),
    });
  }

  /** Sends bytes to a URL that the home gave, without any login. */
  async put(
    url: string,
    headers: Readonly<Record<string, string>>,
    body: { readonly size: number; open(): Bytes | Promise<Bytes> },
    signal: AbortSignal | undefined,
  ): Promise<void> {
    const answer = await this.#http.send({
      method: 'PUT',
      // Refused where an endpoint should lead nobody: this machine's own services, a cloud's credentials, plain HTTP from HTTPS.
      url: this.#http.nextUrl(url, new URL(this.endpoint.url)),
      headers,
      body,
      passRedirect: true,
      ...(signal === undefined ? {} : { signal }),
    });
    await discard(answer);
    if (answer.status >= 300) {
      throw new SlipwayError('UPSTREAM', `${answer.url.host} refused an upload: HTTP ${answer.status}`, {
        hint: 'Try again; the clock of this machine may be wrong if it stays so.',
        details: { status: answer.status },
      });
    }
  }

  [Symbol.dispose](): void {
    this.#http[Symbol.dispose]();
  }
}

function respond({ status, headers, body, url }: Incoming, { signal }: ApiRequest): ApiResponse {
  const plain = Object.entries(headers).flatMap(([name, value]) =>
    value === undefined ? [] : [[name, Array.isArray(value) ? value.join(', ') : value] as const],
  );
  return { status, headers: Object.fromEntries(plain), body: read(body, url, signal) };
}

/** A connection that breaks is told as such, and one that we end is no failure of theirs. */
async function* read(body: IncomingMessage, url: URL, signal: AbortSignal | undefined): AsyncGenerator<Uint8Array> {
  try {
    yield* body as AsyncIterable<Uint8Array>;
  } catch (error) {
    if (signal?.aborted) throw new SlipwayError('CANCELLED', 'cancelled', { cause: error });
    throw asUpstream(error, url);
  }
}

function isProtected(url: string, env: RemoteOptions['env']): boolean {
  const { protocol, hostname, host } = new URL(url);
  const named = (env.SLIPWAY_INSECURE_REGISTRIES ?? '').split(',').map((name) => name.trim());
  return protocol === 'https:' || isLoopback(hostname) || named.includes(host) || named.includes(hostname);
}

/** DENIED for a login that would cross a network unprotected. */
export function checkProtected(url: string, env: RemoteOptions['env']): void {
  if (isProtected(url, env)) return;
  const { host } = new URL(url);
  throw new SlipwayError('DENIED', `refused to send a login to ${host} over plain HTTP`, {
    hint: 'Use https, or name the host in SLIPWAY_INSECURE_REGISTRIES if the network is yours.',
  });
}
