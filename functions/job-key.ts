// The key of job tokens: of the same secret as all tokens of the home, and still another key, so that neither kind passes for the other.
import { createHmac } from 'node:crypto';
import { GetSecretValueCommand, SecretsManagerClient } from '@aws-sdk/client-secrets-manager';
import { SlipwayError } from '../shared/errors.ts';
import { type Environment, required } from './environment.ts';

export async function jobKey(env: Environment): Promise<Uint8Array> {
  const id = required(env, 'SLIPWAY_TOKEN_SECRET');
  const { SecretString } = await new SecretsManagerClient({}).send(new GetSecretValueCommand({ SecretId: id }));
  if (!SecretString) throw new SlipwayError('INTERNAL', `the secret ${id} holds no text`);
  return createHmac('sha256', SecretString).update('slipway job tokens').digest();
}
