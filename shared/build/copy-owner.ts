// --chown of COPY and ADD: numbers as they are, names from the passwd and group files of the image that is copied into.
import { SlipwayError } from '../errors.ts';

export interface Owner {
  readonly uid: number;
  readonly gid: number;
}

/** The content of `etc/passwd` or `etc/group` in the image, symlinks followed, or `undefined`. */
export type ReadAccounts = (path: 'etc/passwd' | 'etc/group') => Uint8Array | undefined;

const largestId = 2 ** 31 - 1;

function parseId(text: string): number | undefined {
  if (text === 'root') return 0;
  return /^\d{1,10}$/.test(text) && Number(text) <= largestId ? Number(text) : undefined;
}

/** True for `user`, `user:group` and the like without any name, for which no image need be looked into. */
export const isNumeric = (owner: string): boolean => /^[0-9:]*$/.test(owner);

/** The fields of the line for `name`, in a file of lines such as `name:x:1000:...`. */
function lineFor(bytes: Uint8Array, name: string): readonly string[] | undefined {
  for (const line of Buffer.from(bytes).toString('utf8').split('\n')) {
    const fields = line.trim().split(':');
    if (fields[0] === name) return fields;
  }
  return undefined;
}

/**
 * `user`, `user:group`, both names or numbers. A user alone gives its number as the group's too, a name its own group (F78).
 * `written` is how the Dockerfile says it, for messages.
 */
export function resolveOwner(chown: string, read: ReadAccounts, written = `--chown=${chown}`): Owner {
  const colon = chown.indexOf(':');
  const user = colon === -1 ? chown : chown.slice(0, colon);
  const group = colon === -1 ? undefined : chown.slice(colon + 1);
  const lookUp = (file: 'etc/passwd' | 'etc/group', name: string): readonly string[] => {
    const what = file === 'etc/passwd' ? 'user' : 'group';
    const bytes = read(file);
    const fields = bytes === undefined ? undefined : lineFor(bytes, name);
    if (fields !== undefined && parseId(fields[2] ?? '') !== undefined) return fields;
    throw new SlipwayError('STEP_FAILED', `${written}: no ${what} ${JSON.stringify(name)} in the image's /${file}`, {
      hint:
        bytes === undefined
          ? `The image has no /${file}: use numbers, for example ${written.replace(chown, '1000:1000')}.`
          : `Create the ${what} in a RUN before, or use numbers, for example ${written.replace(chown, '1000:1000')}.`,
    });
  };
  let uid = user === '' ? 0 : parseId(user);
  let gid = uid;
  if (uid === undefined) {
    const fields = lookUp('etc/passwd', user);
    uid = parseId(fields[2]!)!;
    gid = parseId(fields[3] ?? '') ?? 0;
  }
  if (group !== undefined && group !== '') gid = parseId(group) ?? parseId(lookUp('etc/group', group)[2]!)!;
  return { uid, gid: gid ?? 0 };
}
