// How a registry wants to be convinced: Basic, or Bearer with a token from a realm (distribution docs/content/spec/auth/token.md and
// oauth.md). Tokens are kept per scope until shortly before they expire.

import type { Credentials } from '../auth/credentials.ts';
import { SlipwayError } from '../errors.ts';
import { type Challenge, parseChallenges } from './challenge.ts';
import { discard, type HttpClient, readBody } from './http.ts';

/** `repository:team/app:pull,push` */
export const repositoryScope = (path: string, ...actions: readonly string[]): string => `repository:${path}:${actions.join(',')}`;

interface Token {
  readonly value: string;
  /** Milliseconds since 1970. */
  readonly until: number;
}

export interface TokensOptions {
  readonly http: HttpClient;
  readonly credentials: () => Promise<Credentials | undefined>;
  readonly clientId: string;
  /** Milliseconds since 1970. */
  readonly now: () => number;
}

const bodyLimit = 1024 * 1024;
/** Tokens live at least so long whatever they say (token.md: "default 60 seconds"), less a little for the way there. */
const leastSeconds = 60;
const early = 10_000;

/** One registry's authorization. */
export class Tokens {
  readonly #options: TokensOptions;
  readonly #tokens = new Map<string, Promise<Token>>();
  #challenge: Challenge | undefined;
  #credentials: Promise<Credentials | undefined> | undefined;

  constructor(options: TokensOptions) {
    this.#options = options;
  }

  /** Whether there is anything to log in with. */
  async known(): Promise<boolean> {
    return (await this.#login()) !== undefined;
  }

  /** The Authorization header for these scopes, as far as the registry has said what it wants. */
  async header(scopes: readonly string[], signal?: AbortSignal): Promise<string | undefined> {
    const challenge = this.#challenge;
    if (challenge === undefined) return undefined;
    const login = await this.#login();
    if (challenge.scheme === 'basic') {
      return login?.username === undefined ? undefined : basic(login.username, login.password ?? '');
    }
    if (login?.registryToken !== undefined) return `Bearer ${login.registryToken}`;
    return `Bearer ${(await this.#token(challenge, scopes, signal)).value}`;
  }

  /**
   * Takes the challenge of a 401. False when trying again cannot help: nothing new to send. `sent` is the header the refused request
   * carried; `from` where it went.
   */
  async challenged(header: string | undefined, from: URL, sent: string | undefined, scopes: readonly string[]): Promise<boolean> {
    const all = parseChallenges(header);
    const challenge =
      all.find((c) => c.scheme === 'bearer' && c.params.realm !== undefined) ?? all.find((c) => c.scheme === 'basic');
    if (challenge === undefined) return false;
    if (challenge.scheme === 'bearer') checkRealm(challenge.params.realm as string, from, this.#options.http);
    const before = this.#challenge;
    this.#challenge = challenge;
    if (challenge.scheme === 'basic') return sent === undefined && (await this.#login())?.username !== undefined;
    if (sent?.startsWith('Bearer ') && (await this.#login())?.registryToken !== undefined) return false;
    // A token that was refused is of no use any more: perhaps it expired, or covers less than this request needs.
    this.#tokens.delete(keyOf(scopes));
    return sent === undefined || before === undefined || sent.startsWith('Bearer ');
  }

  /**
   * A token to keep instead of the password (docker's identity token), from a realm that gives one to who asks for it. Undefined when it
   * gives none, or has not been named yet.
   */
  async identity(signal?: AbortSignal): Promise<string | undefined> {
    const challenge = this.#challenge;
    const login = await this.#login();
    if (challenge?.scheme !== 'bearer' || login?.username === undefined || login.password === undefined) return undefined;
    const url = this.#realmUrl(challenge, login);
    url.searchParams.set('offline_token', 'true');
    const answer = await this.#options.http.send({
      method: 'GET',
      url,
      headers: { authorization: basic(login.username, login.password) },
      ...(signal === undefined ? {} : { signal }),
    });
    const { refresh_token: token } = await this.#document(answer, url);
    return typeof token === 'string' && token !== '' ? token : undefined;
  }

  #realmUrl(challenge: Challenge, login: Credentials | undefined): URL {
    const url = new URL(challenge.params.realm as string);
    if (challenge.params.service !== undefined) url.searchParams.set('service', challenge.params.service);
    url.searchParams.set('client_id', this.#options.clientId);
    if (login?.username !== undefined && login.password !== undefined) url.searchParams.set('account', login.username);
    return url;
  }

  #login(): Promise<Credentials | undefined> {
    this.#credentials ??= this.#options.credentials();
    return this.#credentials;
  }

  async #token(challenge: Challenge, scopes: readonly string[], signal: AbortSignal | undefined): Promise<Token> {
    const key = keyOf(scopes);
    const kept = this.#tokens.get(key);
    if (kept !== undefined && (await kept).until > this.#options.now()) return kept;
    const fresh = this.#fetch(challenge, scopes, signal);
    this.#tokens.set(key, fresh);
    // A failure is told to those who wait for it, and the next to ask tries again.
    fresh.catch(() => this.#tokens.delete(key));
    return fresh;
  }

  async #fetch(challenge: Challenge, scopes: readonly string[], signal: AbortSignal | undefined): Promise<Token> {
    const login = await this.#login();
    const realm = new URL(challenge.params.realm as string);
    const wanted = scopes.length > 0 ? scopes : (challenge.params.scope?.split(' ').filter((s) => s !== '') ?? []);
    if (login?.identityToken !== undefined) {
      const form = new URLSearchParams({
        grant_type: 'refresh_token',
        refresh_token: login.identityToken,
        client_id: this.#options.clientId,
        service: challenge.params.service ?? '',
        scope: wanted.join(' '),
      });
      const body = Buffer.from(form.toString());
      const answer = await this.#options.http.send({
        method: 'POST',
        url: realm,
        headers: { 'content-type': 'application/x-www-form-urlencoded' },
        body: { size: body.length, open: () => once(body) },
        repeatable: true,
        ...(signal === undefined ? {} : { signal }),
      });
      // A realm without OAuth2 knows no POST; the password, if there is one, may still do.
      if (![404, 405].includes(answer.status) || login.username === undefined) return this.#read(answer, realm);
      await discard(answer);
    }
    const url = this.#realmUrl(challenge, login);
    for (const scope of wanted) url.searchParams.append('scope', scope);
    const named = login?.username !== undefined && login.password !== undefined;
    const answer = await this.#options.http.send({
      method: 'GET',
      url,
      headers: named ? { authorization: basic(login.username as string, login.password as string) } : {},
      ...(signal === undefined ? {} : { signal }),
    });
    return this.#read(answer, realm);
  }

  async #read(answer: Awaited<ReturnType<HttpClient['send']>>, realm: URL): Promise<Token> {
    const document = await this.#document(answer, realm);
    const value = [document.token, document.access_token].find((t) => typeof t === 'string' && t !== '');
    // A token goes into a header: what does not fit there is not one.
    if (typeof value !== 'string' || !/^[\x21-\x7e]+$/.test(value)) {
      throw new SlipwayError('UPSTREAM', `${realm.host} gave no token in its answer`);
    }
    const seconds = typeof document.expires_in === 'number' ? document.expires_in : leastSeconds;
    return { value, until: this.#options.now() + Math.max(seconds, leastSeconds) * 1000 - early };
  }

  async #document(answer: Awaited<ReturnType<HttpClient['send']>>, realm: URL): Promise<Readonly<Record<string, unknown>>> {
    if (answer.status !== 200) {
      await discard(answer);
      if (answer.status === 429) throw tooMany(realm.host);
      const code = answer.status === 401 || answer.status === 403 || answer.status === 400 ? 'UNAUTHORIZED' : 'UPSTREAM';
      throw new SlipwayError(
        code,
        code === 'UNAUTHORIZED' ? `${realm.host} refused the login` : `${realm.host} gave no token: HTTP ${answer.status}`,
        { details: { host: realm.host, status: answer.status } },
      );
    }
    const text = (await readBody(answer, bodyLimit, 'the token')).toString('utf8');
    try {
      return (JSON.parse(text) as Record<string, unknown> | null) ?? {};
    } catch (cause) {
      throw new SlipwayError('UPSTREAM', `${realm.host} gave a token that is no JSON document`, { cause });
    }
  }
}

const keyOf = (scopes: readonly string[]): string => [...scopes].sort().join(' ');

export const basic = (username: string, password: string): string =>
  `Basic ${Buffer.from(`${username}:${password}`, 'utf8').toString('base64')}`;

async function* once(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  yield bytes;
}

/** A realm gets the password: it must be as safe as the registry that names it. */
function checkRealm(realm: string, from: URL, http: HttpClient): void {
  if (!URL.canParse(realm)) throw new SlipwayError('UPSTREAM', `${from.host} names a token server that is no URL`);
  http.nextUrl(realm, from);
}

export const tooMany = (host: string, said = ''): SlipwayError =>
  new SlipwayError('TOO_MANY_REQUESTS', `toomanyrequests: ${said === '' ? `${host} takes no more requests for now` : said}`, {
    hint: 'Wait, log in (docker login) for a higher limit, or pull through a cache of your own.',
    details: { host },
  });
