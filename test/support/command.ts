// Runs other people's programs in tests and benchmarks: output captured, nothing thrown away, a clear error when they fail.
import { spawn } from 'node:child_process';

export interface CommandOptions {
  readonly cwd?: string;
  /** Added to this process's environment; undefined removes a name. */
  readonly env?: Readonly<Record<string, string | undefined>>;
  readonly input?: string | Uint8Array;
  readonly signal?: AbortSignal;
  /** Called with the pid as soon as the process runs. */
  readonly onStart?: (pid: number) => void;
}

export interface CommandResult {
  readonly exitCode: number;
  readonly stdout: string;
  readonly stderr: string;
  readonly milliseconds: number;
}

/** Runs a command to its end and reports how it ended, whatever the exit code; 128 + n when a signal ended it. */
export function attempt(command: readonly string[], options: CommandOptions = {}): Promise<CommandResult> {
  const [program, ...args] = command;
  if (program === undefined) throw new Error('attempt: empty command');
  const env: NodeJS.ProcessEnv = { ...process.env };
  for (const [name, value] of Object.entries(options.env ?? {})) {
    if (value === undefined) delete env[name];
    else env[name] = value;
  }
  return new Promise((resolve, reject) => {
    const started = performance.now();
    const child = spawn(program, args, { cwd: options.cwd, env, stdio: ['pipe', 'pipe', 'pipe'], signal: options.signal });
    const out: Buffer[] = [];
    const err: Buffer[] = [];
    child.stdout.on('data', (chunk: Buffer) => out.push(chunk));
    child.stderr.on('data', (chunk: Buffer) => err.push(chunk));
    // A program may well not read its input; that is its own affair.
    child.stdin.on('error', () => undefined);
    child.stdin.end(options.input);
    child.on('error', reject);
    if (child.pid !== undefined) options.onStart?.(child.pid);
    child.on('close', (code, signal) => {
      resolve({
        exitCode: code ?? 128 + (signal === 'SIGKILL' ? 9 : 15),
        stdout: Buffer.concat(out).toString('utf8'),
        stderr: Buffer.concat(err).toString('utf8'),
        milliseconds: performance.now() - started,
      });
    });
  });
}

/** As {@link attempt}, but a non-zero exit is an error that shows the command and the end of what it said. */
export async function must(command: readonly string[], options: CommandOptions = {}): Promise<CommandResult> {
  const result = await attempt(command, options);
  if (result.exitCode !== 0) {
    const said = `${result.stdout}\n${result.stderr}`.trim().split('\n').slice(-40).join('\n');
    throw new Error(`exit ${result.exitCode}: ${command.join(' ')}\n${said}`);
  }
  return result;
}

/** Whether a program can be found in PATH. */
export async function installed(program: string): Promise<boolean> {
  return (await attempt(['sh', '-c', 'command -v -- "$1" >/dev/null 2>&1', 'sh', program])).exitCode === 0;
}
