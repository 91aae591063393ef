// Gives tokens out: who is it, what was asked for, what of it is granted.
import type { Account, Accounts } from './accounts.ts';
import { type Grant, narrow } from './grants.ts';
import { parseScopes, type Scope } from './scope.ts';
import { authorizerMemory, type TokenKeys } from './token.ts';

/** What a client may use a token for, in seconds: longer than a push takes. */
const accessSeconds = 3600;
const refreshSeconds = 90 * 24 * 3600;

export interface IssuerOptions {
  readonly accounts: Accounts;
  /** May be read anew when the secret changes: asked once a token. */
  readonly keys: () => Promise<TokenKeys>;
  /** The service tokens are for: the registry's host. */
  readonly audience: string;
  /** Patterns of repositories that anybody may pull. */
  readonly anonymousPull: readonly string[];
  /** Seconds since 1970. */
  readonly now: () => number;
}

export type Login =
  | { readonly by: 'nobody' }
  | { readonly by: 'password'; readonly name: string; readonly password: string }
  | { readonly by: 'refresh'; readonly token: string };

export interface Issued {
  readonly token: string;
  /** Seconds. */
  readonly expiresIn: number;
  /** Seconds since 1970. */
  readonly issuedAt: number;
  readonly scopes: readonly Scope[];
  readonly refreshToken?: string;
}

export class Issuer {
  readonly #options: IssuerOptions;

  constructor(options: IssuerOptions) {
    this.#options = options;
  }

  /** Undefined: nobody we know, or nothing that may be done without logging in. `scopes` as they came; TOO_LARGE for too many. */
  async issue(login: Login, scopes: readonly string[], wantsRefresh: boolean): Promise<Issued | undefined> {
    const who = await this.#who(login);
    if (who === undefined) return undefined;
    const { audience, now, keys } = this.#options;
    const issued = Math.floor(now());
    const granted = narrow(parseScopes(scopes), who.grants);
    const signer = await keys();
    const subject = who.account?.name ?? '';
    const common = { audience, subject, issued };
    const end = who.account?.expires ?? Number.POSITIVE_INFINITY;
    const lives = Math.min(accessSeconds, Math.max(60, Math.floor(end) - issued));
    const token = signer.sign({ ...common, kind: 'access', expires: issued + lives + authorizerMemory, scopes: granted });
    const refresh =
      wantsRefresh && who.account !== undefined
        ? signer.sign({
            ...common,
            kind: 'refresh',
            expires: issued + refreshSeconds,
            scopes: [],
            generation: who.account.generation,
          })
        : undefined;
    return {
      token,
      expiresIn: lives,
      issuedAt: issued,
      scopes: granted,
      ...(refresh === undefined ? {} : { refreshToken: refresh }),
    };
  }

  async #who(login: Login): Promise<{ readonly account?: Account; readonly grants: readonly Grant[] } | undefined> {
    const { accounts, anonymousPull, audience, keys, now } = this.#options;
    const open = anonymousPull.map((repositories): Grant => ({ repositories, actions: ['pull'] }));
    if (login.by === 'nobody') return open.length === 0 ? undefined : { grants: open };
    let account: Account | undefined;
    if (login.by === 'password') {
      account = await accounts.authenticate(login.name, login.password);
    } else {
      const claims = (await keys()).verify(login.token, { kind: 'refresh', audience, now: now() });
      account = claims === undefined ? undefined : await accounts.current(claims.subject, claims.generation);
    }
    return account === undefined ? undefined : { account, grants: [...account.grants, ...open] };
  }
}
