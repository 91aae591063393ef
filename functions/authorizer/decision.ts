// The authorizer's answer, in API Gateway's terms.
import type { APIGatewayAuthorizerResult, APIGatewayRequestAuthorizerEvent } from 'aws-lambda';
import { covers } from '../../shared/auth/scope.ts';
import type { Claims } from '../../shared/auth/token.ts';
import type { Call } from '../../shared/registry/exchange.ts';
import { wantedBy } from '../../shared/registry/token-guard.ts';
import { bodyLimit } from '../gateway.ts';

type Verify = (call: Pick<Call, 'header'>) => Promise<Claims | undefined>;

/** Set by what stands in front of the gateway (infra/front-request.js): the challenge that belongs to this very call. */
export const challengeHeader = 'slipway-challenge';

/**
 * Allow; Deny for a body that would not fit into the event of the function behind (the gateway's 403 says so: nothing else is denied
 * here); or the error by whose message the gateway answers 401. A token that does not cover the call is a 401 too, where the gateway can
 * name the scope to ask for; where it cannot, the registry says better what is missing.
 */
export async function authorize(event: APIGatewayRequestAuthorizerEvent, verify: Verify): Promise<APIGatewayAuthorizerResult> {
  const headers = new Map(Object.entries(event.headers ?? {}).map(([name, value]) => [name.toLowerCase(), value]));
  const claims = await verify({ header: (name) => headers.get(name) ?? undefined });
  if (claims === undefined) throw new Error('Unauthorized');
  const wanted = headers.has(challengeHeader) ? wantedBy(event.path, event.httpMethod) : undefined;
  if (wanted !== undefined && !covers(claims.scopes, wanted)) throw new Error('Unauthorized');
  const fits = !(Number(headers.get('content-length') ?? 0) > bodyLimit);
  return {
    principalId: claims.subject === '' ? 'anonymous' : claims.subject,
    policyDocument: {
      Version: '2012-10-17',
      Statement: [{ Action: 'execute-api:Invoke', Effect: fits ? 'Allow' : 'Deny', Resource: everyMethod(event.methodArn) }],
    },
  };
}

/** arn:aws:execute-api:REGION:ACCOUNT:API/STAGE/METHOD/PATH: an answer that is remembered serves other paths too. */
const everyMethod = (methodArn: string): string => `${methodArn.split('/', 2).join('/')}/*`;
