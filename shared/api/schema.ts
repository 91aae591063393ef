// Checks what comes in against its schema. The message names the member, so that a client's author can mend it.

import * as z from 'zod/mini';
import en from 'zod/v4/locales/en.js';
import { SlipwayError } from '../errors.ts';

// zod/mini says "Invalid input" to everything until it is given words.
z.config(en());

/** The value in the schema's type, or INVALID_DOCUMENT naming the first wrong member. */
export function checked<S extends z.ZodMiniType>(schema: S, value: unknown, what: string): z.infer<S> {
  const result = z.safeParse(schema, value);
  if (result.success) return result.data;
  const issue = result.error.issues[0];
  const path = issue?.path.map(String).join('.') ?? '';
  throw new SlipwayError('INVALID_DOCUMENT', `${what}${path === '' ? '' : `.${path}`}: ${issue?.message ?? 'is not valid'}`, {
    details: { issues: result.error.issues.slice(0, 20).map((i) => ({ path: i.path.map(String), message: i.message })) },
  });
}

/** A digest, e.g. sha256:<64 hex digits>. */
export const digestText = z.string().check(z.regex(/^(?:sha256:[a-f0-9]{64}|sha512:[a-f0-9]{128})$/));
