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
const answerLimit = 2_500_000;

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
        body: inOurWords(body),
        signal,
      });
      return collected(answer, partial.test(path));
    });
  };
}

/** A body that does not pass, in the words of this API. */
async function* inOurWords(body: Bytes): AsyncGenerator<Uint8Array> {
  try {
    yield* body;
  } catch (cause) {
    if (!(cause instanceof OciError && cause.code === 'SIZE_INVALID')) throw cause;
    throw new SlipwayError('TOO_LARGE', `more than ${bodyLimit / 1e6} MB in one request do not pass the gateway of this home`, {
      hint: 'Lists and contents of files go straight to the bucket (POST /api/v1/blobs; `slipway build` does so), images to the registry (slipway push).',
      cause,
    });
  }
}

async function collected(answer: ApiResponse, mayEnd: boolean): Promise<GatewayResult> {
  const chunks: Uint8Array[] = [];
  let size = 0;
  const { body } = answer;
  for await (const chunk of body === null ? [] : body instanceof Uint8Array ? [body] : body) {
    size += chunk.length;
    if (size > answerLimit) {
      // A line that is too large by itself has to go all the same: the client would ask for it for ever.
      if (mayEnd && chunks.length > 0) break;
      if (!mayEnd) return collected(tooLong(), false);
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

const tooLong = (): ApiResponse =>
  errorResponse(
    new SlipwayError('TOO_LARGE', `an answer of more than ${answerLimit / 1e6} MB does not pass the gateway of this home`, {
      hint: 'Images leave by the registry: slipway pull, docker pull or skopeo copy. Lists can be asked for in smaller pages.',
    }),
  );
