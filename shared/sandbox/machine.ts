// What the sandbox drivers know about this machine: asked once, because it does not change while the process lives.
import { accessSync, constants, existsSync, readFileSync, statSync } from 'node:fs';
import { release, tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { SlipwayError } from '../errors.ts';
import { defaultCapabilities, maskedPaths, readonlyPaths } from './docker-defaults.ts';
import { machineResolvConf } from './network-files.ts';

/** A network that commands are put into. */
export interface SandboxNetwork {
  /** Of the namespace (nsfs), as seen from this process's children. */
  readonly path: string;
  /** What a command finds in /etc/resolv.conf. */
  readonly resolvConf: string;
}

export interface SandboxOptions {
  /** What `network: 'host'` means. Default: this process's own network. */
  readonly network?: SandboxNetwork;
  /** When memory runs out, the kernel ends what belongs to a command before anything else. */
  readonly expendable?: boolean;
  /**
   * For a few small files per run; a memory filesystem is best. Must be a path without blanks.
   * Default: /dev/shm where it can be written, else the system's folder for temporary files.
   */
  readonly scratch?: string;
  /** In a user namespace: no device nodes, `userxattr` overlays. Default: whether this process's uid 0 is another one outside. */
  readonly rootless?: boolean;
  /** Where the tools are looked for. Default: PATH, then the usual folders of administrators' tools. */
  readonly path?: string;
}

export interface Machine {
  readonly scratch: string;
  readonly rootless: boolean;
  readonly path: string;
  readonly tools: Readonly<Record<'sh' | 'env' | 'setpriv' | 'unshare', string>>;
  /** Absolute path of another one; SANDBOX_UNAVAILABLE when it is not installed. */
  readonly tool: (name: string) => string;
  readonly dropped: readonly number[];
  readonly has: ReadonlySet<string>;
  readonly directories: ReadonlySet<string>;
  readonly pidMax: number | undefined;
  readonly volatile: boolean;
  readonly resolvConf: string;
  readonly expendable: boolean;
  /** The words that enter the network of commands, before what is to run in it; none for this process's own. */
  readonly enterNetwork: readonly string[];
  readonly networkPath: string | undefined;
}

/** What does not change while the process lives; asked once. */
export function inspectMachine(options: SandboxOptions): Machine {
  if (process.platform !== 'linux')
    throw unavailable('commands run only on Linux', 'Run Slipway on Linux, or in a Linux virtual machine.');
  if (process.getuid?.() !== 0) {
    throw unavailable(
      'not root and not in a user namespace',
      '`slipway doctor` says what is missing to run commands as an ordinary user.',
    );
  }
  const path = options.path ?? `${process.env.PATH ?? ''}${delimiter}/usr/sbin:/usr/bin:/sbin:/bin`;
  const tool = (name: string): string => {
    for (const folder of path.split(delimiter)) {
      // A relative folder in PATH means another program in every directory: not for what runs as root.
      if (folder.startsWith('/') && isExecutable(join(folder, name))) return join(folder, name);
    }
    throw unavailable(
      `${name} is not installed`,
      'Install util-linux (and coreutils); `slipway doctor` shows all that is needed.',
    );
  };
  const shown = [...maskedPaths, ...readonlyPaths].filter((path) => existsSync(path));
  const kept = new Set<number>(Object.values(defaultCapabilities));
  const last = Number(readFileSync('/proc/sys/kernel/cap_last_cap', 'utf8'));
  const scratch = options.scratch ?? (isWritable('/dev/shm') ? '/dev/shm' : tmpdir());
  if (/[\s\\#]/.test(scratch))
    throw unavailable(`blanks in the path of the scratch folder ${scratch}`, 'Set TMPDIR to a plain path.');
  return {
    scratch,
    rootless: options.rootless ?? inUserNamespace(),
    path: path
      .split(delimiter)
      .filter((folder) => folder.startsWith('/'))
      .join(delimiter),
    tool,
    tools: { sh: tool('sh'), env: tool('env'), setpriv: tool('setpriv'), unshare: tool('unshare') },
    dropped: Array.from({ length: last + 1 }, (_, n) => n).filter((n) => !kept.has(n)),
    has: new Set(shown),
    directories: new Set(shown.filter((path) => statSync(path).isDirectory())),
    // Since 6.14 each pid namespace has its own; before, writing it would change the machine's.
    pidMax: kernelAtLeast(6, 14) ? 30_000 : undefined,
    volatile: kernelAtLeast(5, 10),
    resolvConf: options.network?.resolvConf ?? machineResolvConf(),
    expendable: options.expendable ?? false,
    networkPath: options.network?.path,
    enterNetwork: options.network === undefined ? [] : [tool('nsenter'), `--net=${options.network.path}`, '--'],
  };
}

/** Whether uid 0 here is another user outside: a namespace that maps less than everything. */
export function inUserNamespace(): boolean {
  const map = readFileSync('/proc/self/uid_map', 'utf8').trim().split(/\s+/);
  return !(map[0] === '0' && map[1] === '0' && map[2] === '4294967295');
}

export function kernelAtLeast(major: number, minor: number, version = release()): boolean {
  const [a = 0, b = 0] = version.split('.').map((part) => Number.parseInt(part, 10));
  return a > major || (a === major && b >= minor);
}

export const unavailable = (message: string, hint: string): SlipwayError =>
  new SlipwayError('SANDBOX_UNAVAILABLE', message, { hint });

function isExecutable(path: string): boolean {
  return can(path, constants.X_OK);
}

function isWritable(path: string): boolean {
  return can(path, constants.W_OK | constants.X_OK);
}

function can(path: string, mode: number): boolean {
  try {
    accessSync(path, mode);
    return true;
  } catch {
    // Any reason not to be allowed is the answer.
    return false;
  }
}
