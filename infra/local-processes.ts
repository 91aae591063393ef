// What `deploy:local` leaves running, written down so that `destroy:local` ends it and nothing else.
import { execFileSync, spawn } from 'node:child_process';
import { closeSync, mkdirSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

const root = join(import.meta.dirname, '..');
/** Not in git. */
export const localFolder = join(root, '.slipway/local');
const stateFile = join(localFolder, 'state.json');

export interface LocalProcess {
  readonly pid: number;
  /** A part of its command line: a process id may be somebody else's by now. */
  readonly mark: string;
}

export interface LocalState {
  /** Of the local AWS. */
  readonly endpoint: string;
  /** Where clients reach the registry. */
  readonly url: string;
  readonly aws?: LocalProcess;
  readonly proxy?: LocalProcess;
  /** What stands for the machines that execute RUN. */
  readonly runners?: LocalProcess;
}

export function readState(): LocalState | undefined {
  try {
    return JSON.parse(readFileSync(stateFile, 'utf8')) as LocalState;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw new Error(`${stateFile} cannot be read: remove it once nothing of it runs any more`, { cause: error });
  }
}

export function writeState(state: LocalState): void {
  mkdirSync(localFolder, { recursive: true });
  writeFileSync(stateFile, `${JSON.stringify(state, undefined, 2)}\n`);
}

export function forgetState(): void {
  rmSync(localFolder, { recursive: true, force: true });
}

/** Starts a program that outlives this one; what it says goes to NAME.log. */
export function startInBackground(
  name: string,
  command: string,
  args: readonly string[],
  env: Readonly<Record<string, string>>,
): LocalProcess & { readonly log: string } {
  mkdirSync(localFolder, { recursive: true });
  const log = join(localFolder, `${name}.log`);
  const out = openSync(log, 'w');
  const child = spawn(command, args, {
    detached: true,
    stdio: ['ignore', out, out],
    env: { ...process.env, PATH: `${join(root, 'node_modules/.bin')}:${process.env.PATH}`, ...env },
  });
  closeSync(out);
  if (child.pid === undefined) throw new Error(`${command} cannot be started`);
  child.unref();
  return { pid: child.pid, mark: args[0] ?? command, log };
}

export function isRunning({ pid, mark }: LocalProcess): boolean {
  try {
    return execFileSync('ps', ['-p', String(pid), '-o', 'args='], { encoding: 'utf8' }).includes(mark);
  } catch {
    // ps answers 1 for a process that is not there.
    return false;
  }
}

export async function stop(running: LocalProcess): Promise<void> {
  if (!isRunning(running)) return;
  // The whole group: an emulator has its functions' processes beside it.
  process.kill(-running.pid, 'SIGTERM');
  const patience = 10_000;
  for (const deadline = Date.now() + patience; isRunning(running); ) {
    if (Date.now() > deadline) {
      process.kill(-running.pid, 'SIGKILL');
      return;
    }
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}
