// What CloudFront adds to a request, run as CloudFront runs it, against what the registry asks for.
import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { bodyLimit, tooLarge } from '../../functions/gateway.ts';
import { covers, formatScope, parseScopes } from '../../shared/auth/scope.ts';
import { wantedBy } from '../../shared/registry/token-guard.ts';

interface Request {
  readonly method: string;
  readonly uri: string;
  readonly headers: Record<string, { readonly value: string }>;
}
const code = readFileSync(new URL('../../infra/front-request.js', import.meta.url), 'utf8');
const handler = new Function(`${code}\nreturn handler;`)() as (event: { readonly request: Request }) => Request;
const challenge = (method: string, uri: string, headers: Request['headers'] = {}): string =>
  handler({ request: { method, uri, headers: { host: { value: 'h.example' }, ...headers } } }).headers['slipway-challenge']!
    .value;

const digest = `sha256:${'a'.repeat(64)}`;
const paths = [
  '/v2/team/app/manifests/latest',
  `/v2/team/app/manifests/${digest}`,
  `/v2/team/app/blobs/${digest}`,
  '/v2/team/app/blobs/uploads/',
  '/v2/team/app/blobs/uploads',
  '/v2/team/app/blobs/uploads/0123-abc_=',
  '/v2/team/app/tags/list',
  `/v2/team/app/referrers/${digest}`,
  '/v2/blobs/uploads/manifests/tags',
  '/v2/a/manifests/manifests/b',
  '/v2/_catalog',
  '/v1/search',
  '/v2/',
  '/v2',
  '/v1/_ping',
  '/api/v1/builds',
];

describe('the challenge of the front', () => {
  test.each(paths)('for %s names what the registry asks for', (path) => {
    for (const method of ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE']) {
      const scope = /,scope="([^"]*)"/.exec(challenge(method, path))?.[1];
      const wanted = wantedBy(path, method);
      if (wanted === undefined) {
        expect([path, method, scope]).toEqual([path, method, undefined]);
        continue;
      }
      const scopes = parseScopes([scope ?? '']);
      expect(covers(scopes, wanted), `${method} ${path}: ${scope}`).toBe(true);
      // Nothing that the request does not take, but reading along with writing.
      const extra = scopes.map(formatScope).join(' ');
      expect(extra).toBe(scope);
      if (!['PUT', 'POST', 'PATCH'].includes(method) && !path.includes('uploads')) expect(extra).not.toContain('push');
    }
  });

  test('says what is wrong only to who showed a token, and is not the client’s to set', () => {
    const path = '/v2/team/app/tags/list';
    const plain = 'Bearer realm="https://h.example/token",service="h.example",scope="repository:team/app:pull"';
    expect(challenge('GET', path, { 'slipway-challenge': { value: 'Basic realm="evil"' } })).toBe(plain);
    expect(challenge('GET', path, { authorization: { value: 'Bearer x' } })).toBe(
      `${plain},error="insufficient_scope",error_description="requested access to the resource is denied"`,
    );
    expect(challenge('GET', '/v2/', { authorization: { value: 'Bearer x' } })).toBe(
      'Bearer realm="https://h.example/token",service="h.example"',
    );
  });

  test('holds nothing that would break out of the header', () => {
    for (const path of ['/v2/a"b/tags/list', '/v2/a\r\nx/tags/list', '/v2/a%22/tags/list', `/v2/${'a'.repeat(400)}/tags/list`])
      expect(challenge('GET', path)).toBe('Bearer realm="https://h.example/token",service="h.example"');
  });

  test('refuses what does not pass the gateway, where its length is told, and says what to do', () => {
    const answer = (length: string): unknown =>
      handler({
        request: {
          method: 'PUT',
          uri: '/v2/a/blobs/uploads/x',
          headers: { host: { value: 'h' }, 'content-length': { value: length } },
        },
      });
    for (const length of ['0', String(bodyLimit), 'many']) expect(answer(length), length).not.toHaveProperty('statusCode');
    for (const length of [String(bodyLimit + 1), '50000000000']) {
      const { statusCode, body } = answer(length) as { readonly statusCode: number; readonly body: { readonly data: string } };
      expect(statusCode).toBe(413);
      expect(JSON.parse(body.data)).toEqual({ errors: [{ code: 'SIZE_INVALID', message: tooLarge }] });
    }
  });

  test('fits a CloudFront Function', () => {
    expect(code.length).toBeLessThan(10_240);
    expect(code).not.toMatch(/\b(import|require|class)\b|\?\.|\?\?/);
  });
});
