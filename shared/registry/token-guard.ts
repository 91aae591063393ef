// Who may do what, by the token a call carries. Every call is read as the registry reads it (route.ts), so nothing is allowed under
// one name and done under another.
import { type Action, covers, type Wanted } from '../auth/scope.ts';
import type { Claims } from '../auth/token.ts';
import { OciError } from './errors.ts';
import type { Call } from './exchange.ts';
import type { RegistryParts } from './parts.ts';
import { parseRoute, type Route } from './route.ts';

/** The claims of a token that is good now, else undefined. */
export type Verify = (token: string) => Promise<Claims | undefined> | Claims | undefined;

/** The parts by which the registry asks for tokens. */
export function tokenGuard(verify: Verify): Required<Pick<RegistryParts, 'guard' | 'mayMount'>> {
  // A call is asked about twice at most, and its token verified once.
  const known = new WeakMap<Call, Promise<Claims | undefined>>();
  const claimsOf = (call: Call): Promise<Claims | undefined> => {
    let claims = known.get(call);
    if (claims === undefined) {
      const token = bearer(call);
      claims = Promise.resolve(token === undefined ? undefined : verify(token));
      known.set(call, claims);
    }
    return claims;
  };
  return {
    async guard(call) {
      const claims = await claimsOf(call);
      if (claims === undefined)
        throw new OciError('UNAUTHORIZED', 'authentication required: the token is missing, wrong or over');
      const route = parseRoute(call.path);
      // The registry itself says what is wrong with the path or the method.
      const wanted = route === undefined ? undefined : neededFor(route, call.method);
      if (wanted === undefined || covers(claims.scopes, wanted)) return undefined;
      const who = claims.subject === '' ? 'nobody in particular (log in first: docker login)' : claims.subject;
      throw new OciError(
        'DENIED',
        wanted === 'catalog'
          ? `the list of repositories is not for ${who}, or the token was not asked for it (registry:catalog:*)`
          : `requested access to the resource is denied: ${wanted.action} of ${wanted.name} by ${who}`,
      );
    },
    async mayMount(call, from) {
      const claims = await claimsOf(call);
      return claims !== undefined && covers(claims.scopes, { name: from, action: 'pull' });
    },
  };
}

/** RFC 6750 section 2.1; the scheme in any case. */
export const bearer = (call: Pick<Call, 'header'>): string | undefined =>
  /^Bearer +([A-Za-z0-9._~+/-]+=*) *$/i.exec(call.header('authorization') ?? '')?.[1];

/**
 * What a call of the registry takes, as far as its path and method tell. Undefined for what any token may do, and for what is no route:
 * the registry itself says what is wrong with it.
 */
export function wantedBy(path: string, method: string): Wanted | undefined {
  try {
    const route = parseRoute(path);
    return route === undefined ? undefined : neededFor(route, method);
  } catch (error) {
    if (error instanceof OciError) return undefined;
    throw error;
  }
}

function neededFor(route: Route, method: string): { readonly name: string; readonly action: Action } | 'catalog' | undefined {
  switch (route.kind) {
    case 'version':
    case 'ping':
      return undefined;
    case 'search':
    case 'catalog':
      return 'catalog';
    case 'tags':
    case 'referrers':
      return { name: route.name, action: 'pull' };
    case 'uploads':
    case 'upload':
      return { name: route.name, action: 'push' };
    case 'blob':
    case 'manifest':
      return { name: route.name, action: method === 'DELETE' ? 'delete' : method === 'PUT' ? 'push' : 'pull' };
  }
}
