// Starts serve-process.ts and Debian's docker-registry for end-to-end tests; both on loopback, both gone when disposed of.
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createInterface } from 'node:readline';

export interface RegistryProcess extends AsyncDisposable {
  /** `127.0.0.1:PORT` */
  readonly host: string;
  readonly pid: number;
  readonly faults: () => string;
  kill(signal: NodeJS.Signals): Promise<void>;
}

async function stop(child: ChildProcess, signal: NodeJS.Signals): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const gone = once(child, 'exit');
  child.kill(signal);
  await gone;
}

/** Our registry on a folder. */
export async function serveFolder(folder: string, port = 0): Promise<RegistryProcess> {
  await mkdir(folder, { recursive: true });
  const script = join(import.meta.dirname, 'serve-process.ts');
  const child = spawn(process.execPath, [script, folder, String(port)], { stdio: ['pipe', 'pipe', 'pipe'] });
  // It ends when this pipe does: a test run that is killed leaves nothing behind.
  child.stdin.on('error', () => undefined);
  let said = '';
  child.stderr.on('data', (chunk: Buffer) => {
    said += chunk.toString();
  });
  const lines = createInterface({ input: child.stdout });
  const [line] = (await Promise.race([once(lines, 'line'), once(child, 'exit').then(() => [''])])) as [string];
  if (!/^\d+$/.test(line)) throw new Error(`the registry did not start: ${said}`);
  return {
    host: `127.0.0.1:${line}`,
    pid: child.pid as number,
    faults: () => said,
    kill: (signal) => stop(child, signal),
    [Symbol.asyncDispose]: () => stop(child, 'SIGTERM'),
  };
}

/** Debian's docker-registry 2.8 with `auth` as in its configuration (YAML, two spaces deep), or none. */
export async function dockerRegistry(folder: string, auth = ''): Promise<RegistryProcess> {
  const config = join(folder, 'config.yml');
  await writeFile(
    config,
    `version: 0.1
log:
  level: info
storage:
  filesystem:
    rootdirectory: ${join(folder, 'data')}
  delete:
    enabled: true
http:
  addr: 127.0.0.1:0
${auth === '' ? '' : `auth:\n${auth}\n`}`,
  );
  const child = spawn('setpriv', ['--pdeathsig', 'TERM', '/usr/bin/docker-registry', 'serve', config], {
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  let said = '';
  const host = await new Promise<string>((resolve, reject) => {
    // Which port it took, it says itself: one that was found free before could be somebody else's by now.
    child.stderr.on('data', (chunk: Buffer) => {
      said += chunk.toString();
      const [, listening] = /listening on (127\.0\.0\.1:\d+)/.exec(said) ?? [];
      if (listening !== undefined) resolve(listening);
    });
    child.once('error', reject);
    child.once('exit', () => reject(new Error(`docker-registry did not start: ${said}`)));
  });
  return {
    host,
    pid: child.pid as number,
    faults: () => said,
    kill: (signal) => stop(child, signal),
    [Symbol.asyncDispose]: () => stop(child, 'SIGTERM'),
  };
}
