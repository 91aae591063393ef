// Who calls the control API, and what that one may do. In process it is the user of this machine, who may do everything; elsewhere a
// caller with the scopes of a token (shared/auth/scope.ts):
//
//   project:P:build     send contexts to P, start builds in it, see and cancel one's own
//   project:P:view      see all builds of P
//   project:P:manage    cancel all builds of P
//   repository:R:...    pull, push and delete, as in the registry: the tags a build gives, the images it reads, images by name
//   registry:catalog:*  the list of images, and images by ID
import { covers, formatWanted, type Scope, type Wanted } from '../auth/scope.ts';
import { SlipwayError } from '../errors.ts';
import type { ApiRequest } from './http.ts';

export interface Caller {
  /** The account's name. */
  readonly name: string;
  readonly scopes: readonly Scope[];
}

export interface ApiGuard {
  /** Undefined: nobody we know. */
  readonly identify: (request: ApiRequest) => Promise<Caller | undefined>;
  /** Where tokens are given out, and for which service: what a 401 says (distribution docs/content/spec/auth/token.md). */
  readonly realm: string;
  readonly service: string;
}

export interface Access {
  /** Undefined: the user of this machine. */
  readonly caller: Caller | undefined;
  allows(wanted: Wanted): boolean;
  /** @throws UNAUTHORIZED naming the scope that is missing */
  require(...wanted: readonly Wanted[]): void;
}

export const unrestricted: Access = { caller: undefined, allows: () => true, require: () => undefined };

export function accessOf(caller: Caller): Access {
  const allows = (wanted: Wanted): boolean => covers(caller.scopes, wanted);
  return {
    caller,
    allows,
    require(...wanted) {
      const missing = wanted.filter((one) => !allows(one));
      if (missing.length > 0) throw notCovered(caller, [...new Set(missing.map(formatWanted))].join(' '));
    },
  };
}

/** The repositories that the caller may pull from. */
export const readable = ({ scopes }: Caller): readonly string[] =>
  scopes.flatMap((scope) => (scope.kind === 'repository' && scope.actions.includes('pull') ? [scope.name] : []));

/** `scope`: what to ask the token endpoint for. */
export const notCovered = (caller: Caller, scope: string): SlipwayError =>
  new SlipwayError(
    'UNAUTHORIZED',
    `this takes ${scope.replaceAll(' ', ' and ')}, which the token of ${caller.name} does not cover`,
    {
      hint: 'Ask for a token with this scope. If the answer is the same then, the account has no such grant: whoever keeps the accounts gives it.',
      details: { scope },
    },
  );

export async function admit(request: ApiRequest, guard: ApiGuard | undefined): Promise<Access> {
  if (guard === undefined) return unrestricted;
  const caller = await guard.identify(request);
  if (caller !== undefined) return accessOf(caller);
  throw new SlipwayError('UNAUTHORIZED', 'authentication required: the token is missing, wrong or over', {
    hint: 'Log in: slipway login, or docker login.',
  });
}

/** The value of WWW-Authenticate for a refusal (RFC 6750 section 3). */
export function challengeOf({ realm, service }: ApiGuard, error: SlipwayError): string {
  const scope = error.details?.scope;
  return `Bearer realm="${realm}",service="${service}"${typeof scope === 'string' ? `,scope="${scope}",error="insufficient_scope"` : ''}`;
}
