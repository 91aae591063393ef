// Other OS processes for the contract suites: child.ts does the work, these start it and talk to it by lines of JSON.
import { type ChildProcess, spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import type { Action } from './child.ts';

const program = fileURLToPath(new URL('./child.ts', import.meta.url));

export interface Child {
  /** The next line it prints. */
  line(): Promise<unknown>;
  say(text: string): void;
  /** Its last line, once it has ended well; fails with what it said on stderr otherwise. */
  result<T>(): Promise<T>;
  /** SIGKILL: nothing of its own gets to run. */
  kill(): Promise<void>;
}

export function startChild(action: Action, ...args: readonly unknown[]): Child {
  const child: ChildProcess = spawn(process.execPath, [program, action, JSON.stringify(args)], { stdio: 'pipe' });
  const errors: Buffer[] = [];
  child.stderr!.on('data', (chunk: Buffer) => errors.push(chunk));
  const lines = createInterface({ input: child.stdout! })[Symbol.asyncIterator]();
  const ended = new Promise<string>((resolve) => child.once('close', (code, signal) => resolve(`${code ?? signal}`)));
  const next = async (): Promise<unknown> => {
    const { value, done } = await lines.next();
    if (done) throw new Error(`${action} ended (${await ended}) with ${Buffer.concat(errors).toString()}`);
    return JSON.parse(value);
  };
  return {
    line: next,
    say: (text) => void child.stdin!.write(`${text}\n`),
    async result<T>() {
      let last: unknown;
      for await (const line of { [Symbol.asyncIterator]: () => lines }) last = JSON.parse(line);
      const end = await ended;
      if (end !== '0') throw new Error(`${action} ended with ${end}: ${Buffer.concat(errors).toString()}`);
      return last as T;
    },
    async kill() {
      child.kill('SIGKILL');
      await ended;
    },
  };
}

export const runChild = <T>(action: Action, ...args: readonly unknown[]): Promise<T> => startChild(action, ...args).result<T>();
