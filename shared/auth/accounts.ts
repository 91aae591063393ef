// Who may log in: people and robots, kept in the Table. A password is never kept and is said once, when it is made.
import { randomBytes } from 'node:crypto';
import { isCode, SlipwayError } from '../errors.ts';
import { accountKeys } from '../store/keys.ts';
import type { Json, Table, TableRecord } from '../store/table.ts';
import { checkGrant, type Grant } from './grants.ts';
import { type Cost, hashPassword, newPassword, nobodysHash, usualCost, verifyPassword } from './password.ts';

/** `user`: a person. `robot`: a program, usually with an end. */
export type AccountKind = 'user' | 'robot';

export interface Account {
  readonly name: string;
  readonly kind: AccountKind;
  readonly grants: readonly Grant[];
  /** Seconds since 1970 after which it cannot log in. */
  readonly expires?: number;
  /** Changes with the password: ends what was given out for the old one. */
  readonly generation: string;
}

export interface AccountsOptions {
  readonly table: Table;
  /** Seconds since 1970. */
  readonly now: () => number;
  readonly random?: (bytes: number) => Buffer;
  /** Of the hashes made from now on. */
  readonly cost?: Cost;
}

export interface NewAccount {
  readonly name: string;
  readonly kind: AccountKind;
  readonly grants: readonly Grant[];
  readonly expires?: number;
}

// No colon: it ends a name in Basic authentication (RFC 7617).
const nameShape = /^[A-Za-z0-9][A-Za-z0-9._@+-]{0,99}$/;
const grantLimit = 100;

export class Accounts {
  readonly #table: Table;
  readonly #now: () => number;
  readonly #random: (bytes: number) => Buffer;
  readonly #cost: Cost;

  constructor({ table, now, random = randomBytes, cost = usualCost }: AccountsOptions) {
    this.#cost = cost;
    this.#table = table;
    this.#now = now;
    this.#random = random;
  }

  /** Answers the password, which cannot be asked for again. CONFLICT when the name is taken, USAGE when something is malformed. */
  async create(account: NewAccount): Promise<{ readonly account: Account; readonly password: string }> {
    checkAccount(account, this.#now());
    const password = newPassword(this.#random);
    const made: Account = { ...account, generation: this.#generation() };
    const hash = await hashPassword(password, this.#random, this.#cost);
    try {
      await this.#table.put(accountKeys.account(account.name), recordOf(made, hash), { condition: { ifAbsent: true } });
    } catch (error) {
      if (!isCode(error, 'STORE_CONFLICT')) throw error;
      throw new SlipwayError('CONFLICT', `there is an account ${account.name} already`, {
        hint: 'Give it a new password, or remove it first.',
        cause: error,
      });
    }
    return { account: made, password };
  }

  /** A new password for an account; the old one, and every refresh token made with it, is refused from now on. NOT_FOUND. */
  async renew(name: string): Promise<{ readonly account: Account; readonly password: string }> {
    const found = await this.#find(name);
    if (found === undefined) throw unknown(name);
    const password = newPassword(this.#random);
    const account: Account = { ...found.account, generation: this.#generation() };
    const hash = await hashPassword(password, this.#random, this.#cost);
    await this.#table.put(accountKeys.account(name), recordOf(account, hash), { condition: { ifVersion: found.version } });
    return { account, password };
  }

  /** Tokens given out already live on until they expire. NOT_FOUND. */
  async remove(name: string): Promise<void> {
    if (!nameShape.test(name) || !(await this.#table.delete(accountKeys.account(name)))) throw unknown(name);
  }

  /** All accounts by name; there are as many as people and robots in a team. */
  async list(): Promise<readonly Account[]> {
    const accounts: Account[] = [];
    const limit = 200;
    for (let after: string | undefined; ; after = accounts.at(-1)?.name) {
      const page = await this.#table.query(accountKeys.partition, { limit, ...(after === undefined ? {} : { after }) });
      accounts.push(...page.map((record) => accountOf(record).account));
      if (page.length < limit) return accounts;
    }
  }

  /** The account, when the password is its own and it has not ended. It takes as long whatever is wrong. */
  async authenticate(name: string, password: string): Promise<Account | undefined> {
    const found = await this.#find(name);
    const right = await verifyPassword(password, found?.hash ?? nobodysHash(this.#cost));
    return right && found !== undefined && this.#isLive(found.account) ? found.account : undefined;
  }

  /** The account as it is now, if a token of this generation may still stand for it. */
  async current(name: string, generation: string | undefined): Promise<Account | undefined> {
    const account = (await this.#find(name))?.account;
    return account !== undefined && account.generation === generation && this.#isLive(account) ? account : undefined;
  }

  #isLive = (account: Account): boolean => account.expires === undefined || account.expires > this.#now();
  #generation = (): string => this.#random(9).toString('base64url');

  async #find(name: string): Promise<(ReturnType<typeof accountOf> & { readonly version: string }) | undefined> {
    if (!nameShape.test(name)) return undefined;
    const record = await this.#table.get(accountKeys.account(name));
    return record === undefined ? undefined : { ...accountOf(record), version: record.version };
  }
}

function checkAccount({ name, grants, expires }: NewAccount, now: number): void {
  if (!nameShape.test(name)) {
    throw new SlipwayError('USAGE', `${JSON.stringify(name.slice(0, 100))} is no name for an account`, {
      hint: 'Use up to 100 letters, digits and . _ @ + -, the first a letter or digit.',
    });
  }
  if (grants.length === 0 || grants.length > grantLimit) {
    throw new SlipwayError('USAGE', `an account has 1 to ${grantLimit} grants, not ${grants.length}`);
  }
  grants.forEach(checkGrant);
  if (expires !== undefined && !(expires > now)) throw new SlipwayError('USAGE', 'the account would have ended already');
}

// `expires` is a field and not the record's own: a name does not become free, and whose it was stays known, when its time is over.
const recordOf = ({ kind, grants, expires, generation }: Account, hash: string): Json => ({
  kind,
  grants: grants.map((grant) =>
    'projects' in grant
      ? { projects: grant.projects, actions: grant.actions }
      : { repositories: grant.repositories, actions: grant.actions },
  ),
  generation,
  hash,
  ...(expires === undefined ? {} : { expires }),
});

function accountOf(record: TableRecord): { readonly account: Account; readonly hash: string } {
  const value = record.value as {
    readonly kind?: unknown;
    readonly grants?: readonly Grant[];
    readonly generation?: unknown;
    readonly hash?: unknown;
    readonly expires?: unknown;
  } | null;
  const { kind, grants, generation, hash, expires } = value ?? {};
  if (
    (kind !== 'user' && kind !== 'robot') ||
    !Array.isArray(grants) ||
    typeof generation !== 'string' ||
    typeof hash !== 'string'
  ) {
    throw new SlipwayError('STORE', `the record of account ${record.sort} is damaged`);
  }
  return {
    account: { name: record.sort, kind, grants, generation, ...(typeof expires === 'number' ? { expires } : {}) },
    hash,
  };
}

const unknown = (name: string): SlipwayError => new SlipwayError('NOT_FOUND', `there is no account ${name.slice(0, 100)}`);
