// Passwords are kept as scrypt hashes (RFC 7914), each with a salt of its own and its cost beside it, so that the cost can grow later.
import { randomBytes, type ScryptOptions, scrypt, timingSafeEqual } from 'node:crypto';

/** scrypt's parameters. */
export interface Cost {
  readonly n: number;
  readonly r: number;
  readonly p: number;
}

/** 32 MiB and three passes: a recommended setting of OWASP's Password Storage Cheat Sheet. */
export const usualCost: Cost = { n: 2 ** 15, r: 8, p: 3 };
const keyBytes = 32;
const saltBytes = 16;
/** scrypt takes any length; a megabyte of "password" is not one. */
export const passwordLimit = 1024;

const shape = /^scrypt\$(\d{1,8})\$(\d{1,2})\$(\d{1,2})\$([A-Za-z0-9+/=]{16,64})\$([A-Za-z0-9+/=]{16,128})$/;

const derive = (password: string, salt: Buffer, options: ScryptOptions): Promise<Buffer> =>
  new Promise((resolve, reject) => {
    const memory = 128 * (options.N ?? 1) * (options.r ?? 1);
    // NFKC, as RFC 8265 has it: the same characters typed on two keyboards are one password.
    scrypt(password.normalize('NFKC'), salt, keyBytes, { ...options, maxmem: 2 * memory }, (error, key) =>
      error === null ? resolve(key) : reject(error),
    );
  });

/** A password nobody chose: 160 random bits, without characters that a shell or a URL would read. */
export const newPassword = (random: (bytes: number) => Buffer = randomBytes): string =>
  `slw_${random(20).toString('base64url').replaceAll('-', 'A').replaceAll('_', 'B')}`;

export async function hashPassword(
  password: string,
  random: (bytes: number) => Buffer = randomBytes,
  cost: Cost = usualCost,
): Promise<string> {
  const salt = random(saltBytes);
  const key = await derive(password, salt, { N: cost.n, r: cost.r, p: cost.p });
  return textOf(cost, salt, key);
}

const textOf = ({ n, r, p }: Cost, salt: Buffer, key: Buffer): string =>
  `scrypt$${n}$${r}$${p}$${salt.toString('base64')}$${key.toString('base64')}`;

/** Takes as long for a wrong password as for the right one. A damaged hash matches nothing. */
export async function verifyPassword(password: string, hash: string): Promise<boolean> {
  const [, n, r, p, salt = '', key = ''] = shape.exec(hash) ?? [];
  if (n === undefined || password.length > passwordLimit) return false;
  const expected = Buffer.from(key, 'base64');
  const actual = await derive(password, Buffer.from(salt, 'base64'), { N: Number(n), r: Number(r), p: Number(p) });
  return expected.length === actual.length && timingSafeEqual(expected, actual);
}

/** A hash that no password has, so that an unknown name costs as much time as a wrong password. */
export const nobodysHash = (cost: Cost = usualCost): string => textOf(cost, Buffer.alloc(saltBytes), Buffer.alloc(keyBytes));
