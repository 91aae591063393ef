// Accounts of the registry, managed by whoever may invoke this function (IAM). No gateway leads here.
import { z } from 'zod';
import { Accounts } from '../../shared/auth/accounts.ts';
import { everything } from '../../shared/auth/grants.ts';
import { actions, projectActions } from '../../shared/auth/scope.ts';
import { SlipwayError } from '../../shared/errors.ts';
import { openTable } from '../stores.ts';

const grant = z.union([
  z.strictObject({ repositories: z.string(), actions: z.array(z.enum(actions)) }),
  z.strictObject({ projects: z.string(), actions: z.array(z.enum(projectActions)) }),
]);
const request = z.discriminatedUnion('do', [
  z.strictObject({
    do: z.literal('create'),
    name: z.string(),
    kind: z.enum(['user', 'robot']).default('user'),
    /** All of everything when absent. */
    grants: z.array(grant).default(() => [...everything] as z.infer<typeof grant>[]),
    /** Days it may log in. */
    days: z.number().positive().max(3650).optional(),
  }),
  z.strictObject({ do: z.literal('renew'), name: z.string() }),
  z.strictObject({ do: z.literal('remove'), name: z.string() }),
  z.strictObject({ do: z.literal('list') }),
]);

const now = (): number => Date.now() / 1000;
const accounts = new Accounts({ table: openTable(process.env), now });

/** Answers what was made, a password among it, or `{error}` for a person to read. */
export async function handler(event: unknown): Promise<unknown> {
  const parsed = request.safeParse(event);
  if (!parsed.success) return { error: { code: 'USAGE', message: z.prettifyError(parsed.error) } };
  try {
    return await answer(parsed.data);
  } catch (error) {
    if (!(error instanceof SlipwayError) || error.status >= 500) throw error;
    return { error: { code: error.code, message: error.message, ...(error.hint === undefined ? {} : { hint: error.hint }) } };
  }
}

async function answer(asked: z.infer<typeof request>): Promise<unknown> {
  switch (asked.do) {
    case 'create': {
      const { name, kind, grants, days } = asked;
      const expires = days === undefined ? {} : { expires: Math.floor(now() + days * 86_400) };
      const made = await accounts.create({ name, kind, grants, ...expires });
      return { name, password: made.password, kind, grants, ...expires };
    }
    case 'renew': {
      const { account, password } = await accounts.renew(asked.name);
      return { name: account.name, password };
    }
    case 'remove':
      await accounts.remove(asked.name);
      return { removed: asked.name };
    case 'list':
      return { accounts: (await accounts.list()).map(({ generation: _, ...account }) => account) };
  }
}
