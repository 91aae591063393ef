// The runner's side of the job routes: JSON questions with the job's token, bytes over presigned URLs. No AWS SDK, no other credential.
import { HttpClient, type Incoming, readBody } from '../client/http.ts';
import { count } from '../cost/meter.ts';
import { isCode, isErrorCode, SlipwayError } from '../errors.ts';
import type { Digest } from '../oci/digest.ts';
import type { BlobStat, ByteRange, Bytes } from '../store/blobs.ts';
import type { JobTicket } from './job.ts';

const maxAnswer = 64 << 20;
/** Milliseconds between tries at a home that cannot be reached; each try is several of HttpClient's. */
const pause = 5000;

export interface JobClientOptions {
  readonly version: string;
  /** Milliseconds since 1970. */
  readonly clock: () => number;
  /** Milliseconds for which a home that cannot be reached is asked again. */
  readonly patience: number;
}

export class JobClient implements Disposable {
  readonly #url: string;
  readonly #token: string;
  readonly #http: HttpClient;
  /** Presigned URLs in use, until shortly before they expire. */
  readonly #urls = new Map<Digest, { readonly url: string; readonly size: number; readonly until: number }>();
  readonly #clock: () => number;
  readonly #patience: number;

  constructor(ticket: JobTicket, options: JobClientOptions) {
    this.#patience = options.patience;
    this.#url = ticket.url.replace(/\/+$/, '');
    this.#token = ticket.token;
    this.#clock = options.clock;
    this.#http = new HttpClient({ userAgent: `slipway-runner/${options.version}`, delays: [250, 1000, 4000, 10_000] });
  }

  [Symbol.dispose](): void {
    this.#http[Symbol.dispose]();
  }

  /**
   * Every question may be asked twice: all of them are idempotent. One that matters outlives a home that is away for a while: hours of
   * work are not to be lost to a gateway that is. UPSTREAM when it stays away.
   */
  async ask<T>(name: string, body: unknown, signal?: AbortSignal): Promise<T> {
    const since = this.#clock();
    for (;;) {
      try {
        return await this.askOnce<T>(name, body, signal);
      } catch (error) {
        if (!isCode(error, 'UPSTREAM') || this.#clock() - since > this.#patience) throw error;
        await this.#http.sleep(pause, signal);
      }
    }
  }

  /** Without patience. */
  async askOnce<T>(name: string, body: unknown, signal?: AbortSignal): Promise<T> {
    const bytes = Buffer.from(JSON.stringify(body));
    const answer = await this.#http.send({
      method: 'POST',
      url: new URL(`${this.#url}/${name}`),
      headers: { authorization: `Bearer ${this.#token}`, 'content-type': 'application/json' },
      body: { size: bytes.length, open: async () => once(bytes) },
      repeatable: true,
      ...(signal === undefined ? {} : { signal }),
    });
    const text = await readBody(answer, maxAnswer, `the answer to ${name}`);
    if (answer.status >= 200 && answer.status < 300) return JSON.parse(text.toString('utf8')) as T;
    throw refusal(answer, text.toString('utf8'), name);
  }

  /** `undefined` when the home has lost it. DENIED for what is not this job's. */
  async open(
    digest: Digest,
    range: ByteRange | undefined,
    signal: AbortSignal | undefined,
  ): Promise<{ readonly size: number; readonly body: Bytes } | undefined> {
    for (let tries = 0; ; tries++) {
      const known = await this.#readUrl(digest, tries > 0, signal);
      if (known === undefined) return undefined;
      const { url, size } = known;
      const { start, end = size } = range ?? { start: 0 };
      if (start === end) return { size, body: once(new Uint8Array(0)) };
      const whole = start === 0 && end === size;
      const answer = await this.#http.send({
        method: 'GET',
        url: new URL(url),
        headers: whole ? {} : { range: `bytes=${start}-${end - 1}` },
        ...(signal === undefined ? {} : { signal }),
      });
      count('s3Reads');
      if (answer.status === (whole ? 200 : 206)) {
        count('s3BytesOut', end - start);
        return { size, body: answer.body };
      }
      answer.body.destroy();
      // An expired URL: one more, with a fresh one.
      if (tries > 0) throw new SlipwayError('UPSTREAM', `the store answered ${answer.status} for ${digest}`);
    }
  }

  async #readUrl(digest: Digest, fresh: boolean, signal: AbortSignal | undefined) {
    const known = this.#urls.get(digest);
    if (!fresh && known !== undefined && known.until > this.#clock()) return known;
    try {
      const answer = await this.ask<{ readonly url: string; readonly size: number }>('blobs/read', { digest }, signal);
      const kept = { ...answer, until: this.#clock() + 30 * 60_000 };
      this.#urls.set(digest, kept);
      return kept;
    } catch (error) {
      if (error instanceof SlipwayError && error.code === 'NOT_FOUND') return undefined;
      throw error;
    }
  }

  /** Sends a blob to the store, which checks its digest, and makes it known. */
  async send(blob: BlobStat, open: () => Bytes | Promise<Bytes>, signal?: AbortSignal): Promise<void> {
    const target = await this.ask<{
      readonly url: string;
      readonly headers: Readonly<Record<string, string>>;
      readonly id: string;
    }>('blobs/write', blob, signal);
    const answer = await this.#http.send({
      method: 'PUT',
      url: new URL(target.url),
      headers: target.headers,
      body: { size: blob.size, open },
      ...(signal === undefined ? {} : { signal }),
    });
    count('s3Writes');
    count('s3BytesIn', blob.size);
    const text = await readBody(answer, 1 << 20, 'the answer of the store');
    if (answer.status >= 300) {
      throw new SlipwayError(
        'UPSTREAM',
        `the store refused ${blob.digest}: ${answer.status} ${text.toString('utf8').slice(0, 300)}`,
      );
    }
    await this.ask('blobs/confirm', { id: target.id, ...blob }, signal);
  }
}

async function* once(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  if (bytes.length > 0) yield bytes;
}

function refusal(answer: Incoming, text: string, name: string): SlipwayError {
  try {
    const { error } = JSON.parse(text) as { readonly error: { readonly code: string; readonly message: string } };
    return new SlipwayError(isErrorCode(error.code) ? error.code : 'UPSTREAM', error.message);
  } catch {
    return new SlipwayError('UPSTREAM', `the home answered ${answer.status} to ${name}: ${text.slice(0, 300)}`);
  }
}
