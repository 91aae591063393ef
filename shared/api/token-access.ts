// The control API's callers by the tokens of the registry: one login is good for both.

import type { Verify } from '../registry/token-guard.ts';
import { bearer } from '../registry/token-guard.ts';
import type { ApiGuard } from './access.ts';

/** `url`: where clients reach the home, without a slash at the end. `service`: what its tokens are for, the host in image names. */
export function tokenAccess(verify: Verify, { url, service }: { readonly url: string; readonly service: string }): ApiGuard {
  return {
    realm: `${url}/token`,
    service,
    async identify({ headers }) {
      const token = bearer({ header: (name) => headers.get(name) ?? undefined });
      const claims = token === undefined ? undefined : await verify(token);
      // A token for nobody in particular is for pulling what is public, and for nothing here.
      return claims === undefined || claims.subject === '' ? undefined : { name: claims.subject, scopes: claims.scopes };
    },
  };
}
