// Folders that are a process's own while it lives: named after it, so that what a killed process leaves behind can be told from what
// another is working in, and is removed by the next that comes along.
import { readdirSync, readFileSync, readlinkSync, statSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { errnoOf } from '../shared/errors.ts';
import { startOf } from '../shared/store/upload-lock.ts';

const week = 7 * 24 * 3600_000;

/** `BOOT.PIDNS.PID.START`: a number means a process only on one machine since its start, and in one pid namespace. */
const here = (): string => {
  const boot = readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').slice(0, 8);
  const namespace = /\d+/.exec(readlinkSync('/proc/self/ns/pid'))?.[0] ?? '0';
  return `${boot}.${namespace}`;
};

let own: string | undefined;

/** `id` made this process's: letters, digits and `.` only. */
export function ownedName(id: string): string {
  own ??= process.platform === 'linux' ? `${here()}.${process.pid}.${startOf(process.pid)}` : `other.0.${process.pid}.0`;
  return `${own}.${id}`;
}

/**
 * Starts to remove what dead processes left in `folder`: names made by `ownedName`, with one of `prefixes` before them. What belongs to
 * a process that cannot be asked about (of another container or boot, or of an older version) goes when it is a week old. Answers at
 * once; the removal goes on beside the build, and what it does not finish the next one will.
 */
export function sweepDead(folder: string, prefixes: readonly string[] = ['']): Promise<void> {
  const dead = names(folder).filter((name) => {
    const prefix = prefixes.find((p) => name.startsWith(p));
    return prefix !== undefined && isDead(name.slice(prefix.length), join(folder, name));
  });
  // A folder that cannot be removed must not fail a build that has nothing to do with it.
  return Promise.all(dead.map((name) => rm(join(folder, name), { recursive: true, force: true }).catch(() => undefined))).then(
    () => undefined,
  );
}

/** The names in `folder` that `ownedName` made for processes that are alive, or may be. */
export const livingIn = (folder: string): readonly string[] => names(folder).filter((name) => !isDead(name, join(folder, name)));

/** Whether the process is gone that made the name, without its prefix, for what is at `path`. */
export function isDead(name: string, path: string): boolean {
  const [boot, namespace, pid, start, id] = name.split('.');
  if (process.platform === 'linux' && id !== undefined && `${boot}.${namespace}` === here())
    return startOf(Number(pid)) !== start;
  const found = statSync(path, { throwIfNoEntry: false });
  return found !== undefined && Date.now() - found.mtimeMs > week;
}

function names(folder: string): readonly string[] {
  try {
    return readdirSync(folder);
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return [];
    throw error;
  }
}
