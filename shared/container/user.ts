// USER of an image, or `--user`: names and numbers, looked up in the root's own passwd and group files. Pure; as runc's libcontainer.
import { SlipwayError } from '../errors.ts';
import type { RunUser } from '../sandbox/sandbox.ts';

export interface ResolvedUser extends RunUser {
  /** From passwd; `/` where the user is not in it. */
  readonly home: string;
}

export interface Accounts {
  /** Text of /etc/passwd and /etc/group of the root; empty where it has none. */
  readonly passwd: string;
  readonly group: string;
}

/** The same from the bytes of the files, which may not be there. */
export function accountsOf(read: (path: 'etc/passwd' | 'etc/group') => Uint8Array | undefined): Accounts {
  const text = (path: 'etc/passwd' | 'etc/group') => Buffer.from(read(path) ?? []).toString('utf8');
  return { passwd: text('etc/passwd'), group: text('etc/group') };
}

/** Largest id the kernel takes; -1 means "leave alone" to it. */
const largest = 2 ** 32 - 2;

/**
 * `name|uid[:group|gid]`; empty is root. A number need not be in passwd; a name must be. Without a group, it is the user's own of
 * passwd, else 0. Supplementary groups: those that list the user, only where no group was given; before them always the primary one, as
 * docker does since CVE-2022-36109 (a process could else leave its primary group, and with it what that group is denied).
 */
export function resolveUser(spec: string, { passwd, group }: Accounts): ResolvedUser {
  const [who = '', which, ...more] = spec.trim().split(':');
  if (more.length > 0)
    throw new SlipwayError('RUN_ENGINE', `invalid user: ${spec}`, { hint: 'Write USER[:GROUP], by name or number.' });
  const users = lines(passwd, 7);
  const groups = lines(group, 4);
  const wanted = who === '' ? '0' : who;
  // A name wins over a number, so a user may be called 1000.
  const found =
    users.find((fields) => fields[0] === wanted) ?? users.find((fields) => numeric(wanted) !== undefined && fields[2] === wanted);
  const uid = found ? numeric(found[2]) : numeric(wanted);
  if (uid === undefined) {
    throw new SlipwayError('RUN_ENGINE', `unable to find user ${who}: no matching entries in passwd file`, {
      hint: 'Create it in the image (RUN useradd ...) or use a number.',
    });
  }
  const home = found?.[5] || '/';
  if (which !== undefined && which !== '') {
    const entry = groups.find((fields) => fields[0] === which);
    const gid = entry ? numeric(entry[2]) : numeric(which);
    if (gid === undefined) {
      throw new SlipwayError('RUN_ENGINE', `unable to find group ${which}: no matching entries in group file`, {
        hint: 'Create it in the image (RUN groupadd ...) or use a number.',
      });
    }
    return { uid, gid, groups: [gid], home };
  }
  const gid = (found && numeric(found[3])) ?? 0;
  const name = found?.[0];
  const also = groups
    .filter((fields) => name !== undefined && (fields[3] ?? '').split(',').includes(name))
    .map((fields) => numeric(fields[2]))
    .filter((id) => id !== undefined);
  return { uid, gid, groups: [...new Set([gid, ...also])], home };
}

function lines(text: string, fields: number): string[][] {
  return text
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => line !== '' && !line.startsWith('#'))
    .map((line) => line.split(':'))
    .filter((parts) => parts.length >= Math.min(fields, 3));
}

function numeric(text: string | undefined): number | undefined {
  if (text === undefined || !/^\d{1,10}$/.test(text)) return undefined;
  const id = Number(text);
  return id <= largest ? id : undefined;
}
