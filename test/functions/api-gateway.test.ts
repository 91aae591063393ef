import type { APIGatewayProxyEvent } from 'aws-lambda';
import { describe, expect, test } from 'vitest';
import { apiHandler } from '../../functions/api-gateway.ts';
import { bodyLimit } from '../../functions/gateway.ts';
import { type ApiFetch, type ApiRequest, errorResponse, json, ndjson, readAll, readJson, stream } from '../../shared/api/http.ts';
import { SlipwayError } from '../../shared/errors.ts';

const event = (httpMethod: string, path: string, more: Partial<APIGatewayProxyEvent> = {}) =>
  ({
    httpMethod,
    path,
    headers: {},
    multiValueHeaders: {},
    multiValueQueryStringParameters: null,
    body: null,
    isBase64Encoded: false,
    ...more,
  }) as APIGatewayProxyEvent;

const handlerOf = (api: ApiFetch) => apiHandler(async () => api);
const decoded = ({ body, isBase64Encoded }: { body: string; isBase64Encoded?: boolean }): Buffer =>
  Buffer.from(body, isBase64Encoded ? 'base64' : 'utf8');

describe('the control API behind a gateway', () => {
  test('is given method, path, query, headers and bytes as they came', async () => {
    const bytes = Buffer.from([0, 255, 128, 10]);
    let seen: ApiRequest | undefined;
    const handler = handlerOf(async (request) => {
      seen = request;
      return json({ size: (await readAll(request.body, 100, 'it')).equals(bytes) }, 201);
    });
    const answer = await handler(
      event('PUT', '/api/v1/contexts/p/packs', {
        multiValueHeaders: { 'Content-Type': ['application/x'], 'X-Two': ['a', 'b'] },
        multiValueQueryStringParameters: { a: ['1', '2 &'] },
        body: bytes.toString('base64'),
        isBase64Encoded: true,
      }),
    );
    expect(answer).toMatchObject({ statusCode: 201, body: '{"size":true}', isBase64Encoded: false });
    const { pathname, searchParams } = new URL(seen?.url ?? '');
    expect([seen?.method, pathname, searchParams.getAll('a')]).toEqual(['PUT', '/api/v1/contexts/p/packs', ['1', '2 &']]);
    expect([seen?.headers.get('content-type'), seen?.headers.get('X-Two'), seen?.headers.get('none')]).toEqual([
      'application/x',
      'a, b',
      null,
    ]);
  });

  test('answers bytes that are no text byte for byte', async () => {
    const bytes = Buffer.from(Array.from({ length: 512 }, (_, i) => i & 255));
    const answer = await handlerOf(async () =>
      stream(
        (async function* () {
          yield bytes;
        })(),
      ),
    )(event('GET', '/api/v1/x'));
    expect(decoded(answer).equals(bytes)).toBe(true);
  });

  test('ends the events of a build between two lines where an answer gets too long, and closes what they came from', async () => {
    let closed = false;
    const text = 'x'.repeat(600_000);
    async function* events() {
      try {
        for (let number = 1; ; number++) yield { number, text };
      } finally {
        closed = true;
      }
    }
    const answer = await handlerOf(async () => ndjson(events()))(event('GET', '/api/v1/builds/b1/events'));
    const lines = decoded(answer).toString().trim().split('\n');
    expect(lines.map((line) => (JSON.parse(line) as { number: number }).number)).toEqual([1, 2, 3, 4]);
    expect(closed).toBe(true);
  });

  test('passes one event on that is too long by itself: it would be asked for for ever', async () => {
    const text = 'x'.repeat(3_000_000);
    async function* events() {
      yield { number: 1, text };
      yield { number: 2 };
    }
    const answer = await handlerOf(async () => ndjson(events()))(event('GET', '/api/v1/builds/b1/events'));
    expect(decoded(answer).toString().split('\n')).toHaveLength(2);
  });

  test('refuses any other answer that does not pass, with the way out', async () => {
    let closed = false;
    async function* image() {
      try {
        for (;;) yield new Uint8Array(1_000_000);
      } finally {
        closed = true;
      }
    }
    const answer = await handlerOf(async () => stream(image()))(event('POST', '/api/v1/images/save'));
    expect(answer.statusCode).toBe(413);
    expect(JSON.parse(answer.body)).toMatchObject({
      error: { code: 'TOO_LARGE', hint: expect.stringContaining('slipway save') },
    });
    expect(closed).toBe(true);
  });

  test('refuses a body that does not pass in the API’s own words', async () => {
    const handler = handlerOf(async (request) => {
      try {
        return json(await readJson(request));
      } catch (error) {
        return errorResponse(error);
      }
    });
    const body = Buffer.alloc(bodyLimit + 1, 32).toString('base64');
    const answer = await handler(event('POST', '/api/v1/contexts', { body, isBase64Encoded: true }));
    expect(answer.statusCode).toBe(413);
    expect(JSON.parse(answer.body)).toMatchObject({
      error: { code: 'TOO_LARGE', hint: expect.stringContaining('/api/v1/blobs') },
    });
  });

  test('is opened once, and anew after it could not be opened', async () => {
    let tries = 0;
    const handler = apiHandler(async () => {
      tries++;
      if (tries === 1) throw new SlipwayError('STORE', 'the secret cannot be read now');
      return async () => json({ tries });
    });
    await expect(handler(event('GET', '/api/v1'))).rejects.toThrow('cannot be read now');
    for (const _ of [1, 2]) expect((await handler(event('GET', '/api/v1'))).body).toBe('{"tries":2}');
  });
});
