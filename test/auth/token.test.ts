import { createHmac } from 'node:crypto';
import { describe, expect, test } from 'vitest';
import { type Claims, TokenKeys } from '../../shared/auth/token.ts';

const secret = 'a'.repeat(64);
const keys = new TokenKeys(secret);
const now = 1_800_000_000;
const claims: Claims = {
  kind: 'access',
  audience: 'registry.example',
  subject: 'ann',
  issued: now,
  expires: now + 3600,
  scopes: [{ kind: 'repository', name: 'team/app', actions: ['pull', 'push'] }, { kind: 'catalog' }],
};
const expected = { kind: 'access', audience: 'registry.example', now } as const;
const parts = (token: string) => token.split('.') as [string, string, string];
const encode = (value: unknown) => Buffer.from(JSON.stringify(value)).toString('base64url');

describe('a token', () => {
  test('says what it was signed for', () => {
    expect(keys.verify(keys.sign(claims), expected)).toEqual(claims);
  });

  test('is good from its making to its end', () => {
    const token = keys.sign(claims);
    expect(keys.verify(token, { ...expected, now: now + 3599 })).toBeDefined();
    expect(keys.verify(token, { ...expected, now: now + 3600 })).toBeUndefined();
    expect(keys.verify(token, { ...expected, now: now + 3300, left: 300 })).toBeUndefined();
    expect(keys.verify(token, { ...expected, now: now + 3299, left: 300 })).toBeDefined();
    // From the future, further than clocks differ.
    expect(keys.verify(token, { ...expected, now: now - 61 })).toBeUndefined();
  });

  test('for one registry is none for another', () => {
    expect(keys.verify(keys.sign(claims), { ...expected, audience: 'other.example' })).toBeUndefined();
    expect(new TokenKeys('b'.repeat(64)).verify(keys.sign(claims), expected)).toBeUndefined();
  });

  test('of one kind is none of the other', () => {
    const refresh = keys.sign({ ...claims, kind: 'refresh', scopes: [], generation: 'g' });
    expect(keys.verify(refresh, expected)).toBeUndefined();
    expect(keys.verify(refresh, { ...expected, kind: 'refresh' })?.generation).toBe('g');
    expect(keys.verify(keys.sign(claims), { ...expected, kind: 'refresh' })).toBeUndefined();
    // Not even under the other's header: each kind has a key of its own.
    const [, payload, signature] = parts(refresh);
    const [header] = parts(keys.sign(claims));
    expect(keys.verify(`${header}.${payload}.${signature}`, expected)).toBeUndefined();
  });

  test('changed anywhere is refused', () => {
    const token = keys.sign(claims);
    for (let at = 0; at < token.length; at++) {
      const other = token[at] === 'A' ? 'B' : 'A';
      expect(keys.verify(`${token.slice(0, at)}${other}${token.slice(at + 1)}`, expected), `character ${at}`).toBeUndefined();
    }
  });

  test('with another algorithm, or none, is refused', () => {
    const [, payload, signature] = parts(keys.sign(claims));
    for (const alg of ['none', 'HS384', 'RS256']) {
      const header = encode({ alg, typ: 'slipway-access+jwt' });
      expect(keys.verify(`${header}.${payload}.`, expected)).toBeUndefined();
      expect(keys.verify(`${header}.${payload}.${signature}`, expected)).toBeUndefined();
    }
    // Signed with the secret itself, as a careless reader of JWTs would take it.
    const header = encode({ alg: 'HS256', typ: 'JWT' });
    const mac = createHmac('sha256', secret).update(`${header}.${payload}`).digest('base64url');
    expect(keys.verify(`${header}.${payload}.${mac}`, expected)).toBeUndefined();
  });

  test('is one text only', () => {
    const token = keys.sign(claims);
    for (const odd of [`${token}=`, `${token}.`, ` ${token}`, token.replace('.', '..'), '', '..', 'x'.repeat(10_000)]) {
      expect(keys.verify(odd, expected)).toBeUndefined();
    }
  });

  test('for too many repositories is not made', () => {
    const scopes = Array.from({ length: 50 }, (_, i) => ({
      kind: 'repository' as const,
      name: `${'long/'.repeat(40)}${i}`,
      actions: ['pull'] as const,
    }));
    expect(() => keys.sign({ ...claims, scopes })).toThrow(expect.objectContaining({ code: 'TOO_LARGE' }));
  });

  test('needs a secret worth the name', () => {
    expect(() => new TokenKeys('short')).toThrow(expect.objectContaining({ code: 'INTERNAL' }));
  });
});
