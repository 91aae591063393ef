// A lock file that tells one writer of a staged upload from another, in this process or any other of this machine. A holder that
// died (its pid is gone, or belongs to a process started later) loses the lock to whoever asks next.
import { linkSync, readFileSync, renameSync, unlinkSync, writeFileSync } from 'node:fs';
import { errnoOf } from '../errors.ts';

/** Clock ticks after boot at which the process began (proc(5), stat field 22); empty where there is no /proc. */
export function startOf(pid: number): string {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    // The second field is the command in parentheses, which may hold spaces and parentheses itself.
    return stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19] ?? '';
  } catch (error) {
    if (errnoOf(error) === 'ENOENT' || errnoOf(error) === 'ESRCH') return '';
    throw error;
  }
}

function isAlive(holder: string): boolean {
  const [pid, start] = holder.split(' ');
  try {
    process.kill(Number(pid), 0);
  } catch (error) {
    if (errnoOf(error) === 'ESRCH') return false;
    // EPERM: it lives, as somebody else's.
  }
  return startOf(Number(pid)) === start;
}

let own: string | undefined;

/** Takes the lock and answers how to give it back; undefined when a living writer holds it. `unique` names this attempt. */
export function tryLock(file: string, unique: string): (() => void) | undefined {
  own ??= `${process.pid} ${startOf(process.pid)}`;
  const mine = `${file}.${unique}`;
  // Written whole under another name and then linked, so that no one ever reads half a lock.
  writeFileSync(mine, own, { flag: 'wx' });
  try {
    for (;;) {
      try {
        linkSync(mine, file);
        return () => unlinkSync(file);
      } catch (error) {
        if (errnoOf(error) !== 'EEXIST') throw error;
      }
      const holder = read(file);
      if (holder === undefined) continue;
      if (isAlive(holder)) return undefined;
      breakStale(file, `${mine}.stale`);
    }
  } finally {
    unlinkSync(mine);
  }
}

/** Moves a dead holder's lock away; of several that try, the rename lets one win. */
function breakStale(file: string, aside: string): void {
  try {
    renameSync(file, aside);
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return;
    throw error;
  }
  const taken = read(aside);
  try {
    // Another breaker was quicker, and this is the new, living holder's lock: put it back.
    if (taken !== undefined && isAlive(taken)) linkSync(aside, file);
  } finally {
    unlinkSync(aside);
  }
}

function read(file: string): string | undefined {
  try {
    return readFileSync(file, 'utf8');
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return undefined;
    throw error;
  }
}
