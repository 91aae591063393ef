import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Accounts, type NewAccount } from '../../shared/auth/accounts.ts';
import { everything } from '../../shared/auth/grants.ts';
import { Issuer, type IssuerOptions } from '../../shared/auth/issuer.ts';
import { hashPassword, newPassword, nobodysHash, verifyPassword } from '../../shared/auth/password.ts';
import { formatScope } from '../../shared/auth/scope.ts';
import { authorizerMemory, TokenKeys } from '../../shared/auth/token.ts';
import { SqliteTable } from '../../shared/store/sqlite-table.ts';
import { type TempFolder, tempFolder } from '../support/temp.ts';

let clock = 1_800_000_000;
const now = () => clock;
/** The usual one takes half a second; it is tried where hashes themselves are. */
const cost = { n: 16, r: 1, p: 1 };
let folder: TempFolder;
let table: SqliteTable;
let accounts: Accounts;
const ann: NewAccount = { name: 'ann', kind: 'user', grants: everything };

beforeAll(async () => {
  folder = await tempFolder();
  table = SqliteTable.open(join(folder.path, 'table.db'), { now });
  accounts = new Accounts({ table, now, cost });
});

afterAll(async () => {
  table.close();
  await folder[Symbol.asyncDispose]();
});

describe('a password', () => {
  test('is kept as a hash with a salt of its own', async () => {
    const [one, two] = await Promise.all([hashPassword('same'), hashPassword('same')]);
    expect(one).not.toBe(two);
    expect(one).toMatch(/^scrypt\$32768\$8\$3\$/);
    expect(await verifyPassword('same', one)).toBe(true);
    expect(await verifyPassword('Same', one)).toBe(false);
    expect(await verifyPassword('', one)).toBe(false);
  });

  test('typed in composed or decomposed letters is one', async () => {
    expect(await verifyPassword('cafe\u0301', await hashPassword('caf\u00e9'))).toBe(true);
  });

  test('is not matched by a damaged hash', async () => {
    for (const hash of ['', 'scrypt', 'scrypt$1$1$1$x$y', 'plain']) expect(await verifyPassword('', hash)).toBe(false);
  });

  test('that is made is long, and safe in a shell and a URL', () => {
    const made = Array.from({ length: 50 }, () => newPassword());
    expect(new Set(made).size).toBe(50);
    for (const one of made) expect(one).toMatch(/^slw_[A-Za-z0-9]{27}$/);
  });
});

describe('an account', () => {
  test('is made once, logs in with its password, and not with another', async () => {
    const { password } = await accounts.create(ann);
    expect((await accounts.authenticate('ann', password))?.name).toBe('ann');
    expect(await accounts.authenticate('ann', `${password}x`)).toBeUndefined();
    expect(await accounts.authenticate('nobody', password)).toBeUndefined();
    await expect(accounts.create(ann)).rejects.toMatchObject({ code: 'CONFLICT' });
    const kept = JSON.stringify(await table.query('accounts', { limit: 10 }));
    expect(kept).not.toContain(password);
    // A list shows no hash.
    expect(JSON.stringify(await accounts.list())).not.toContain('scrypt');
  });

  test('with a new password has no old one', async () => {
    const { password: old } = await accounts.create({ ...ann, name: 'renewed' });
    const { password } = await accounts.renew('renewed');
    expect(await accounts.authenticate('renewed', old)).toBeUndefined();
    expect(await accounts.authenticate('renewed', password)).toBeDefined();
  });

  test('that ended or was removed does not log in', async () => {
    const { password } = await accounts.create({ ...ann, name: 'brief', kind: 'robot', expires: clock + 100 });
    expect(await accounts.authenticate('brief', password)).toBeDefined();
    clock += 101;
    expect(await accounts.authenticate('brief', password)).toBeUndefined();
    await accounts.remove('brief');
    await expect(accounts.remove('brief')).rejects.toMatchObject({ code: 'NOT_FOUND' });
    await expect(accounts.renew('brief')).rejects.toMatchObject({ code: 'NOT_FOUND' });
  });

  test.each<[string, Partial<NewAccount>]>([
    ['a name with a colon', { name: 'a:b' }],
    ['no name', { name: '' }],
    ['no grants', { grants: [] }],
    ['a pattern that is none', { grants: [{ repositories: 'Team', actions: ['pull'] }] }],
    ['a grant of nothing', { grants: [{ repositories: 'team', actions: [] }] }],
    ['an end in the past', { expires: 1 }],
  ])('with %s is not made', async (_, change) => {
    await expect(accounts.create({ ...ann, name: 'odd', ...change })).rejects.toMatchObject({ code: 'USAGE' });
  });

  test('unknown costs as much as a wrong password', async () => {
    const nobody = nobodysHash();
    expect(nobody.split('$').slice(0, 4)).toEqual((await hashPassword('x')).split('$').slice(0, 4));
    expect(await verifyPassword('', nobodysHash(cost))).toBe(false);
  });
});

describe('tokens are given out', () => {
  const keys = new TokenKeys('k'.repeat(64));
  const issuer = (change: Partial<IssuerOptions> = {}) =>
    new Issuer({ accounts, keys: async () => keys, audience: 'r.example', anonymousPull: ['public/**'], now, ...change });
  const read = (token: string) => keys.verify(token, { kind: 'access', audience: 'r.example', now: clock });

  test('for what the account is granted, however much is asked', async () => {
    const { password } = await accounts.create({
      name: 'ci',
      kind: 'robot',
      grants: [{ repositories: 'ci/*', actions: ['pull', 'push'] }],
    });
    const login = { by: 'password', name: 'ci', password } as const;
    const asked = ['repository:ci/app:*', 'repository:team/app:pull', 'repository:public/x:pull,push', 'registry:catalog:*'];
    const issued = await issuer().issue(login, asked, false);
    expect(issued?.scopes.map(formatScope)).toEqual(['repository:ci/app:pull,push', 'repository:public/x:pull']);
    expect(read(issued?.token ?? '')?.scopes).toEqual(issued?.scopes);
    expect(issued?.refreshToken).toBeUndefined();
    // Good for as long as it says, and as a gateway may remember after that.
    expect(read(issued?.token ?? '')?.expires).toBe(clock + (issued?.expiresIn ?? 0) + authorizerMemory);
  });

  test('to nobody only where somebody may be nobody', async () => {
    const asked = ['repository:public/x:pull,push', 'repository:team/app:pull'];
    expect((await issuer().issue({ by: 'nobody' }, asked, true))?.scopes.map(formatScope)).toEqual(['repository:public/x:pull']);
    expect((await issuer().issue({ by: 'nobody' }, asked, true))?.refreshToken).toBeUndefined();
    expect(await issuer({ anonymousPull: [] }).issue({ by: 'nobody' }, asked, false)).toBeUndefined();
  });

  test('for a refresh token, until the password changes or the account goes', async () => {
    const { password } = await accounts.create({ ...ann, name: 'ben' });
    const first = await issuer().issue({ by: 'password', name: 'ben', password }, [], true);
    const refresh = { by: 'refresh', token: first?.refreshToken ?? '' } as const;
    const asked = ['repository:team/app:pull'];
    expect((await issuer().issue(refresh, asked, false))?.scopes.map(formatScope)).toEqual(asked);
    // An access token is none.
    expect(await issuer().issue({ by: 'refresh', token: first?.token ?? '' }, asked, false)).toBeUndefined();
    await accounts.renew('ben');
    expect(await issuer().issue(refresh, asked, false)).toBeUndefined();
    await accounts.remove('ben');
    expect(await issuer().issue(refresh, asked, false)).toBeUndefined();
  });

  test('that end with the account', async () => {
    const { password } = await accounts.create({ ...ann, name: 'soon', expires: clock + 600 });
    const issued = await issuer().issue({ by: 'password', name: 'soon', password }, [], false);
    expect(issued?.expiresIn).toBe(600);
  });
});
