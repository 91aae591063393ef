// The data plane of Lambda MicroVMs, as far as a runner sees it: the runner program on a machine of its own (test/support/machine.ts), made
// ready, given its payload by the run hook, and terminated; hooks have seconds to answer. Not so here: the snapshot between `ready` and
// `run`, and the proxy in front of the machine's ports.
import type { ChildProcess } from 'node:child_process';
import { request } from 'node:http';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { hookPrefix } from '../../shared/workflow/run-hooks.ts';
import { type Machine, type MachineOptions, startMachine } from './machine.ts';

const program = join(import.meta.dirname, '../../functions/runner/handler.ts');
/** What Lambda gives a hook by default, and the hook of the end by the stack's word (infra/runners.ts). */
const hookMilliseconds = 1000;
const terminateMilliseconds = 30_000;
const hooksPort = 9000;

/** Waits until the runner has ended, for as long as the stack lets the hook of the end take. */
export async function endedInTime({ ended }: FakeRunner): Promise<void> {
  const timer = new AbortController();
  await Promise.race([ended, sleep(terminateMilliseconds, undefined, { signal: timer.signal }).catch(() => undefined)]);
  timer.abort();
}

export interface FakeRunner extends AsyncDisposable {
  readonly machine: Machine;
  /** Of the program, on this machine. */
  readonly pid: number;
  /** What it wrote to stdout and stderr. */
  said(): string;
  signal(name: NodeJS.Signals): void;
  /** As if the machine had gone. */
  kill(): Promise<void>;
  /** Resolves with the exit code. */
  readonly ended: Promise<number | null>;
}

export interface FakeMicrovm extends FakeRunner {
  /** Calls a hook; answers its status. Fails after `milliseconds`. */
  hook(name: string, body?: unknown, milliseconds?: number): Promise<number>;
}

export interface FakeRunnerOptions extends MachineOptions {
  readonly env?: Readonly<Record<string, string>>;
  /** In place of the runner's source, or of this machine's shell for `script`: what a container of an image does, say. */
  readonly start?: (machine: Machine, env: Readonly<Record<string, string>>, script?: string) => ChildProcess;
}

/** The machine's environment, and nothing of this process's. */
export const machineEnvironment = { PATH: process.env.PATH ?? '/usr/bin:/bin', SLIPWAY_RUNNER_BEAT: '200' };

const startSource = (machine: Machine, env: Readonly<Record<string, string>>): ChildProcess =>
  machine.spawn(process.execPath, [program], { stdio: ['ignore', 'pipe', 'pipe'], env });

/** A program on a machine, which goes with it. */
export function runnerOn(machine: Machine, child: ChildProcess): FakeRunner {
  let text = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream?.on('data', (chunk: Buffer) => {
      text += chunk.toString();
    });
  }
  const ended = new Promise<number | null>((resolve) => child.once('close', (code) => resolve(code)));
  const kill = async (): Promise<void> => {
    child.kill('SIGKILL');
    await ended;
  };
  return {
    machine,
    pid: child.pid ?? 0,
    said: () => text,
    signal: (name) => void child.kill(name),
    kill,
    ended,
    async [Symbol.asyncDispose]() {
      await kill();
      await machine[Symbol.asyncDispose]();
    },
  };
}

/** An image's MicroVM before any job: `ready` and `validate` have said yes. */
export async function bootFakeMicrovm(options: FakeRunnerOptions = {}): Promise<FakeMicrovm> {
  const machine = await startMachine({ ...options, in: [hooksPort, ...(options.in ?? [])] });
  const env = {
    ...machineEnvironment,
    AWS_REGION: 'us-east-1',
    AWS_LAMBDA_MICROVM_IMAGE_NAME: 'slipway-runner',
    ...options.env,
  };
  const runner = runnerOn(machine, (options.start ?? startSource)(machine, env));
  try {
    await until(() => runner.said().includes(`"listening":${hooksPort}`), runner, 'listens');
    const hook = (name: string, body: unknown = {}, milliseconds?: number): Promise<number> =>
      post(
        machine.socket(hooksPort),
        name,
        body,
        milliseconds ?? (name === 'terminate' ? terminateMilliseconds : hookMilliseconds),
      );
    for (const name of ['ready', 'validate']) {
      for (let tries = 0; ; tries++) {
        // Lambda may ask twice.
        const [status] = await Promise.all([hook(name, {}, 60_000), hook(name, {}, 60_000)]);
        if (status === 200) break;
        if (status !== 503 || tries > 20) throw new Error(`the image never became ${name} (${status}): ${runner.said()}`);
        await new Promise((resolve) => setTimeout(resolve, 100));
      }
    }
    return { ...runner, hook };
  } catch (error) {
    await runner[Symbol.asyncDispose]();
    throw error;
  }
}

const microvmId = 'microvm-0123456789abcdef0';

/** RunMicrovm: the run hook gets the payload (16,384 bytes at most). */
export async function runFakeMicrovm(payload: string, options: FakeRunnerOptions = {}): Promise<FakeMicrovm> {
  if (Buffer.byteLength(payload) > 16_384) throw new Error('ValidationException: runHookPayload');
  const microvm = await bootFakeMicrovm(options);
  try {
    // Lambda may deliver a hook twice.
    for (const _ of [1, 2]) {
      const status = await microvm.hook('run', { microvmId, runHookPayload: payload }, 10_000);
      if (status !== 200) throw new Error(`the run hook answered ${status}: ${microvm.said()}`);
    }
    return microvm;
  } catch (error) {
    await microvm[Symbol.asyncDispose]();
    throw error;
  }
}

async function until(check: () => boolean, runner: FakeRunner, what: string): Promise<void> {
  let over = false;
  void runner.ended.then(() => {
    over = true;
  });
  for (let tries = 0; tries < 1200; tries++) {
    if (check()) return;
    if (over) break;
    await new Promise((resolve) => setTimeout(resolve, 25));
  }
  throw new Error(`the runner never ${what}: ${runner.said()}`);
}

function post(socketPath: string, name: string, body: unknown, milliseconds: number): Promise<number> {
  return new Promise((resolve, reject) => {
    const asked = request(
      { socketPath, path: `${hookPrefix}${name}`, method: 'POST', signal: AbortSignal.timeout(milliseconds) },
      (answer) => {
        answer.resume();
        answer.once('end', () => resolve(answer.statusCode ?? 0));
        answer.once('error', reject);
      },
    );
    asked.once('error', reject);
    asked.end(JSON.stringify(body));
  });
}
