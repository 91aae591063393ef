import type { APIGatewayProxyEvent, APIGatewayProxyEventV2, APIGatewayRequestAuthorizerEvent } from 'aws-lambda';
import { describe, expect, test } from 'vitest';
import { authorize } from '../../functions/authorizer/decision.ts';
import { bodyLimit, callOf, gatewayHandler } from '../../functions/gateway.ts';
import { parseScopes } from '../../shared/auth/scope.ts';
import type { Claims } from '../../shared/auth/token.ts';
import { type Call, empty, type Handler, json } from '../../shared/registry/exchange.ts';
import { collect } from '../../shared/stream/collect.ts';

const everyByte = Buffer.from(Array.from({ length: 256 }, (_, i) => i));

const v1 = (change: Partial<APIGatewayProxyEvent> = {}) =>
  ({
    httpMethod: 'GET',
    path: '/v2/',
    headers: {},
    multiValueHeaders: {},
    queryStringParameters: null,
    multiValueQueryStringParameters: null,
    body: null,
    isBase64Encoded: false,
    ...change,
  }) as APIGatewayProxyEvent;

const v2 = (change: object = {}) =>
  ({
    version: '2.0',
    rawPath: '/v2/',
    rawQueryString: '',
    headers: {},
    requestContext: { stage: '$default', http: { method: 'GET' } },
    isBase64Encoded: false,
    ...change,
  }) as unknown as APIGatewayProxyEventV2;

const bodyOf = async (call: Call) => Buffer.from(await collect(call.body, 1 << 24, 'body'));

describe('an event becomes a call', () => {
  test('with all values of a header and of a query', () => {
    const call = callOf(
      v1({
        httpMethod: 'PUT',
        path: '/v2/team/app/manifests/sha256:abc',
        headers: { Accept: 'b' },
        multiValueHeaders: { Accept: ['a', 'b'], 'X-One': ['1'] },
        multiValueQueryStringParameters: { tag: ['v1', 'v 2&3'], digest: ['sha256:abc'] },
      }),
    );
    expect(call.header('accept')).toBe('a, b');
    expect(call.header('x-one')).toBe('1');
    expect(new URLSearchParams(call.query).getAll('tag')).toEqual(['v1', 'v 2&3']);
    expect(new URLSearchParams(call.query).get('digest')).toBe('sha256:abc');
  });

  test('of an HTTP API too, with and without a stage in the path', () => {
    const event = { rawPath: '/live/v2/a', rawQueryString: 'tag=a&tag=b', headers: { 'X-One': '1' } };
    const staged = callOf(v2({ ...event, requestContext: { stage: 'live', http: { method: 'PUT' } } }));
    expect(staged).toMatchObject({ method: 'PUT', path: '/v2/a', query: 'tag=a&tag=b' });
    expect(staged.header('x-one')).toBe('1');
    expect(callOf(v2({ rawPath: '/live/v2/a' })).path).toBe('/live/v2/a');
  });

  test('with its body byte for byte, and the length of what came', async () => {
    const binary = callOf(
      v1({
        httpMethod: 'PATCH',
        body: everyByte.toString('base64'),
        isBase64Encoded: true,
        multiValueHeaders: { 'Content-Length': ['1'], 'Transfer-Encoding': ['chunked'] },
      }),
    );
    expect(await bodyOf(binary)).toEqual(everyByte);
    expect(binary.header('content-length')).toBe('256');
    expect(binary.header('transfer-encoding')).toBeUndefined();
    expect(await bodyOf(callOf(v1({ httpMethod: 'PUT', body: '{"ü":1}' })))).toEqual(Buffer.from('{"ü":1}'));
    expect(callOf(v1({ httpMethod: 'PUT' })).header('content-length')).toBe('0');
    expect(callOf(v1()).header('content-length')).toBeUndefined();
  });

  test('whose body is too large for a gateway says so when it is read', async () => {
    const large = (size: number) => callOf(v1({ httpMethod: 'PATCH', body: 'x'.repeat(size) }));
    expect(await bodyOf(large(bodyLimit))).toHaveLength(bodyLimit);
    await expect(bodyOf(large(bodyLimit + 1))).rejects.toMatchObject({ code: 'SIZE_INVALID', facts: { status: 413 } });
    // What the limit is for: as base64, with headers, it fits into an event.
    expect(Math.ceil(bodyLimit / 3) * 4 + 2 * 10_240).toBeLessThan(6 * 1024 * 1024);
    expect(bodyLimit).toBeGreaterThan(4 * 1024 * 1024);
  });
});

describe('a reply becomes an answer', () => {
  const answer = (handle: Handler, change: Partial<APIGatewayProxyEvent> = {}) => gatewayHandler(handle)(v1(change));

  test('as text when it is text, as base64 when not', async () => {
    const text = await answer(async () => json(200, { name: 'ü' }));
    expect(text).toMatchObject({ statusCode: 200, body: '{"name":"ü"}', isBase64Encoded: false });
    const odd = await answer(async () => ({ status: 200, headers: {}, body: new Uint8Array(everyByte) }));
    expect(odd).toMatchObject({ body: everyByte.toString('base64'), isBase64Encoded: true });
    // A byte order mark is part of the bytes.
    const marked = Buffer.from('\ufeff{}');
    const kept = await answer(async () => ({ status: 200, headers: {}, body: new Uint8Array(marked) }));
    expect(Buffer.from(kept.body, kept.isBase64Encoded ? 'base64' : 'utf8')).toEqual(marked);
  });

  test('without the length, which the gateway counts, and with every value', async () => {
    const reply = await answer(async () => empty(202, { location: '/x', 'oci-tag': ['a', 'b'] }));
    expect(reply).toMatchObject({
      statusCode: 202,
      headers: { location: '/x' },
      multiValueHeaders: { 'oci-tag': ['a', 'b'] },
      body: '',
    });
    expect(reply.headers).not.toHaveProperty('content-length');
  });

  test('to HEAD with what GET would send, for the gateway to count', async () => {
    const asked: string[] = [];
    const handle: Handler = async (call) => {
      asked.push(call.method);
      const headers = { 'content-length': '5', 'docker-content-digest': 'd' };
      return { status: 200, headers, ...(call.method === 'HEAD' ? {} : { body: new Uint8Array(Buffer.from('hello')) }) };
    };
    expect(await answer(handle, { httpMethod: 'HEAD' })).toMatchObject({
      body: 'hello',
      headers: { 'docker-content-digest': 'd' },
    });
    expect(asked).toEqual(['HEAD', 'GET']);
    // A redirect has no body to count.
    const redirect = await answer(async () => empty(307, { location: 'https://b' }), { httpMethod: 'HEAD' });
    expect(redirect).toMatchObject({ statusCode: 307, body: '' });
  });
});

describe('the authorizer', () => {
  const claims = { subject: 'ann' } as Claims;
  const event = (headers: Record<string, string> = {}) =>
    ({
      headers,
      methodArn: 'arn:aws:execute-api:eu-west-1:123456789012:abcd/live/GET/v2/team/app/manifests/v1',
    }) as unknown as APIGatewayRequestAuthorizerEvent;

  test('lets a good token pass, on every path: what it may do there is for the registry to say', async () => {
    const seen: (string | undefined)[] = [];
    const policy = await authorize(event({ AUTHORIZATION: 'Bearer t' }), async (call) => {
      seen.push(call.header('authorization'));
      return claims;
    });
    expect(seen).toEqual(['Bearer t']);
    expect(policy).toEqual({
      principalId: 'ann',
      policyDocument: {
        Version: '2012-10-17',
        Statement: [
          { Action: 'execute-api:Invoke', Effect: 'Allow', Resource: 'arn:aws:execute-api:eu-west-1:123456789012:abcd/live/*' },
        ],
      },
    });
  });

  test('asks for a login by the one error that the gateway answers with a challenge', async () => {
    await expect(authorize(event(), async () => undefined)).rejects.toThrow(/^Unauthorized$/);
  });

  test('asks for a scope by the same error, where the gateway can name it', async () => {
    const pulls = { ...claims, scopes: parseScopes(['repository:team/app:pull']) };
    const call = (method: string, path: string, headers = {}) =>
      authorize({ ...event(headers), httpMethod: method, path }, async () => pulls);
    const named = { 'Slipway-Challenge': 'Bearer x' };
    const digest = `sha256:${'0'.repeat(64)}`;
    for (const [method, path] of [
      ['GET', `/v2/team/app/blobs/${digest}`],
      ['HEAD', '/v2/team/app/manifests/latest'],
      ['GET', '/v2/'],
      ['GET', '/v2/Team/x/manifests/y'],
      ['GET', '/api/v1/builds'],
    ] as const)
      expect((await call(method, path, named)).policyDocument.Statement[0], path).toMatchObject({ Effect: 'Allow' });
    for (const [method, path] of [
      ['PUT', '/v2/team/app/manifests/latest'],
      ['POST', '/v2/team/app/blobs/uploads/'],
      ['DELETE', '/v2/team/app/manifests/latest'],
      ['GET', '/v2/team/web/tags/list'],
      ['GET', '/v2/team%2Fweb/tags/list'],
      ['GET', '/v2/_catalog'],
      ['GET', '/v1/search'],
    ] as const) {
      await expect(call(method, path, named), path).rejects.toThrow(/^Unauthorized$/);
      expect((await call(method, path)).policyDocument.Statement[0]).toMatchObject({ Effect: 'Allow' });
    }
  });

  test('denies a body that would not fit, and asks who it is first', async () => {
    const large = event({ 'Content-Length': String(bodyLimit + 1) });
    const denied = await authorize(large, async () => claims);
    expect(denied.policyDocument.Statement[0]).toMatchObject({ Effect: 'Deny' });
    await expect(authorize(large, async () => undefined)).rejects.toThrow('Unauthorized');
    const fits = await authorize(event({ 'content-length': String(bodyLimit) }), async () => claims);
    expect(fits.policyDocument.Statement[0]).toMatchObject({ Effect: 'Allow' });
  });
});
