// AWS for tests, over a real wire: whatever AWS_ENDPOINT_URL names (LocalStack, say), or a MiniStack of our own out of .venv
// (test/setup.sh makes it). Nothing here speaks to a real account.
import { spawn } from 'node:child_process';
import { existsSync, readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { mkdtemp } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { errnoOf } from '../../shared/errors.ts';

const program = fileURLToPath(new URL('../../.venv/bin/ministack', import.meta.url));
/** First in its PATH: it runs functions with the `node` it finds there, which is to be ours. */
const bin = fileURLToPath(new URL('../../node_modules/.bin', import.meta.url));
const preferredPort = 4566;
/** Milliseconds to wait for it; it takes about one second. */
const patience = 30_000;

export interface Aws extends AsyncDisposable {
  readonly endpoint: string;
  stop(): Promise<void>;
}

/** Why there is no AWS to test against, or undefined. For `describe.skipIf(...)`; with CI set `startAws` throws instead. */
export function whyNoAws(): string | undefined {
  if (process.env.AWS_ENDPOINT_URL || existsSync(program) || process.env.CI) return undefined;
  return 'needs a local AWS: run test/setup.sh, or set AWS_ENDPOINT_URL';
}

/** What every SDK client needs to talk to it. S3 clients add `forcePathStyle: true`. */
export const clientOptions = (endpoint: string) => ({
  endpoint,
  region: 'us-east-1',
  credentials: { accessKeyId: 'test', secretAccessKey: 'test' },
});

/** Starts it, or takes the one that AWS_ENDPOINT_URL names. `env` goes to MiniStack only. */
export async function startAws(
  env: Readonly<Record<string, string>> = {},
  { port: wanted = 'usual' }: { readonly port?: 'usual' | 'any' } = {},
): Promise<Aws> {
  const given = process.env.AWS_ENDPOINT_URL;
  if (given) return { endpoint: given, stop: async () => undefined, [Symbol.asyncDispose]: async () => undefined };
  if (!existsSync(program)) throw new Error(`${program} is missing: run test/setup.sh`);
  for (let tries = 1; ; tries++) {
    const port = wanted === 'usual' && tries === 1 && (await isFree(preferredPort)) ? preferredPort : await freePort();
    const started = await startAt(port, env);
    if ('stop' in started) return started;
    // Somebody else was quicker to bind what was free a moment ago, another run of these tests for one.
    if (tries === 3) throw new Error(`MiniStack ended by itself; it said: ${started.said}`);
  }
}

async function startAt(port: number, env: Readonly<Record<string, string>>): Promise<Aws | { readonly said: string }> {
  const endpoint = `http://127.0.0.1:${port}`;
  // The shell ends it when our end of its stdin closes, which also happens when this process is killed. It would wait for executions that
  // wait for a task token, for hours.
  const script = `sh -c 'echo $$; TMPDIR="$1" exec "$0" </dev/null' "$0" "$1" & pid=$!; cat >/dev/null
kill $pid; { sleep 3; kill -9 $pid; } >/dev/null 2>&1 & wait $pid; kill $! 2>/dev/null; rm -rf "$1"`;
  // Where it unpacks functions.
  const folder = await mkdtemp(join(tmpdir(), 'slipway-aws-'));
  const child = spawn('sh', ['-c', script, program, folder], {
    stdio: ['pipe', 'pipe', 'pipe'],
    env: {
      ...process.env,
      PATH: `${bin}:${process.env.PATH}`,
      GATEWAY_PORT: String(port),
      BIND_HOST: '127.0.0.1',
      LOG_LEVEL: 'WARNING',
      ...env,
    },
  });
  let said = '';
  let pid: number | undefined;
  const listen = (chunk: Buffer): void => {
    said = (said + chunk.toString()).slice(-4000);
    pid ??= Number(/^(\d+)\n/.exec(said)?.[1]) || undefined;
  };
  child.stdout.on('data', listen);
  child.stderr.on('data', listen);
  const ended = new Promise<void>((resolve) => child.once('close', () => resolve()));
  const stop = async (): Promise<void> => {
    child.stdin.end();
    await ended;
  };
  for (const deadline = performance.now() + patience; ; ) {
    if (pid !== undefined && !isAlive(pid)) {
      await stop();
      return { said };
    }
    // Another one that has the port answers as well.
    if (pid !== undefined && (await isHealthy(endpoint)) && listensAt(pid, port))
      return { endpoint, stop, [Symbol.asyncDispose]: stop };
    if (performance.now() > deadline) {
      await stop();
      throw new Error(`MiniStack did not answer on ${endpoint}; it said: ${said}`);
    }
    await sleep(50);
  }
}

/** The shell takes the exit code of one that has ended, so that nothing is left of it. */
function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch (error) {
    if (errnoOf(error) === 'ESRCH') return false;
    throw error;
  }
}

/** Whether the process holds the socket that takes connections there; where there is no /proc, it is believed. */
function listensAt(pid: number, port: number): boolean {
  const table = '/proc/net/tcp';
  if (!existsSync(table)) return true;
  const address = `0100007F:${port.toString(16).toUpperCase().padStart(4, '0')}`;
  const inodes = readFileSync(table, 'utf8')
    .split('\n')
    .map((line) => line.trim().split(/\s+/))
    .filter(([, local, , state]) => local === address && state === '0A')
    .map((fields) => `socket:[${fields[9]}]`);
  const folder = `/proc/${pid}/fd`;
  return readdirSync(folder).some((name) => inodes.includes(linkOf(join(folder, name))));
}

function linkOf(path: string): string {
  try {
    return readlinkSync(path);
  } catch (error) {
    // Closed meanwhile.
    if (errnoOf(error) === 'ENOENT') return '';
    throw error;
  }
}

async function isHealthy(endpoint: string): Promise<boolean> {
  try {
    const answer = await fetch(`${endpoint}/_ministack/health`);
    await answer.body?.cancel();
    return answer.ok;
  } catch {
    // Nobody listens yet: the caller asks again until its patience ends.
    return false;
  }
}

function isFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once('error', () => resolve(false));
    server.listen(port, '127.0.0.1', () => server.close(() => resolve(true)));
  });
}

function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once('error', reject);
    server.listen(0, '127.0.0.1', () => {
      const address = server.address();
      server.close(() =>
        address !== null && typeof address === 'object' ? resolve(address.port) : reject(new Error('no port')),
      );
    });
  });
}
