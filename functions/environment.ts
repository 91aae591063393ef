// What the stack tells its functions, by environment variable. infra/functions.ts sets each of these names.
import { SlipwayError } from '../shared/errors.ts';

export type Environment = Readonly<Record<string, string | undefined>>;

/** INTERNAL, naming the variable, when the stack and the function do not fit together. */
export function required(env: Environment, name: string): string {
  const value = env[name];
  if (value) return value;
  throw new SlipwayError('INTERNAL', `the environment variable ${name} is not set`, {
    hint: 'Deploy the stack again: it and this function are of different versions.',
  });
}

/** A number of days, in milliseconds. INTERNAL when it is none. */
export function days(env: Environment, name: string): number {
  const count = Number(required(env, name));
  if (count > 0) return count * 24 * 3600_000;
  throw new SlipwayError('INTERNAL', `the environment variable ${name} is no number of days`);
}

export const listOf = (text: string | undefined): readonly string[] => (text ?? '').split(',').filter((one) => one !== '');
