// The control API's messages as API Gateway's: events as requests, answers whole. A gateway that collects an answer passes on 6 MB of it
// and waits 29 seconds; what is a stream elsewhere is cut into pieces here, after which the client asks again.
import { isUtf8 } from 'node:buffer';
import type { ApiFetch, ApiResponse } from '../shared/api/http.ts';
import { errorResponse } from '../shared/api/http.ts';
import { SlipwayError } from '../shared/errors.ts';
import { OciError } from '../shared/registry/errors.ts';
import type { Bytes } from '../shared/store/blobs.ts';
import { bodyLimit, callOf, type GatewayEvent, type GatewayResult } from './gateway.ts';

/** Bytes of an answer: an escape for each quote may double them on the way. */
export const answerLimit = 2_500_000;

/** Streams of which a part is a whole answer: lines with numbers, after which to go on. */
const partial = /^\/api\/v1\/(builds|transfers)\/[^/]+\/events$/;

/** What a call is counted by: whose it is, and whether nothing may be left for later. */
export type Around = (method: string, path: string, answer: () => Promise<GatewayResult>) => Promise<GatewayResult>;

/**
 * A Lambda handler that answers by what `open` opens, at the first call; what could not be opened is tried again by the next. `around` is
 * given each call.
 */
export function apiHandler(
  open: () => Promise<ApiFetch>,
  around: Around = (_, __, answer) => answer(),
): (event: GatewayEvent) => Promise<GatewayResult> {
  let opened: Promise<ApiFetch> | undefined;
  const api = (): Promise<ApiFetch> => {
    opened ??= open().catch((error: unknown) => {
      opened = undefined;
      throw error;
    });
    return opened;
  };
  return async (event) => {
    const { method, path, query, header, body, signal } = callOf(event);
    return around(method, path, async () => {
      const answer = await (await api())({
        method,
        url: `http://home${path}${query === '' ? '' : `?${query}`}`,
        headers: { get: (name) => header(name.toLowerCase()) ?? null },
        body: inOurWords(body, path),
        signal,
      });
      return collected(answer, path);
    });
  };
}

/** A body that does not pass, in the words of this API. */
async function* inOurWords(body: Bytes, path: string): AsyncGenerator<Uint8Array> {
  try {
    yield* body;
  } catch (cause) {
    if (!(cause instanceof OciError && cause.code === 'SIZE_INVALID')) throw cause;
    throw new SlipwayError('TOO_LARGE', `more than ${bodyLimit / 1e6} MB in one request do not pass the gateway of this home`, {
      hint: otherWayIn(path),
      cause,
    });
  }
}

/** How what is too large for a request gets into this home. */
function otherWayIn(path: string): string {
  if (/^\/api\/v1\/images\/(?:load|import)$/.test(path))
    return 'The command line sends archives of any size (slipway load, slipway import). Other clients push their images to the registry of this home.';
  if (path === '/api/v1/contexts/archive')
    return 'Put it into the bucket of this home, below contexts/, and build from there; `slipway build -` sends archives of any size.';
  if (/^\/api\/v1\/contexts(?:\/|$)/.test(path))
    return 'Lists and contents of files go straight to the bucket (POST /api/v1/blobs; `slipway build` does so).';
  if (path === '/api/v1/builds') return 'Send the files as a context (POST /api/v1/contexts), and name it in the request.';
  return 'No request of this kind needs so much: it may be meant for another route.';
}

/** How what is too large for an answer gets out of it. */
function otherWayOut(path: string): string {
  if (path === '/api/v1/images/save')
    return 'The command line saves images of any size (slipway save). Other clients pull them from the registry of this home.';
  if (path === '/api/v1/images') return 'Ask for less of the list: filter=reference=NAME.';
  if (path === '/api/v1/builds') return 'Ask for less of the list: limit=N, and then after=NEXT, its `next`.';
  return 'Ask for less at a time, if this can be done in parts.';
}

async function collected(answer: ApiResponse, path: string): Promise<GatewayResult> {
  const mayEnd = partial.test(path);
  const chunks: Uint8Array[] = [];
  let size = 0;
  const { body } = answer;
  for await (const chunk of body === null ? [] : body instanceof Uint8Array ? [body] : body) {
    size += chunk.length;
    if (size > answerLimit) {
      // A line that is too large by itself has to go all the same: the client would ask for it for ever.
      if (mayEnd && chunks.length > 0) break;
      if (!mayEnd) return collected(tooLong(path), path);
    }
    chunks.push(chunk);
  }
  const bytes = Buffer.concat(chunks);
  const asText = isUtf8(bytes);
  return {
    statusCode: answer.status,
    headers: { ...answer.headers },
    body: bytes.toString(asText ? 'utf8' : 'base64'),
    isBase64Encoded: !asText,
  };
}

const tooLong = (path: string): ApiResponse =>
  errorResponse(
    new SlipwayError('TOO_LARGE', `an answer of more than ${answerLimit / 1e6} MB does not pass the gateway of this home`, {
      hint: otherWayOut(path),
    }),
  );
