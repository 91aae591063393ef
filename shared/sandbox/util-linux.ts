// The default sandbox: `unshare`, `mount` and `setpriv` of util-linux and a shell, nothing else. Everything is mounted in a mount
// namespace of the command's own, so nothing is ever mounted on the machine and nothing can stay behind.
import {
  accessSync,
  constants,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  realpathSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { release, tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { SlipwayError } from '../errors.ts';
import { defaultCapabilities, maskedPaths, readonlyPaths } from './docker-defaults.ts';
import { defaultHostname, isHostname, machineResolvConf, networkFiles } from './network-files.ts';
import { runScript } from './process.ts';
import type { RunOptions, RunResult, RunSpec, Sandbox, SandboxMount } from './sandbox.ts';
import { deviceNames, innerScript, launchWords, type MountWithFlags, outerScript } from './script.ts';
import { removeStubs } from './stubs.ts';

export interface UtilLinuxOptions {
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

export function utilLinuxSandbox(options: UtilLinuxOptions = {}): Sandbox {
  let machine: Machine | undefined;
  return {
    name: 'util-linux',
    async run(spec, runOptions = {}) {
      machine ??= inspect(options);
      return await run(machine, spec, runOptions);
    },
  };
}

interface Machine {
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
}

/** What does not change while the process lives; asked once. */
function inspect(options: UtilLinuxOptions): Machine {
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
    pidMax: kernelAtLeast(6, 14) ? 32_768 : undefined,
    volatile: kernelAtLeast(5, 10),
    resolvConf: machineResolvConf(),
  };
}

async function run(machine: Machine, spec: RunSpec, { signal, started }: RunOptions): Promise<RunResult> {
  check(spec);
  const run = mkdtempSync(join(machine.scratch, 'slipway-run-'));
  try {
    furnish(run, machine, spec);
    const inner = innerScript({
      run,
      source: source(run, machine, spec),
      rootless: machine.rootless,
      terminal: spec.stdio.kind === 'terminal',
      hostname: spec.hostname ?? defaultHostname,
      network: spec.network,
      cwd: spec.cwd,
      mounts: withSubmounts(spec.mounts ?? []),
      has: (path) => machine.has.has(path),
      isDirectory: (path) => machine.directories.has(path) || statSync(path).isDirectory(),
      pidMax: machine.pidMax,
    });
    const words = launchWords({
      args: spec.args,
      env: spec.env,
      cwd: spec.cwd,
      user: spec.user,
      tools: { env: machine.tools.env, setpriv: machine.tools.setpriv, launcher: join(run, launcherName) },
      dropped: machine.dropped,
    });
    const script = outerScript({
      unshare: machine.tools.unshare,
      network: spec.network,
      run,
      pipes: spec.stdio.kind === 'pipe' ? { stdin: spec.stdio.stdin !== undefined } : undefined,
      terminal: spec.stdio.kind === 'terminal' ? { script: machine.tool('script'), words: [inner, 'sh', ...words] } : undefined,
    });
    return await runScript({
      command: machine.tools.sh,
      args: ['-c', script, 'slipway', ...(spec.stdio.kind === 'pipe' ? [inner, ...words] : [])],
      // Nothing of this process's own environment reaches even the helpers.
      env: { PATH: machine.path, LC_ALL: 'C', LIBMOUNT_FORCE_MOUNT2: 'always' },
      run,
      stdio: spec.stdio,
      launcherName,
      command0: spec.args[0]!,
      signal,
      started,
    });
  } finally {
    removeStubs(join(run, 'made'), spec.root.kind === 'overlay' ? spec.root.upper : spec.root.path);
    if (spec.root.kind === 'overlay' && machine.volatile)
      rmSync(join(spec.root.work, 'work/incompat'), { recursive: true, force: true });
    rmSync(run, { recursive: true, force: true });
  }
}

/** What error messages of the last program of the chain begin with. */
const launcherName = 'slipway';

function check(spec: RunSpec): void {
  const bad = (what: string): never => {
    throw new SlipwayError('SANDBOX', what);
  };
  if (spec.args.length === 0) bad('no command to run');
  for (const word of [...spec.args, ...spec.env, spec.cwd])
    if (word.includes('\0')) bad('a NUL byte in the command or its environment');
  for (const pair of spec.env) if (pair.indexOf('=') < 1) bad(`not NAME=value: ${pair}`);
  if (!spec.cwd.startsWith('/')) bad(`the working directory is not absolute: ${spec.cwd}`);
  if (spec.hostname !== undefined && !isHostname(spec.hostname)) bad(`not a host name: ${spec.hostname}`);
  for (const [name, address] of spec.hosts ?? []) {
    if (!isHostname(name) || !/^[0-9A-Fa-f.:]+$/.test(address)) bad(`not a host and an address: ${name} ${address}`);
  }
  for (const mount of spec.mounts ?? []) {
    if (!mount.target.startsWith('/') || mount.target.includes('\0'))
      bad(`the target of a mount is not absolute: ${mount.target}`);
  }
}

/** The run's folder: the bottom layer with the mountpoints, what /dev begins with, the network's files. Small, and on memory. */
function furnish(run: string, machine: Machine, spec: RunSpec): void {
  const { resolvConf, hosts, hostname } = networkFiles(spec, machine);
  for (const dir of ['root', 'lower', 'dev', 'dev/pts', 'dev/shm', 'dev/mqueue', 'stubs', ...stubDirectories])
    mkdirSync(join(run, dir));
  for (const name of ['resolv.conf', 'hosts', 'hostname']) writeFileSync(join(run, 'stubs/etc', name), '');
  for (const [name, target] of deviceLinks) symlinkSync(target, join(run, 'dev', name));
  for (const name of deviceNames) writeFileSync(join(run, 'dev', name), '');
  writeFileSync(join(run, 'resolv.conf'), resolvConf);
  writeFileSync(join(run, 'hosts'), hosts);
  writeFileSync(join(run, 'hostname'), hostname);
  writeFileSync(join(run, 'fstab'), '');
  symlinkSync(machine.tools.unshare, join(run, launcherName));
}

const stubDirectories = ['stubs/proc', 'stubs/dev', 'stubs/sys', 'stubs/etc'];
const deviceLinks = [
  ['fd', '/proc/self/fd'],
  ['stdin', '/proc/self/fd/0'],
  ['stdout', '/proc/self/fd/1'],
  ['stderr', '/proc/self/fd/2'],
  ['ptmx', 'pts/ptmx'],
] as const;

/**
 * The overlay's option string is limited to a page, and `:` `,` and `\` mean something in it; so the layers go by short names: links in
 * the run's folder. Below them all lies one with nothing but the mountpoints, so that they need not be made in `upper`.
 */
function source(run: string, machine: Machine, spec: RunSpec) {
  if (spec.root.kind === 'tree') return spec.root;
  const { lowers, upper, work } = spec.root;
  const link = (name: string, path: string): string => {
    symlinkSync(path, join(run, 'lower', name));
    return name;
  };
  const names = lowers.map((path, index) => link(String(index), path)).reverse();
  const options = [
    `lowerdir=${[...names, link('s', join(run, 'stubs'))].join(':')}`,
    `upperdir=${link('u', upper)}`,
    `workdir=${link('w', work)}`,
    // Whatever the kernel's defaults: each of these would write into `upper` what only overlayfs understands.
    'index=off,metacopy=off',
    ...(machine.rootless ? ['userxattr'] : ['redirect_dir=off']),
    // What a failed machine would lose is made again: no fsync of the command reaches the disk.
    ...(machine.volatile ? ['volatile'] : []),
  ].join(',');
  if (options.length > 4095) {
    throw new SlipwayError('SANDBOX', `the image has ${lowers.length} layers, more than one overlay can name`, {
      hint: 'Squash it: build FROM scratch with one COPY --from of the whole image.',
    });
  }
  return { kind: 'overlay', from: join(run, 'lower'), options } as const;
}

/** What is mounted below a bound folder is bound with it, each by itself, so that each is `nodev` (and read-only) as asked. */
function withSubmounts(mounts: readonly SandboxMount[]): MountWithFlags[] {
  if (!mounts.some((mount) => mount.kind === 'bind')) return [...mounts];
  const mounted = mountTable();
  return mounts.flatMap((mount): MountWithFlags[] => {
    if (mount.kind !== 'bind') return [mount];
    const base = realpathSync(mount.source).replace(/\/+$/, '');
    const above = [...mounted.keys()].filter((path) => path === '/' || base === path || base.startsWith(`${path}/`));
    const flags = mounted.get(above.reduce((longest, path) => (path.length > longest.length ? path : longest), '/')) ?? [];
    const below = [...mounted]
      .filter(([path]) => path !== '/' && path.startsWith(`${base}/`))
      .sort(([a], [b]) => (a < b ? -1 : 1));
    return [
      { ...mount, source: base === '' ? '/' : base, flags },
      ...below.map(([path, flags]) => ({ ...mount, source: path, target: mount.target + path.slice(base.length), flags })),
    ];
  });
}

/** Mountpoints of this process, each with those of its options that a user namespace cannot take off (proc(5), mountinfo). */
function mountTable(): Map<string, readonly string[]> {
  const table = new Map<string, readonly string[]>();
  for (const line of readFileSync('/proc/self/mountinfo', 'utf8').split('\n')) {
    const [, , , , path, options] = line.split(' ');
    if (path === undefined || options === undefined) continue;
    const plain = path.replace(/\\([0-7]{3})/g, (_, octal: string) => String.fromCharCode(Number.parseInt(octal, 8)));
    table.set(
      plain,
      options.split(',').filter((option) => ['nosuid', 'noexec'].includes(option)),
    );
  }
  return table;
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

const unavailable = (message: string, hint: string): SlipwayError => new SlipwayError('SANDBOX_UNAVAILABLE', message, { hint });

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
