import fc from 'fast-check';
import { expect, test } from 'vitest';
import { parseChallenges } from '../../shared/client/challenge.ts';

test.each([
  ['Basic realm="x"', [{ scheme: 'basic', params: { realm: 'x' } }]],
  ['Basic', [{ scheme: 'basic', params: {} }]],
  [
    'Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:a/b:pull,push"',
    [
      {
        scheme: 'bearer',
        params: { realm: 'https://auth.docker.io/token', service: 'registry.docker.io', scope: 'repository:a/b:pull,push' },
      },
    ],
  ],
  [
    'Basic realm="a", Bearer realm = "b" , service=c, Negotiate',
    [
      { scheme: 'basic', params: { realm: 'a' } },
      { scheme: 'bearer', params: { realm: 'b', service: 'c' } },
      { scheme: 'negotiate', params: {} },
    ],
  ],
  [String.raw`Basic realm="a \"quoted\" one"`, [{ scheme: 'basic', params: { realm: 'a "quoted" one' } }]],
  [undefined, []],
  ['', []],
  ['"', []],
  ['Bearer realm="open', [{ scheme: 'bearer', params: {} }]],
])('%s', (header, expected) => {
  const found = parseChallenges(header);
  expect(found.slice(0, expected.length)).toEqual(expected);
});

test('anything ends, and quickly', () => {
  fc.assert(fc.property(fc.string({ maxLength: 9000 }), (text) => parseChallenges(`Bearer ${text}`).length >= 1));
});
