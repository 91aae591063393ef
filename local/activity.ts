// Which processes work in a home now, so that one that cleans up can tell whether it is alone. Each leaves a file in `run/` while it has the
// home open; what a killed one leaves is told by its name (leftovers.ts).
import { mkdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { errnoOf } from '../shared/errors.ts';
import { diskError } from '../shared/store/disk-io.ts';
import { livingIn, ownedName } from './leftovers.ts';

const day = 24 * 3600_000;
/** A server's requests do not take longer, and its builds have records of their own. */
const servedFor = day;

export type Work = 'command' | 'server';

let count = 0;

/** Says that this process works in the home, until disposed. */
export function enterHome(root: string, work: Work): Disposable & { readonly name: string } {
  const name = ownedName(`active${++count}.${work}`);
  const file = join(root, 'run', name);
  try {
    writeFileSync(file, '');
  } catch (error) {
    if (errnoOf(error) !== 'ENOENT') return unwritable(error, name);
    mkdirSync(join(root, 'run'), { recursive: true, mode: 0o700 });
    writeFileSync(file, '');
  }
  return { name, [Symbol.dispose]: () => rmSync(file, { force: true }) };
}

/** Who may not write in the home can only look at what is in it. */
function unwritable(error: unknown, name: string): Disposable & { readonly name: string } {
  const errno = errnoOf(error);
  if (errno !== 'EACCES' && errno !== 'EPERM' && errno !== 'EROFS') throw diskError(error, name);
  return { name, [Symbol.dispose]: () => undefined };
}

/**
 * Whether another command works in the home, or a request of a server that counts as one (home.ts). What else a server does is written
 * down as it goes: links of pushes, records of builds.
 */
export const commandsAtWork = (root: string, own: string): boolean => others(root, own).some(({ work }) => work === 'command');

function others(root: string, own: string): readonly { readonly name: string; readonly work: string }[] {
  return livingIn(join(root, 'run')).flatMap((name) => {
    const work = /\.active\d+\.(command|server)$/.exec(name)?.[1];
    return work === undefined || name === own ? [] : [{ name, work }];
  });
}

/**
 * Since when (milliseconds since 1970) others may rely on what they have seen in the home and not yet written down; `undefined` when
 * nobody else is there. `own`: the name that `enterHome` answered.
 */
export function othersSince(root: string, own: string, now: number): number | undefined {
  let oldest: number | undefined;
  for (const { name, work } of others(root, own)) {
    const began = statSync(join(root, 'run', name), { throwIfNoEntry: false })?.mtimeMs;
    // Gone since.
    if (began === undefined) continue;
    const since = work === 'server' ? Math.max(began, now - servedFor) : began;
    oldest = Math.min(oldest ?? since, since);
  }
  return oldest;
}
