// A machine of a cloud to run programs on: this one, with a network, a resolver and folders for data of its own, and a cloud around it that
// hands out credentials to whoever reaches it. Gone with the test. Needs root.
import { type ChildProcess, type SpawnOptions, spawn } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, rmdirSync, rmSync, writeFileSync } from 'node:fs';
import { connect, createServer, type Server } from 'node:net';
import { basename, join } from 'node:path';
import { errnoOf } from '../../shared/errors.ts';
import type { MachineSettings } from './machine-process.ts';
import { eventually, fastTemp } from './sandboxed.ts';

export interface Machine extends AsyncDisposable {
  /** Requests that reached a place which gives credentials away: `ADDRESS METHOD PATH`. */
  readonly hits: readonly string[];
  /** Starts a program on it. */
  spawn(command: string, args: readonly string[], options: SpawnOptions): ChildProcess;
  /** What a script of sh prints on it. */
  output(script: string): Promise<string>;
  /** The socket through which a port of the machine's loopback is reached, if it was named in `in`. */
  socket(port: number): string;
  /** Of its namespaces: `net` and `mnt`. */
  namespace(kind: 'net' | 'mnt'): string;
}

/** Ports of this process's loopback that machines can reach by default: a home's servers put theirs in. */
export const homePorts = new Set<number>();

export interface MachineOptions {
  /** Ports of this process's loopback that are also the machine's. `homePorts` when absent. */
  readonly out?: readonly number[];
  /** Ports of the machine's loopback that can be reached from here. */
  readonly in?: readonly number[];
  /** Size of its disk for data (/var/lib), as mount(8) has it. */
  readonly disk?: string;
  /** Bytes of memory for all that is started on it; see `memoryLimits`. */
  readonly memory?: number;
}

const memoryGroups = '/sys/fs/cgroup/memory';
/** Why memory cannot be limited here, or undefined. For `test.skipIf(...)`. */
export const whyNoMemoryLimit = (): string | undefined =>
  existsSync(join(memoryGroups, 'memory.limit_in_bytes')) ? undefined : 'needs the memory controller of control groups v1';

const program = join(import.meta.dirname, 'machine-process.ts');

export async function startMachine(options: MachineOptions = {}): Promise<Machine> {
  const folder = mkdtempSync(join(fastTemp(), 'slw-machine-'));
  const settings: MachineSettings = {
    folder,
    out: [...new Set(options.out ?? homePorts)],
    in: options.in ?? [],
    disk: options.disk ?? '2g',
  };
  const servers: Server[] = [];
  for (const port of settings.out) {
    const server = createServer((from) => {
      const to = connect({ host: '127.0.0.1', port });
      for (const [a, b] of [
        [from, to],
        [to, from],
      ] as const) {
        a.on('error', () => b.destroy());
        a.on('close', () => b.destroy());
        a.pipe(b);
      }
    });
    await new Promise<void>((resolve) => server.listen(join(folder, `out-${port}`), resolve));
    servers.push(server);
  }
  const child = spawn('unshare', ['--net', '--mount', '--', process.execPath, program, JSON.stringify(settings)], {
    stdio: ['pipe', 'pipe', 'pipe'],
    env: { PATH: `${process.env.PATH}:/usr/sbin:/sbin` },
  });
  const ended = new Promise<void>((resolve) => child.once('close', () => resolve()));
  const hits: string[] = [];
  const group = options.memory === undefined ? undefined : join(memoryGroups, basename(folder));
  if (group !== undefined) {
    mkdirSync(group);
    writeFileSync(join(group, 'memory.limit_in_bytes'), String(options.memory));
  }
  let errors = '';
  child.stderr.on('data', (chunk: Buffer) => {
    errors += chunk.toString();
  });
  const ready = new Promise<void>((resolve, reject) => {
    let rest = '';
    child.stdout.on('data', (chunk: Buffer) => {
      const lines = (rest + chunk.toString()).split('\n');
      rest = lines.pop() ?? '';
      for (const line of lines) {
        if (line === 'ready') resolve();
        if (line.startsWith('hit ')) hits.push(line.slice(4));
      }
    });
    child.once('exit', () => reject(new Error(`the machine does not start: ${errors}`)));
  });
  const dispose = async (): Promise<void> => {
    child.stdin.end();
    await ended;
    for (const server of servers) server.close();
    // The last process may be gone while its group still counts it.
    if (group !== undefined) await eventually(() => removed(group), `${group} is empty`);
    rmSync(folder, { recursive: true, force: true });
  };
  try {
    await ready;
  } catch (error) {
    await dispose();
    throw error;
  }
  const enter = ['nsenter', `--net=/proc/${child.pid}/ns/net`, `--mount=/proc/${child.pid}/ns/mnt`, '--wdns=/', '--'];
  const words = group === undefined ? enter : ['sh', '-c', `echo $$ >${group}/cgroup.procs && exec "$@"`, 'sh', ...enter];
  const start = (command: string, args: readonly string[], spawnOptions: SpawnOptions): ChildProcess => {
    const [file = '', ...before] = words;
    return spawn(file, [...before, command, ...args], spawnOptions);
  };
  return {
    hits,
    spawn: start,
    output: (script) =>
      new Promise((resolve) => {
        // Nothing of this process's environment: not its proxies either.
        const env = { PATH: `${process.env.PATH}:/usr/sbin:/sbin` };
        const shell = start('sh', ['-c', script], { stdio: ['ignore', 'pipe', 'pipe'], env });
        let text = '';
        shell.stdout?.on('data', (chunk: Buffer) => {
          text += chunk.toString();
        });
        shell.once('close', () => resolve(text));
      }),
    socket: (port) => join(folder, `in-${port}`),
    namespace: (kind) => `/proc/${child.pid}/ns/${kind}`,
    [Symbol.asyncDispose]: dispose,
  };
}

/** Whether the control group could be removed: not while anything is in it. */
function removed(group: string): boolean {
  try {
    rmdirSync(group);
    return true;
  } catch (error) {
    if (errnoOf(error) === 'EBUSY') return false;
    throw error;
  }
}
