// The program on a machine that executes RUN: in a Lambda MicroVM a server of lifecycle hooks, in CodeBuild a single job named by an
// environment variable. It holds no AWS credentials and needs none.
import { execFileSync, spawn } from 'node:child_process';
import { existsSync, mkdirSync, statfsSync, writeFileSync } from 'node:fs';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { join } from 'node:path';
import { chooseSandbox } from '../../shared/sandbox/choose.ts';
import { watchExhaustion } from '../../shared/sandbox/exhaustion.ts';
import { inUserNamespace } from '../../shared/sandbox/machine.ts';
import { openRunNetwork } from '../../shared/sandbox/run-network.ts';
import { trySandbox } from '../../shared/sandbox/self-test.ts';
import { version } from '../../shared/version.ts';
import { milliVcpuOf, watchBurst } from '../../shared/workflow/burst.ts';
import type { JobTicket } from '../../shared/workflow/job.ts';
import { hookPrefix, RunHooks, ticketOf } from '../../shared/workflow/run-hooks.ts';
import { type JobEnd, runJob } from '../../shared/workflow/run-job.ts';

const { env } = process;
const maxPayload = 64 * 1024;
/** Milliseconds for which a machine whose job has ended waits to be terminated; then it ends itself. */
const linger = Number(env.SLIPWAY_RUNNER_LINGER ?? 60_000);
const hooksPort = Number(env.SLIPWAY_RUNNER_PORT ?? 9000);
/** MiB of a MicroVM's baseline; its image says. */
const baseline = Number(env.SLIPWAY_MICROVM_MEMORY ?? 0);
const job = env.SLIPWAY_JOB;
delete env.SLIPWAY_JOB;
/** Set in the process that the hooks' server has a job executed by; the ticket comes by its standard input. */
const isChild = env.SLIPWAY_RUNNER_CHILD === 'yes';

const overlayfs = 0x794c7630;
let folder: string | undefined;

/** Overlays need a filesystem that is none itself, which a container's own is: a volume then, or memory. */
function workFolder(): string {
  folder ??= env.SLIPWAY_RUNNER_ROOT ?? findFolder();
  return folder;
}

function findFolder(): string {
  const own = '/var/lib/slipway-runner';
  mkdirSync(own, { recursive: true, mode: 0o700 });
  // CodeBuild's privileged containers have a volume for docker.
  const volume = [own, '/var/lib/docker'].find((path) => existsSync(path) && statfsSync(path).type !== overlayfs);
  if (volume !== undefined) return join(volume, 'slipway-runner');
  execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=75%,mode=0700', 'tmpfs', own]);
  return own;
}

/** A network for commands, in which none of this machine's ports and no credentials are in reach, and a sandbox in it. */
async function openSandbox(signal?: AbortSignal) {
  const network = await openRunNetwork({
    ownPorts: job ? [] : [hooksPort],
    ...(signal === undefined ? {} : { signal }),
  });
  const sandbox = await chooseSandbox({ SLIPWAY_SANDBOX: env.SLIPWAY_SANDBOX }, { network: network.sandbox, expendable: true });
  return { sandbox, [Symbol.asyncDispose]: () => network[Symbol.asyncDispose]() };
}

async function execute(ticket: JobTicket, signal: AbortSignal): Promise<JobEnd> {
  const root = join(workFolder(), 'job');
  mkdirSync(root, { recursive: true, mode: 0o700 });
  // While the job is taken and its layers are fetched.
  const opened = openSandbox(signal);
  opened.catch(() => undefined);
  try {
    return await runJob(ticket, {
      root,
      sandbox: async () => watchExhaustion((await opened).sandbox, root),
      overlayXattrs: inUserNamespace() ? 'user' : 'trusted',
      version,
      clock: Date.now,
      signal,
      ...(baseline > 0 ? { watch: (meter) => watchBurst(meter, { mib: baseline, milliVcpu: milliVcpuOf(baseline) }) } : {}),
      ...(env.SLIPWAY_RUNNER_BEAT === undefined ? {} : { beat: Number(env.SLIPWAY_RUNNER_BEAT) }),
      ...(env.SLIPWAY_RUNNER_PATIENCE === undefined ? {} : { patience: Number(env.SLIPWAY_RUNNER_PATIENCE) }),
    });
  } finally {
    await opened.then(
      (open) => open[Symbol.asyncDispose](),
      () => undefined,
    );
  }
}

/** One line of JSON; nothing of a build's own output, which goes to its log. */
function say(line: Readonly<Record<string, unknown>>): void {
  process.stdout.write(`${JSON.stringify(line)}\n`);
}

const report = (end: JobEnd): void =>
  say({ job: end.state, ...(end.state === 'done' ? {} : { code: end.error.code, message: end.error.message }) });

let trying: Promise<boolean> | undefined;

/** Whether a job could be executed here. Hooks may be called twice, also at the same time. */
function ready(): Promise<boolean> {
  trying ??= tryJob().finally(() => {
    trying = undefined;
  });
  return trying;
}

/** By executing a command. Nothing of it is kept, least of all in a snapshot. */
async function tryJob(): Promise<boolean> {
  try {
    await using open = await openSandbox();
    await trySandbox(open.sandbox, workFolder());
    return true;
  } catch (error) {
    say({ ready: false, message: error instanceof Error ? error.message : String(error) });
    return false;
  }
}

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

const leave = (code: number): void => process.exit(code);

/**
 * A process of its own for the job. This one was in the snapshot, and so was the state of its random numbers, from which the keys of its
 * connections would come: each MicroVM of the image would have the same. The child dies with this one, and so do its commands.
 */
function inFreshProcess(ticket: JobTicket, signal: AbortSignal): Promise<void> {
  const child = spawn(process.execPath, [process.argv[1] ?? ''], {
    stdio: ['pipe', 'inherit', 'inherit'],
    env: { ...env, SLIPWAY_RUNNER_CHILD: 'yes' },
  });
  child.stdin.on('error', () => undefined);
  child.stdin.write(`${JSON.stringify(ticket)}\n`);
  const stop = (): void => void child.kill('SIGTERM');
  signal.addEventListener('abort', stop, { once: true });
  return new Promise((resolve) => {
    child.once('error', (error) => {
      say({ job: 'lost', message: error.message });
      resolve();
    });
    child.once('close', () => resolve());
  });
}

function child(): void {
  let text = '';
  process.stdin.setEncoding('utf8');
  process.stdin.on('data', (chunk) => {
    if (text.includes('\n')) return;
    text += chunk;
    if (text.includes('\n')) void once(text.trim());
  });
  process.stdin.once('end', () => leave(1));
}

async function once(text: string): Promise<void> {
  const stop = new AbortController();
  for (const signal of ['SIGTERM', 'SIGINT'] as const) process.once(signal, () => stop.abort());
  const ticket = ticketOf({ job: text });
  if (ticket === undefined) {
    say({ job: 'failed', message: 'what was given is no job' });
    return leave(2);
  }
  const end = await execute(ticket, stop.signal);
  report(end);
  // A job whose failure the home knows of is none of the machine's.
  leave(end.state === 'lost' ? 1 : 0);
}

function serve(): void {
  const hooks = new RunHooks({
    ready,
    run: inFreshProcess,
    ended: () => void setTimeout(leave, linger, 0),
    // The answer to the hook goes out first.
    stopped: () => void setTimeout(leave, 250, 0),
  });
  for (const signal of ['SIGTERM', 'SIGINT'] as const) process.once(signal, () => void hooks.stop().then(() => leave(0)));
  const server = createServer((request, response) => {
    answer(hooks, request, response).catch(() => response.destroy());
  });
  server.listen(hooksPort, '0.0.0.0', () => {
    const address = server.address();
    say({ listening: typeof address === 'object' && address !== null ? address.port : 0 });
  });
}

try {
  // When memory runs out, this program is the last to go: it is who tells. Not every machine lets it.
  writeFileSync('/proc/self/oom_score_adj', '-900');
} catch {
  say({ note: 'not protected from a lack of memory' });
}
if (isChild) child();
else if (job) void once(job);
else serve();
