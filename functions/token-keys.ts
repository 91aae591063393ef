// The secret that signs tokens, read once and again when it is old, so that a changed secret takes effect within minutes.
import { GetSecretValueCommand, SecretsManagerClient } from '@aws-sdk/client-secrets-manager';
import { TokenKeys } from '../shared/auth/token.ts';
import { SlipwayError } from '../shared/errors.ts';
import { UploadTickets } from '../shared/registry/upload-tickets.ts';
import { type Environment, required } from './environment.ts';

const memorySeconds = 300;

export const tokenKeys = (env: Environment, now: () => number): (() => Promise<TokenKeys>) =>
  signing(env, now, (secret) => new TokenKeys(secret));

export const uploadTickets = (env: Environment, now: () => number): (() => Promise<UploadTickets>) =>
  signing(env, now, (secret) => new UploadTickets(secret, now));

function signing<T>(env: Environment, now: () => number, make: (secret: string) => T): () => Promise<T> {
  const client = new SecretsManagerClient({});
  const secret = required(env, 'SLIPWAY_TOKEN_SECRET');
  let kept: { readonly keys: Promise<T>; readonly until: number } | undefined;
  const read = async (): Promise<T> => {
    const { SecretString } = await client.send(new GetSecretValueCommand({ SecretId: secret }));
    if (SecretString === undefined) throw new SlipwayError('INTERNAL', `the secret ${secret} holds no text`);
    return make(SecretString);
  };
  return () => {
    if (kept === undefined || kept.until <= now()) {
      const keys = read();
      const fresh = { keys, until: now() + memorySeconds };
      kept = fresh;
      keys.catch(() => {
        if (kept === fresh) kept = undefined;
      });
    }
    return kept.keys;
  };
}
