// The token of a job: all that a runner holds. It is good for one attempt at one stage of one build, for a while, and for the job routes
// only. HMAC-SHA256 with the home's key; what it says is in it, so that nothing has to be looked up to refuse a wrong one.
import { createHmac, timingSafeEqual } from 'node:crypto';
import { SlipwayError } from '../errors.ts';

export interface JobId {
  readonly build: string;
  readonly stage: number;
  /** Counts from 1; each start of a runner is another attempt, and only the last one's token is good. */
  readonly attempt: number;
}

const scheme = 'slipway-job-1';

const sign = (key: Uint8Array, text: string): Buffer => createHmac('sha256', key).update(text).digest();

/** `expires`: seconds since 1970. The key has at least 32 bytes. */
export function makeJobToken(key: Uint8Array, { build, stage, attempt }: JobId, expires: number): string {
  if (key.length < 32) throw new SlipwayError('INTERNAL', 'the key of job tokens is too short');
  const text = [scheme, build, stage, attempt, Math.floor(expires)].join('.');
  return `${text}.${sign(key, text).toString('base64url')}`;
}

const shape = /^(slipway-job-1\.([0-9A-Za-z-]{1,64})\.(\d{1,6})\.(\d{1,6})\.(\d{1,12}))\.([A-Za-z0-9_-]{43})$/;

const refused = (): SlipwayError => new SlipwayError('UNAUTHORIZED', 'this is no token for this job, or no longer');

/** @throws UNAUTHORIZED, in the same words whatever is wrong with it */
export function readJobToken(key: Uint8Array, token: string, now: number): JobId {
  const [, text, build, stage, attempt, expires, signature] = shape.exec(token) ?? [];
  if (text === undefined || build === undefined || signature === undefined) throw refused();
  const actual = Buffer.from(signature, 'base64url');
  const expected = sign(key, text);
  if (actual.length !== expected.length || !timingSafeEqual(actual, expected) || Number(expires) <= now) throw refused();
  return { build, stage: Number(stage), attempt: Number(attempt) };
}
