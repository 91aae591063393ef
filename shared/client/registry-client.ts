// A client for one other registry (OCI distribution-spec 1.1). Everything that comes in is measured against its digest and size
// before anybody may rely on it.
import { createHash } from 'node:crypto';
import type { Credentials } from '../auth/credentials.ts';
import { isCode, SlipwayError } from '../errors.ts';
import { algorithmOf, type Digest, isDigest } from '../oci/digest.ts';
import { manifestLimit } from '../oci/manifest.ts';
import { mediaType } from '../oci/media-type.ts';
import { isTag } from '../oci/reference.ts';
import type { Bytes } from '../store/blobs.ts';
import { collect } from '../stream/collect.ts';
import { unlessAborted } from '../stream/signalled.ts';
import { verified } from '../stream/verified.ts';
import { isLoopback } from './address.ts';
import { asUpstream, discard, type HttpClient, type Incoming, isTransient, type Outgoing, readBody } from './http.ts';
import { refusedBy } from './refusal.ts';
import { repositoryScope, Tokens } from './tokens.ts';

export interface RegistryClientOptions {
  readonly http: HttpClient;
  /** `docker.io`, `localhost:5000`, ... as in a reference. */
  readonly host: string;
  readonly credentials: () => Promise<Credentials | undefined>;
  /** Plain HTTP and unchecked certificates are allowed. Always so for this machine's own addresses. */
  readonly insecure: boolean;
  /** Where the host answers, when that is known. Absent: HTTPS, or what `insecure` allows. */
  readonly origin?: URL;
  /** Milliseconds since 1970. */
  readonly now: () => number;
}

export interface RemoteManifest {
  readonly digest: Digest;
  readonly mediaType: string;
  readonly bytes: Uint8Array;
}

export interface RemoteBlob {
  readonly digest: Digest;
  /** Bytes. */
  readonly size: number;
}

export interface OutgoingBlob extends RemoteBlob {
  /** The bytes from `start` on; called again when they have to be sent again. */
  open(start: number): Promise<Bytes>;
}

const accepted = [mediaType.ociManifest, mediaType.ociIndex, mediaType.dockerManifest, mediaType.dockerList].join(', ');
const clientId = 'slipway';
/** Docker Hub's registry has another name than its images. */
const hubRegistry = 'registry-1.docker.io';
/** Pieces of a push to a registry that takes no large bodies. */
const chunkBytes = 4 * 1024 * 1024;
/** Bytes that must come between two breaks for the count of breaks to begin anew. */
const worthGoingOn = 1024 * 1024;

export class RegistryClient {
  readonly host: string;
  readonly #options: RegistryClientOptions;
  readonly #http: HttpClient;
  readonly #tokens: Tokens;
  #base: Promise<URL> | undefined;

  constructor(options: RegistryClientOptions) {
    this.host = options.host;
    this.#options = options;
    this.#http = options.http;
    this.#tokens = new Tokens({ http: options.http, credentials: options.credentials, clientId, now: options.now });
  }

  /**
   * Tries the login at the registry itself, as docker login does; UNAUTHORIZED when it is refused. Answers what to keep in place of the
   * password, where the registry gives such a token. One that asks nobody for a login refuses none.
   */
  async login(signal?: AbortSignal): Promise<string | undefined> {
    const url = new URL('/v2/', await unlessAborted(this.#origin(), signal));
    const answer = await this.#authorized([], signal, (authorization) => ({
      method: 'GET',
      url,
      headers: this.#credentialsFor(url, authorization),
    }));
    if (answer.status !== 200) throw await refusedBy(answer, `${this.host}/v2/`);
    await discard(answer);
    return await this.#tokens.identity(signal);
  }

  /** What a tag or digest points at, without its document. Absence is `undefined`. */
  async resolve(
    path: string,
    reference: string,
    signal?: AbortSignal,
  ): Promise<(RemoteBlob & { mediaType: string }) | undefined> {
    const answer = await this.#call(
      path,
      ['pull'],
      { method: 'HEAD', headers: { accept: accepted } },
      `manifests/${reference}`,
      signal,
    );
    await discard(answer);
    if (answer.status === 404) return undefined;
    const digest = answer.headers['docker-content-digest'];
    const size = Number(answer.headers['content-length'] ?? Number.NaN);
    if (answer.status === 200 && typeof digest === 'string' && isDigest(digest) && Number.isSafeInteger(size)) {
      return { digest, size, mediaType: typeOf(answer) };
    }
    // HEAD carries no reason, and some registries do not answer it in full: GET tells.
    const manifest = await this.manifest(path, reference, signal);
    return manifest && { digest: manifest.digest, size: manifest.bytes.length, mediaType: manifest.mediaType };
  }

  /**
   * A manifest or index, byte for byte. When `reference` is a digest the bytes have it (DIGEST_MISMATCH). Absence is `undefined`;
   * a refusal is UNAUTHORIZED or DENIED.
   */
  async manifest(path: string, reference: string, signal?: AbortSignal): Promise<RemoteManifest | undefined> {
    const answer = await this.#call(
      path,
      ['pull'],
      { method: 'GET', headers: { accept: accepted } },
      `manifests/${reference}`,
      signal,
    );
    if (answer.status === 404) {
      const refusal = await refusedBy(answer, this.#what(path, reference));
      // A repository that is not there, or that we may not know of, is not the same as a tag that is not there.
      if (isCode(refusal, 'NOT_FOUND')) return undefined;
      throw refusal;
    }
    if (answer.status !== 200) throw await refusedBy(answer, this.#what(path, reference));
    const bytes = await readBody(answer, manifestLimit, 'the manifest');
    const said = answer.headers['docker-content-digest'];
    const wanted = isDigest(reference) ? reference : typeof said === 'string' && isDigest(said) ? said : undefined;
    const digest = digestOf(bytes, wanted === undefined ? 'sha256' : algorithmOf(wanted));
    if (wanted !== undefined && wanted !== digest) {
      throw new SlipwayError(
        'DIGEST_MISMATCH',
        `${this.#what(path, reference)}: the manifest has digest ${digest}, not ${wanted}`,
        {
          details: { expected: wanted, actual: digest },
        },
      );
    }
    return { digest, mediaType: typeOf(answer), bytes };
  }

  /**
   * The bytes of a blob, not verified: give them to a store that is, or to `verified`. A broken transfer is taken up where it broke.
   * More or fewer bytes than `blob.size` fail.
   */
  async *blob(path: string, blob: RemoteBlob, signal?: AbortSignal): AsyncGenerator<Uint8Array, void, undefined> {
    let at = 0;
    let breaks = 0;
    let mark = 0;
    for (;;) {
      const headers: Record<string, string> = at === 0 ? {} : { range: `bytes=${at}-` };
      const answer = await this.#call(path, ['pull'], { method: 'GET', headers }, `blobs/${blob.digest}`, signal);
      if (answer.status !== 200 && answer.status !== 206) throw await refusedBy(answer, this.#what(path, blob.digest));
      // A registry that does not know ranges sends all of it again.
      let skip = answer.status === 200 ? at : 0;
      if (answer.status === 206 && !answer.headers['content-range']?.startsWith(`bytes ${at}-`)) {
        answer.body.destroy();
        throw new SlipwayError('UPSTREAM', `${this.host} sent another range of ${blob.digest} than asked for`);
      }
      let broken: unknown;
      try {
        for await (const chunk of answer.body as AsyncIterable<Buffer>) {
          const fresh = skip === 0 ? chunk : chunk.subarray(Math.min(skip, chunk.length));
          skip -= chunk.length - fresh.length;
          if (fresh.length === 0) continue;
          at += fresh.length;
          if (at > blob.size) throw tooLong(blob);
          yield fresh;
        }
      } catch (error) {
        if (signal?.aborted) throw new SlipwayError('CANCELLED', 'cancelled', { cause: error });
        if (!isTransient(error)) throw asUpstream(error, answer.url);
        broken = error;
      } finally {
        answer.body.destroy();
      }
      if (at === blob.size) return;
      if (at - mark >= worthGoingOn) breaks = 0;
      mark = at;
      const wait = this.#http.delay(breaks++);
      if (wait === undefined) {
        throw new SlipwayError(
          'UPSTREAM',
          `${this.host} broke off ${blob.digest} after ${at} of ${blob.size} bytes, several times`,
          {
            cause: broken,
          },
        );
      }
      await this.#http.sleep(wait, signal);
    }
  }

  /** A small blob, verified. */
  async document(path: string, blob: RemoteBlob, limit: number, signal?: AbortSignal): Promise<Uint8Array> {
    return await collect(verified(this.blob(path, blob, signal), blob, blob.digest), limit, blob.digest);
  }

  async hasBlob(path: string, digest: Digest, signal?: AbortSignal): Promise<boolean> {
    const answer = await this.#call(path, ['pull', 'push'], { method: 'HEAD' }, `blobs/${digest}`, signal);
    await discard(answer);
    if (answer.status === 200) return true;
    if (answer.status === 404) return false;
    throw await refusedBy(answer, this.#what(path, digest));
  }

  /**
   * Puts a blob there: by a mount from `from` (a path at the same registry) where that works, else by one PUT, else in chunks.
   * `onBytes` hears how many bytes were sent; it may go back when a transfer is begun again.
   */
  async upload(
    path: string,
    blob: OutgoingBlob,
    options: { readonly from?: string; readonly onBytes?: (sent: number) => void; readonly signal?: AbortSignal } = {},
  ): Promise<'mounted' | 'uploaded'> {
    const { signal } = options;
    let start = await this.#begin(path, blob, options.from, signal);
    if (start === 'mounted') return start;
    for (let attempt = 0; ; attempt++) {
      try {
        await this.#send(path, blob, start, options);
        return 'uploaded';
      } catch (error) {
        const wait = this.#http.delay(attempt);
        if (wait === undefined || !isCode(error, 'UPSTREAM') || !isTransient(error.cause)) throw error;
        await this.#http.sleep(wait, signal);
        // The old upload may be half full; a new one is always right.
        const again = await this.#begin(path, blob, undefined, signal);
        if (again === 'mounted') return again;
        start = again;
      }
    }
  }

  async #begin(path: string, blob: RemoteBlob, from: string | undefined, signal?: AbortSignal): Promise<Incoming | 'mounted'> {
    const query = from === undefined ? '' : `?${new URLSearchParams({ mount: blob.digest, from })}`;
    const scopes = from === undefined ? [] : [repositoryScope(from, 'pull')];
    const outgoing = { method: 'POST', repeatable: true };
    let answer: Incoming;
    try {
      answer = await this.#call(path, ['pull', 'push'], outgoing, `blobs/uploads/${query}`, signal, scopes);
    } catch (error) {
      // Not being allowed to read `from` must not keep us from pushing.
      if (from === undefined || !isCode(error, 'UNAUTHORIZED', 'DENIED')) throw error;
      return this.#begin(path, blob, undefined, signal);
    }
    if (answer.status === 201) {
      await discard(answer);
      return 'mounted';
    }
    if (answer.status === 202 && answer.headers.location !== undefined) {
      await discard(answer);
      return answer;
    }
    if (from !== undefined && answer.status >= 400 && answer.status < 500) {
      await discard(answer);
      return this.#begin(path, blob, undefined, signal);
    }
    throw await refusedBy(answer, this.#what(path));
  }

  async #send(
    path: string,
    blob: OutgoingBlob,
    start: Incoming,
    { onBytes, signal }: { readonly onBytes?: (sent: number) => void; readonly signal?: AbortSignal },
  ): Promise<void> {
    const most = Number(start.headers['oci-chunk-max-length'] ?? Number.NaN);
    const least = Number(start.headers['oci-chunk-min-length'] ?? 0);
    let location = this.#http.nextUrl(start.headers.location as string, start.url);
    if (!(most < blob.size)) {
      const whole = await this.#put(path, location, blob, 0, blob.size, onBytes, signal);
      if (whole.status !== 413) return;
    }
    const step = Math.max(least || 0, Math.min(chunkBytes, most || chunkBytes));
    let at = 0;
    while (at < blob.size) {
      const length = Math.min(step, blob.size - at);
      const from = at;
      const answer = await this.#authorized([repositoryScope(path, 'pull', 'push')], signal, (authorization) => ({
        method: 'PATCH',
        url: location,
        repeatable: false,
        headers: {
          ...this.#credentialsFor(location, authorization),
          'content-type': 'application/octet-stream',
          'content-range': `${from}-${from + length - 1}`,
        },
        body: { size: length, open: async () => counting(slice(await blob.open(from), length), (n) => onBytes?.(from + n)) },
      }));
      if (![200, 201, 202, 204].includes(answer.status)) throw await refusedBy(answer, this.#what(path, blob.digest));
      await discard(answer);
      if (answer.headers.location !== undefined) location = this.#http.nextUrl(answer.headers.location, location);
      at += length;
    }
    await this.#put(path, location, blob, blob.size, 0, onBytes, signal);
  }

  /** The closing PUT with `length` bytes from `start`. 413 comes back; every other failure is thrown. */
  async #put(
    path: string,
    location: URL,
    blob: OutgoingBlob,
    start: number,
    length: number,
    onBytes: ((sent: number) => void) | undefined,
    signal: AbortSignal | undefined,
  ): Promise<Incoming> {
    const url = new URL(location);
    url.searchParams.set('digest', blob.digest);
    const answer = await this.#authorized([repositoryScope(path, 'pull', 'push')], signal, (authorization) => ({
      method: 'PUT',
      url,
      repeatable: length === 0,
      headers: { ...this.#credentialsFor(url, authorization), 'content-type': 'application/octet-stream' },
      body: {
        size: length,
        open: async () => (length === 0 ? nothing() : counting(await blob.open(start), (n) => onBytes?.(start + n))),
      },
    }));
    if (answer.status === 413 && length > 0) {
      await discard(answer);
      return answer;
    }
    if (![200, 201, 202, 204].includes(answer.status)) throw await refusedBy(answer, this.#what(path, blob.digest));
    await discard(answer);
    return answer;
  }

  /** Puts a manifest under a tag or its digest. */
  async putManifest(path: string, reference: string, manifest: RemoteManifest, signal?: AbortSignal): Promise<void> {
    const { bytes } = manifest;
    const answer = await this.#call(
      path,
      ['pull', 'push'],
      {
        method: 'PUT',
        headers: { 'content-type': manifest.mediaType },
        body: { size: bytes.length, open: () => piece(bytes) },
      },
      `manifests/${reference}`,
      signal,
    );
    if (answer.status !== 201 && answer.status !== 200 && answer.status !== 202) {
      throw await refusedBy(answer, this.#what(path, reference));
    }
    await discard(answer);
  }

  /** Every tag, page after page. A repository that is not there has none: NOT_FOUND. */
  async *tags(path: string, signal?: AbortSignal): AsyncGenerator<string, void, undefined> {
    let next: URL | undefined = await this.#url(path, 'tags/list?n=1000', signal);
    const seen = new Set<string>();
    while (next !== undefined) {
      const url: URL = next;
      if (seen.has(url.href)) throw new SlipwayError('UPSTREAM', `${this.host} lists tags in a circle`);
      seen.add(url.href);
      const answer = await this.#authorized([repositoryScope(path, 'pull')], signal, (authorization) => ({
        method: 'GET',
        url,
        headers: this.#credentialsFor(url, authorization),
      }));
      if (answer.status !== 200) throw await refusedBy(answer, this.#what(path));
      const text = (await readBody(answer, 16 * 1024 * 1024, 'the list of tags')).toString('utf8');
      for (const tag of tagsIn(text, this.host)) yield tag;
      const link = /<([^>]+)>\s*;\s*rel="?next"?/.exec(String(answer.headers.link ?? ''))?.[1];
      next = link === undefined ? undefined : this.#http.nextUrl(link, url);
    }
  }

  #what(path: string, reference = ''): string {
    const mark = reference === '' ? '' : isDigest(reference) ? '@' : ':';
    return `${this.host}/${path}${mark}${reference}`;
  }

  async #url(path: string, rest: string, signal: AbortSignal | undefined): Promise<URL> {
    return new URL(`/v2/${path}/${rest}`, await unlessAborted(this.#origin(), signal));
  }

  async #call(
    path: string,
    actions: readonly string[],
    outgoing: Omit<Outgoing, 'url'>,
    rest: string,
    signal: AbortSignal | undefined,
    moreScopes: readonly string[] = [],
  ): Promise<Incoming> {
    const url = await this.#url(path, rest, signal);
    return this.#authorized([repositoryScope(path, ...actions), ...moreScopes], signal, (authorization) => ({
      ...outgoing,
      url,
      headers: { ...outgoing.headers, ...this.#credentialsFor(url, authorization) },
    }));
  }

  /** Sends with what the registry asked for so far; after a 401 with what that asks for, once more. */
  async #authorized(
    scopes: readonly string[],
    signal: AbortSignal | undefined,
    make: (authorization: string | undefined) => Outgoing,
  ): Promise<Incoming> {
    const options = signal === undefined ? {} : { signal };
    for (let attempt = 0; ; attempt++) {
      const authorization = await this.#tokens.header(scopes, signal);
      const answer = await this.#http.send({ ...make(authorization), ...options });
      if (answer.status !== 401 || attempt === 2) return answer;
      const challenge = answer.headers['www-authenticate'];
      if (!(await this.#tokens.challenged(challenge, answer.url, authorization, scopes))) return answer;
      await discard(answer);
    }
  }

  /** Only this registry itself gets its credentials, not the hosts it names. */
  #credentialsFor(url: URL, authorization: string | undefined): Record<string, string> {
    return authorization === undefined || url.host !== this.#registryHost() ? {} : { authorization };
  }

  #registryHost(): string {
    const host = this.host === 'docker.io' ? hubRegistry : this.host;
    // A URL drops its scheme's own port.
    return host.replace(/:(?:443|80)$/, '');
  }

  #origin(): Promise<URL> {
    this.#base ??= this.#findOrigin();
    this.#base.catch(() => {
      this.#base = undefined;
    });
    return this.#base;
  }

  /**
   * HTTPS, except that this machine's own addresses and hosts declared insecure may speak plain HTTP: they are asked, without
   * credentials, what they speak.
   */
  async #findOrigin(): Promise<URL> {
    if (this.#options.origin !== undefined) return this.#options.origin;
    const host = this.host === 'docker.io' ? hubRegistry : this.host;
    const secure = new URL(`https://${host}/`);
    const plain = new URL(`http://${host}/`);
    const local = isLoopback(secure.hostname);
    if (!local && !this.#options.insecure) return secure;
    // On this machine nobody sits between; elsewhere plain HTTP is only for those that do not speak TLS.
    let first: unknown;
    for (const url of local ? [plain, secure] : [secure, plain]) {
      try {
        const answer = await this.#http.send({ method: 'GET', url: new URL('/v2/', url), repeatable: false });
        const text = answer.status === 400 ? (await readBody(answer, 64 * 1024, 'the answer')).toString('utf8') : '';
        await discard(answer);
        if (!/HTTPS/i.test(text)) return url;
      } catch (error) {
        first ??= error;
      }
    }
    throw first;
  }
}

const typeOf = (answer: Incoming): string => (answer.headers['content-type'] ?? '').split(';', 1)[0]?.trim().toLowerCase() ?? '';

function digestOf(bytes: Uint8Array, algorithm: 'sha256' | 'sha512'): Digest {
  return `${algorithm}:${createHash(algorithm).update(bytes).digest('hex')}`;
}

const tooLong = (blob: RemoteBlob): SlipwayError =>
  new SlipwayError('SIZE_MISMATCH', `${blob.digest}: more than the announced ${blob.size} bytes came`, {
    details: { expected: blob.size },
  });

function tagsIn(text: string, host: string): readonly string[] {
  let document: unknown;
  try {
    document = JSON.parse(text);
  } catch (cause) {
    throw new SlipwayError('UPSTREAM', `${host} sent a list of tags that is no JSON document`, { cause });
  }
  const { tags } = (document ?? {}) as { tags?: unknown };
  if (!Array.isArray(tags)) return [];
  return tags.filter((tag): tag is string => typeof tag === 'string' && isTag(tag));
}

async function* nothing(): AsyncGenerator<Uint8Array> {
  // An empty body.
}

async function* piece(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  yield bytes;
}

async function* counting(source: Bytes, onBytes: (total: number) => void): AsyncGenerator<Uint8Array> {
  let total = 0;
  for await (const chunk of source) {
    yield chunk;
    total += chunk.length;
    onBytes(total);
  }
}

async function* slice(source: Bytes, length: number): AsyncGenerator<Uint8Array> {
  let left = length;
  for await (const chunk of source) {
    yield chunk.length > left ? chunk.subarray(0, left) : chunk;
    left -= Math.min(left, chunk.length);
    if (left === 0) return;
  }
}
