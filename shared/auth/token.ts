// Tokens: what somebody may do until when, signed. The wire form is a JWT (RFC 7519) with HMAC-SHA256; one header is made and exactly
// that header is taken, so there is no algorithm to choose and nothing to be talked into. Every kind of token, and every key id, is
// signed with a key derived for it alone: one kind never passes for another even if a check of its claims were forgotten.
import { createHmac, hkdfSync, timingSafeEqual } from 'node:crypto';
import { SlipwayError } from '../errors.ts';
import { formatScope, parseScopes, type Scope } from './scope.ts';

/** `access`: sent to the registry. `refresh`: exchanged for access tokens (an identity token in docker's words). */
export type TokenKind = 'access' | 'refresh';

export interface Claims {
  readonly kind: TokenKind;
  /** The service it is for: the registry's host. */
  readonly audience: string;
  /** The account's name; empty for nobody in particular. */
  readonly subject: string;
  /** Seconds since 1970, whole. */
  readonly issued: number;
  /** Seconds since 1970, whole: from then on it is refused. */
  readonly expires: number;
  /** Empty in a refresh token: what it gets is decided anew each time. */
  readonly scopes: readonly Scope[];
  /** Of a refresh token: the state of the account it was made for; a new password ends it. */
  readonly generation?: string;
}

export interface Expectation {
  readonly kind: TokenKind;
  readonly audience: string;
  /** Seconds since 1970. */
  readonly now: number;
  /** Seconds the token must still live. 0 when absent. */
  readonly left?: number;
}

/**
 * Seconds a token is good for beyond what its client is told. A gateway may remember for `authorizerMemory` seconds that it let a
 * token pass; it asks for that much life first, so no token ends while a gateway still lets it pass.
 */
export const authorizerMemory = 300;

/** Several scopes of long names: a header of 8 KB passes every proxy. */
const tokenLimit = 7000;
/** Bytes of a secret that is one. */
const leastSecret = 32;
/** Seconds by which another machine's clock may be ahead. */
const skew = 60;

const encode = (value: unknown): string => Buffer.from(JSON.stringify(value)).toString('base64url');

/** The keys of one secret: what signs and verifies. */
export class TokenKeys {
  readonly #headers: Readonly<Record<TokenKind, string>>;
  readonly #keys: Readonly<Record<TokenKind, Buffer>>;

  /** `secret`: at least 32 random bytes, in any encoding. */
  constructor(secret: string) {
    if (Buffer.byteLength(secret) < leastSecret) {
      throw new SlipwayError('INTERNAL', `the secret that signs tokens is shorter than ${leastSecret} bytes`, {
        hint: 'Let it be generated: delete the value and deploy again, or put 64 random characters there.',
      });
    }
    const derive = (label: string): Buffer => Buffer.from(hkdfSync('sha256', secret, '', `slipway token v1 ${label}`, 32));
    const id = derive('key id').toString('hex').slice(0, 8);
    this.#keys = { access: derive('access'), refresh: derive('refresh') };
    this.#headers = {
      access: encode({ alg: 'HS256', typ: 'slipway-access+jwt', kid: id }),
      refresh: encode({ alg: 'HS256', typ: 'slipway-refresh+jwt', kid: id }),
    };
  }

  /** TOO_LARGE when the scopes do not fit into a header. */
  sign(claims: Claims): string {
    const body = `${this.#headers[claims.kind]}.${encode({
      aud: claims.audience,
      sub: claims.subject,
      iat: claims.issued,
      exp: claims.expires,
      ...(claims.scopes.length === 0 ? {} : { scope: claims.scopes.map(formatScope).join(' ') }),
      ...(claims.generation === undefined ? {} : { gen: claims.generation }),
    })}`;
    const token = `${body}.${this.#mac(claims.kind, body).toString('base64url')}`;
    if (token.length > tokenLimit) {
      throw new SlipwayError('TOO_LARGE', 'a token for so many repositories does not fit into a header', {
        hint: 'Ask for fewer scopes at a time.',
      });
    }
    return token;
  }

  /** The claims, or undefined for anything but a token of ours, of this kind, for this audience, and of this time. Never throws. */
  verify(token: string, { kind, audience, now, left = 0 }: Expectation): Claims | undefined {
    if (token.length > tokenLimit) return undefined;
    const [header, payload, signature, more] = token.split('.');
    if (header !== this.#headers[kind] || payload === undefined || signature === undefined || more !== undefined)
      return undefined;
    // Compared as text: base64 has several spellings of the same bytes, and one token is one text.
    const expected = Buffer.from(this.#mac(kind, `${header}.${payload}`).toString('base64url'));
    const given = Buffer.from(signature);
    if (given.length !== expected.length || !timingSafeEqual(given, expected)) return undefined;
    const claims = readClaims(kind, payload);
    if (claims === undefined || claims.audience !== audience) return undefined;
    if (claims.expires - left <= now || claims.issued > now + skew) return undefined;
    return claims;
  }

  #mac(kind: TokenKind, body: string): Buffer {
    return createHmac('sha256', this.#keys[kind]).update(body).digest();
  }
}

function readClaims(kind: TokenKind, payload: string): Claims | undefined {
  let value: Record<string, unknown>;
  try {
    value = JSON.parse(Buffer.from(payload, 'base64url').toString('utf8')) as Record<string, unknown>;
  } catch {
    // Signed by us and no JSON: cannot be, and is no token either way.
    return undefined;
  }
  const { aud, sub, iat, exp, scope, gen } = value;
  if (typeof aud !== 'string' || typeof sub !== 'string' || typeof iat !== 'number' || typeof exp !== 'number') return undefined;
  return {
    kind,
    audience: aud,
    subject: sub,
    issued: iat,
    expires: exp,
    scopes: typeof scope === 'string' ? parseScopes([scope]) : [],
    ...(typeof gen === 'string' ? { generation: gen } : {}),
  };
}
