// The runner's side of the job routes: JSON questions with the job's token, bytes over presigned URLs. No AWS SDK, no other credential.
import { HttpClient, type Incoming, type Outgoing, readBody } from '../client/http.ts';
import { count } from '../cost/meter.ts';
import { isCode, isErrorCode, SlipwayError, throwIfCancelled } from '../errors.ts';
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
  /** Milliseconds before the second, third, ... of the tries at one call. */
  readonly delays?: readonly number[];
  /** Waits; for tests. */
  readonly sleep?: (milliseconds: number, signal: AbortSignal | undefined) => Promise<void>;
}

/** The home's functions may be throttled or starting. */
const usualDelays = [250, 1000, 4000, 10_000];

/** Times that one download may break. */
const maxBreaks = 8;

/** What is in the way between a runner and the store, which another runner may be spared. */
function inTheWay(error: unknown): SlipwayError {
  if (error instanceof SlipwayError && error.code !== 'UPSTREAM') return error;
  return new SlipwayError('STORE', error instanceof Error ? error.message : String(error), { cause: error });
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
    const sleep = options.sleep === undefined ? {} : { sleep: options.sleep };
    this.#patience = options.patience;
    this.#url = ticket.url.replace(/\/+$/, '');
    this.#token = ticket.token;
    this.#clock = options.clock;
    const delays = options.delays ?? usualDelays;
    this.#http = new HttpClient({ userAgent: `slipway-runner/${options.version}`, delays, ...sleep });
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

  /** Without patience; `repeatable`: with the few tries of an ordinary request. */
  async askOnce<T>(name: string, body: unknown, signal?: AbortSignal, repeatable = true): Promise<T> {
    const bytes = Buffer.from(JSON.stringify(body));
    const answer = await this.#http.send({
      method: 'POST',
      url: new URL(`${this.#url}/${name}`),
      headers: { authorization: `Bearer ${this.#token}`, 'content-type': 'application/json' },
      body: { size: bytes.length, open: async () => once(bytes) },
      repeatable,
      ...(signal === undefined ? {} : { signal }),
    });
    const text = await readBody(answer, maxAnswer, `the answer to ${name}`);
    if (answer.status >= 200 && answer.status < 300) return JSON.parse(text.toString('utf8')) as T;
    throw refusal(answer, text.toString('utf8'), name);
  }

  /** `undefined` when the home has lost it. DENIED for what is not this job's. A download that breaks goes on where it was. */
  async open(
    digest: Digest,
    range: ByteRange | undefined,
    signal: AbortSignal | undefined,
  ): Promise<{ readonly size: number; readonly body: Bytes } | undefined> {
    const known = await this.#readUrl(digest, false, signal);
    if (known === undefined) return undefined;
    const { size } = known;
    const { start, end = size } = range ?? { start: 0 };
    return { size, body: start === end ? once(new Uint8Array(0)) : this.#body(digest, start, end, size, signal) };
  }

  async *#body(
    digest: Digest,
    start: number,
    end: number,
    size: number,
    signal: AbortSignal | undefined,
  ): AsyncGenerator<Uint8Array> {
    for (let at = start, breaks = 0; at < end; ) {
      const body = await this.#get(digest, at, end, size, signal);
      try {
        for await (const chunk of body) {
          at += (chunk as Uint8Array).length;
          yield chunk as Uint8Array;
        }
        if (at < end) throw new SlipwayError('STORE', `the store broke off after ${at} of ${size} bytes of ${digest}`);
      } catch (error) {
        throwIfCancelled(signal);
        if (breaks++ >= maxBreaks) throw inTheWay(error);
      } finally {
        body.destroy();
      }
    }
  }

  async #get(digest: Digest, start: number, end: number, size: number, signal: AbortSignal | undefined) {
    for (let tries = 0; ; tries++) {
      const known = await this.#readUrl(digest, tries > 0, signal);
      if (known === undefined) throw new SlipwayError('STORE', `${digest} is gone from the home`);
      const whole = start === 0 && end === size;
      const answer = await this.#send({
        method: 'GET',
        url: new URL(known.url),
        headers: whole ? {} : { range: `bytes=${start}-${end - 1}` },
        ...(signal === undefined ? {} : { signal }),
      });
      count('s3Reads');
      if (answer.status === (whole ? 200 : 206)) {
        count('s3BytesOut', end - start);
        return answer.body;
      }
      answer.body.destroy();
      // An expired URL: one more, with a fresh one.
      if (tries > 0) throw new SlipwayError('STORE', `the store answered ${answer.status} for ${digest}`);
    }
  }

  async #send(outgoing: Outgoing): Promise<Incoming> {
    try {
      return await this.#http.send(outgoing);
    } catch (error) {
      throw inTheWay(error);
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
    const answer = await this.#send({
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
        'STORE',
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
