// A machine of a cloud to run programs on: this one, with a network, a resolver and folders for data of its own, and a cloud around it that
// hands out credentials to whoever reaches it. Gone with the test. Needs root.
import { type ChildProcess, type SpawnOptions, spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { connect, createServer, type Server } from 'node:net';
import { join } from 'node:path';
import type { MachineSettings } from './machine-process.ts';
import { fastTemp } from './sandboxed.ts';

export interface Machine extends AsyncDisposable {
  /** Requests that reached a place which gives credentials away: `ADDRESS METHOD PATH`. */
  readonly hits: readonly string[];
  /** Starts a program on it. */
  spawn(command: string, args: readonly string[], options: SpawnOptions): ChildProcess;
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
}

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
    rmSync(folder, { recursive: true, force: true });
  };
  try {
    await ready;
  } catch (error) {
    await dispose();
    throw error;
  }
  return {
    hits,
    spawn(command, args, spawnOptions) {
      const enter = [`--net=/proc/${child.pid}/ns/net`, `--mount=/proc/${child.pid}/ns/mnt`, '--wdns=/', '--'];
      return spawn('nsenter', [...enter, command, ...args], spawnOptions);
    },
    socket: (port) => join(folder, `in-${port}`),
    namespace: (kind) => `/proc/${child.pid}/ns/${kind}`,
    [Symbol.asyncDispose]: dispose,
  };
}
