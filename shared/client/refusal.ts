// What another registry's error answers mean to us: their status decides, their own words are shown.
import { type ErrorCode, SlipwayError } from '../errors.ts';
import { type Incoming, readBody } from './http.ts';
import { tooMany } from './tokens.ts';

const errorLimit = 64 * 1024;
const shownLimit = 500;

interface Said {
  readonly code: string;
  readonly message: string;
}

/** The error that an answer of 400 or more is. `what` names what was asked for. Reads the body. */
export async function refusedBy(answer: Incoming, what: string): Promise<SlipwayError> {
  const said = await wordsOf(answer);
  const { host } = answer.url;
  const details = { host, status: answer.status, ...(said === undefined ? {} : { upstream: said.code }) };
  const words = said === undefined ? `HTTP ${answer.status}` : `${said.code.toLowerCase()}: ${said.message}`;
  if (answer.status === 429) return tooMany(host, said?.message);
  const code = codes[answer.status] ?? 'UPSTREAM';
  if (code === 'UPSTREAM' || code === 'NOT_FOUND') return new SlipwayError(code, `${what}: ${words}`, { details });
  return new SlipwayError(code, said === undefined ? `${what}: ${defaults[code] ?? words}` : words, { details });
}

const codes: Readonly<Record<number, ErrorCode>> = { 401: 'UNAUTHORIZED', 403: 'DENIED', 404: 'NOT_FOUND', 413: 'TOO_LARGE' };
const defaults: Readonly<Partial<Record<ErrorCode, string>>> = {
  UNAUTHORIZED: 'unauthorized: authentication required',
  DENIED: 'denied: requested access to the resource is denied',
  TOO_LARGE: 'too large for this registry',
};

async function wordsOf(answer: Incoming): Promise<Said | undefined> {
  let text: string;
  try {
    text = (await readBody(answer, errorLimit, 'the error')).toString('utf8');
  } catch {
    // The status alone has to do: a connection that broke in the middle of an error has no more to say.
    return undefined;
  }
  try {
    const document = JSON.parse(text) as { errors?: unknown };
    const [first] = Array.isArray(document.errors) ? (document.errors as unknown[]) : [];
    const { code, message } = (first ?? {}) as { code?: unknown; message?: unknown };
    if (typeof code !== 'string') return undefined;
    return { code: printable(code), message: printable(typeof message === 'string' ? message : '') };
  } catch {
    return undefined;
  }
}

/** Text from elsewhere on its way to a terminal. */
export const printable = (text: string): string =>
  text.replace(/[\u0000-\u001f\u007f-\u009f\u2028\u2029\u202a-\u202e]/g, ' ').slice(0, shownLimit);
