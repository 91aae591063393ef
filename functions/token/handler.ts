// The token endpoint, behind API Gateway: the one function that reads passwords.
import { randomUUID } from 'node:crypto';
import { Accounts } from '../../shared/auth/accounts.ts';
import { Issuer } from '../../shared/auth/issuer.ts';
import { tokenEndpoint } from '../../shared/registry/token-endpoint.ts';
import { listOf, required } from '../environment.ts';
import { gatewayHandler } from '../gateway.ts';
import { logFault } from '../log.ts';
import { openTable } from '../stores.ts';
import { tokenKeys } from '../token-keys.ts';

const now = (): number => Date.now() / 1000;

export const handler = gatewayHandler(
  tokenEndpoint({
    issuer: new Issuer({
      accounts: new Accounts({ table: openTable(process.env), now }),
      keys: tokenKeys(process.env, now),
      audience: required(process.env, 'SLIPWAY_AUDIENCE'),
      anonymousPull: listOf(process.env.SLIPWAY_ANONYMOUS_PULL),
      now,
    }),
    requestId: randomUUID,
    onFault: logFault,
  }),
);
