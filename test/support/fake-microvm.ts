// The data plane of Lambda MicroVMs and a CodeBuild project, as far as a runner sees them: the same program, started as a process of this
// machine with an environment of its own. A MicroVM is made ready, given its payload by the run hook, and terminated; hooks have seconds
// to answer. A CodeBuild build is one process with the job in its environment.
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import type { JobTicket } from '../../shared/workflow/job.ts';
import { hookPrefix } from '../../shared/workflow/run-hooks.ts';
import { fastTemp } from './sandboxed.ts';

const program = join(import.meta.dirname, '../../functions/runner/handler.ts');
/** What Lambda gives a hook by default. */
const hookMilliseconds = 1000;

export interface FakeRunner extends AsyncDisposable {
  readonly pid: number;
  /** What it wrote to stdout and stderr. */
  said(): string;
  /** As if the machine had gone. */
  kill(): Promise<void>;
  /** Resolves with the exit code. */
  readonly ended: Promise<number | null>;
}

export interface FakeMicrovm extends FakeRunner {
  /** Calls a hook; answers its status. Fails after `milliseconds`. */
  hook(name: string, body?: unknown, milliseconds?: number): Promise<number>;
}

const microvmId = 'microvm-0123456789abcdef0';

function start(env: Readonly<Record<string, string>>): FakeRunner & { readonly child: ChildProcess } {
  const root = mkdtempSync(join(fastTemp(), 'slipway-runner-'));
  const child = spawn(process.execPath, [program], {
    stdio: ['ignore', 'pipe', 'pipe'],
    // Nothing of this process's environment: a machine of AWS has none of it either.
    env: {
      PATH: process.env.PATH ?? '/usr/bin:/bin',
      SLIPWAY_RUNNER_ROOT: root,
      SLIPWAY_RUNNER_NETWORK: 'open',
      SLIPWAY_RUNNER_BEAT: '200',
      AWS_REGION: 'us-east-1',
      ...env,
    },
  });
  let text = '';
  const listen = (chunk: Buffer): void => {
    text += chunk.toString();
  };
  child.stdout.on('data', listen);
  child.stderr.on('data', listen);
  const ended = new Promise<number | null>((resolve) => child.once('close', (code) => resolve(code)));
  const kill = async (): Promise<void> => {
    child.kill('SIGKILL');
    await ended;
  };
  return {
    child,
    pid: child.pid ?? 0,
    said: () => text,
    kill,
    ended,
    async [Symbol.asyncDispose]() {
      await kill();
      rmSync(root, { recursive: true, force: true });
    },
  };
}

/** RunMicrovm: the image's snapshot is taken after `ready`, then the run hook gets the payload (16,384 bytes at most). */
export async function runFakeMicrovm(payload: string, env: Readonly<Record<string, string>> = {}): Promise<FakeMicrovm> {
  if (Buffer.byteLength(payload) > 16_384) throw new Error('ValidationException: runHookPayload');
  const runner = start({ SLIPWAY_RUNNER_PORT: '0', ...env });
  const port = await listening(runner);
  const hook = async (name: string, body: unknown = {}, milliseconds = hookMilliseconds): Promise<number> => {
    const answer = await fetch(`http://127.0.0.1:${port}${hookPrefix}${name}`, {
      method: 'POST',
      body: JSON.stringify(body),
      signal: AbortSignal.timeout(milliseconds),
    });
    await answer.body?.cancel();
    return answer.status;
  };
  for (let tries = 0; (await hook('ready', {}, 30_000)) === 503; tries++) {
    if (tries > 100) throw new Error(`the image never became ready: ${runner.said()}`);
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  // Lambda may deliver a hook twice.
  for (const _ of [1, 2]) {
    const status = await hook('run', { microvmId, runHookPayload: payload }, 10_000);
    if (status !== 200) throw new Error(`the run hook answered ${status}: ${runner.said()}`);
  }
  return { ...runner, hook };
}

async function listening(runner: FakeRunner): Promise<number> {
  for (let tries = 0; tries < 600; tries++) {
    const found = /"listening":(\d+)/.exec(runner.said());
    if (found !== null) return Number(found[1]);
    await new Promise((resolve) => setTimeout(resolve, 25));
  }
  throw new Error(`the runner does not listen: ${runner.said()}`);
}

/** StartBuild with the job as an environment variable. */
export const runFakeCodebuild = (ticket: JobTicket, env: Readonly<Record<string, string>> = {}): FakeRunner =>
  start({
    SLIPWAY_JOB: JSON.stringify(ticket),
    CODEBUILD_BUILD_ID: 'slipway:1',
    AWS_CONTAINER_CREDENTIALS_RELATIVE_URI: '/v2/credentials/canary',
    ...env,
  });
