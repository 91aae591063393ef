// The program on a machine that executes RUN: in a Lambda MicroVM a server of lifecycle hooks, in CodeBuild a single job named by an
// environment variable. It holds no AWS credentials and needs none.
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, statfsSync } from 'node:fs';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { join } from 'node:path';
import { chooseSandbox } from '../../shared/sandbox/choose.ts';
import { closeCredentialAddresses } from '../../shared/sandbox/credential-addresses.ts';
import { inUserNamespace } from '../../shared/sandbox/machine.ts';
import type { Sandbox } from '../../shared/sandbox/sandbox.ts';
import { version } from '../../shared/version.ts';
import type { JobTicket } from '../../shared/workflow/job.ts';
import { hookPrefix, RunHooks, ticketOf } from '../../shared/workflow/run-hooks.ts';
import { type JobEnd, runJob } from '../../shared/workflow/run-job.ts';

const { env } = process;
const maxPayload = 64 * 1024;

let opened: Promise<Sandbox> | undefined;

/** Once a process: the addresses are closed before there is a sandbox at all. `SLIPWAY_RUNNER_NETWORK=open` is for tests on a laptop. */
function sandbox(): Promise<Sandbox> {
  opened ??= (async () => {
    if (env.SLIPWAY_RUNNER_NETWORK !== 'open') await closeCredentialAddresses();
    return chooseSandbox({ SLIPWAY_SANDBOX: env.SLIPWAY_SANDBOX });
  })();
  return opened;
}

const overlayfs = 0x794c7630;

/** Overlays need a filesystem that is none itself, which a container's own is: a volume then, or memory. */
function workFolder(): string {
  if (env.SLIPWAY_RUNNER_ROOT) return env.SLIPWAY_RUNNER_ROOT;
  const own = '/var/lib/slipway-runner';
  mkdirSync(own, { recursive: true, mode: 0o700 });
  // CodeBuild's privileged containers have a volume for docker.
  const volume = [own, '/var/lib/docker'].find((path) => existsSync(path) && statfsSync(path).type !== overlayfs);
  if (volume !== undefined) return join(volume, 'slipway-runner');
  execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=75%,mode=0700', 'tmpfs', own]);
  return own;
}

async function execute(ticket: JobTicket, signal: AbortSignal): Promise<JobEnd> {
  const root = join(workFolder(), 'job');
  mkdirSync(root, { recursive: true, mode: 0o700 });
  return runJob(ticket, {
    root,
    sandbox,
    overlayXattrs: inUserNamespace() ? 'user' : 'trusted',
    version,
    clock: Date.now,
    signal,
    ...(env.SLIPWAY_RUNNER_BEAT === undefined ? {} : { beat: Number(env.SLIPWAY_RUNNER_BEAT) }),
  });
}

/** One line of JSON; nothing of a build's own output, which goes to its log. */
function say(line: Readonly<Record<string, unknown>>): void {
  process.stdout.write(`${JSON.stringify(line)}\n`);
}

const report = (end: JobEnd): void =>
  say({ job: end.state, ...(end.state === 'done' ? {} : { code: end.error.code, message: end.error.message }) });

async function answer(hooks: RunHooks, request: IncomingMessage, response: ServerResponse): Promise<void> {
  let text = '';
  for await (const chunk of request) {
    text += String(chunk);
    if (text.length > maxPayload) break;
  }
  const path = new URL(request.url ?? '/', 'http://runner').pathname;
  const known = request.method === 'POST' && path.startsWith(hookPrefix) && text.length <= maxPayload;
  let body: unknown = {};
  try {
    body = text === '' ? {} : JSON.parse(text);
  } catch {
    // Whatever it was, it was no job: `run` says so.
  }
  const { status, body: said } = known ? await hooks.handle(path.slice(hookPrefix.length), body) : { status: 404, body: {} };
  response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(said));
}

async function once(text: string): Promise<void> {
  const stop = new AbortController();
  for (const signal of ['SIGTERM', 'SIGINT'] as const) process.once(signal, () => stop.abort());
  const ticket = ticketOf({ job: text });
  if (ticket === undefined) {
    say({ job: 'failed', message: 'SLIPWAY_JOB is no job' });
    process.exitCode = 2;
    return;
  }
  const end = await execute(ticket, stop.signal);
  report(end);
  process.exitCode = end.state === 'lost' ? 1 : 0;
}

if (env.SLIPWAY_JOB) {
  const text = env.SLIPWAY_JOB;
  delete env.SLIPWAY_JOB;
  void once(text);
} else {
  const ready = (): Promise<boolean> =>
    sandbox().then(
      () => true,
      (error: unknown) => {
        say({ ready: false, message: String(error) });
        opened = undefined;
        return false;
      },
    );
  const hooks = new RunHooks({ ready, run: execute, ended: report });
  const server = createServer((request, response) => {
    answer(hooks, request, response).catch(() => response.destroy());
  });
  server.listen(Number(env.SLIPWAY_RUNNER_PORT ?? 9000), '0.0.0.0', () => {
    const address = server.address();
    say({ listening: typeof address === 'object' && address !== null ? address.port : 0 });
  });
}
