// Asked by API Gateway before a call reaches the registry, because only the gateway's own 401 can carry WWW-Authenticate. It looks at
// the token's signature, audience and age; what the token covers is the registry's business.
import type { APIGatewayAuthorizerResult, APIGatewayRequestAuthorizerEvent } from 'aws-lambda';
import { authorizerMemory } from '../../shared/auth/token.ts';
import { bearer } from '../../shared/registry/token-guard.ts';
import { required } from '../environment.ts';
import { tokenKeys } from '../token-keys.ts';
import { authorize } from './decision.ts';

const now = (): number => Date.now() / 1000;
const audience = required(process.env, 'SLIPWAY_AUDIENCE');
const keys = tokenKeys(process.env, now);

export async function handler(event: APIGatewayRequestAuthorizerEvent): Promise<APIGatewayAuthorizerResult> {
  return authorize(event, async (call) => {
    const token = bearer(call);
    if (token === undefined) return undefined;
    // An answer may be remembered: the token must live at least as long as that.
    return (await keys()).verify(token, { kind: 'access', audience, now: now(), left: authorizerMemory });
  });
}
