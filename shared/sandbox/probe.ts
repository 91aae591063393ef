// What this machine can do for commands of builds and containers, and what to install where it cannot: behind `slipway doctor`.
// It tries things instead of guessing, in one small folder and a mount namespace that goes away, and runs only when asked.
import { execFile } from 'node:child_process';
import { accessSync, constants, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { release } from 'node:os';
import { delimiter, dirname, join } from 'node:path';
import { rootlessProblems, thisMachine } from './rootless.ts';
import { quote } from './script.ts';

export interface Check {
  readonly name: string;
  /** `missing`: no RUN works without; `optional`: something lesser does not. */
  readonly state: 'ok' | 'missing' | 'optional';
  readonly detail: string;
  /** What to do about it. */
  readonly fix?: string;
}

export interface Probe {
  /** Builds with RUN and `slipway run` work. */
  readonly canRun: boolean;
  readonly checks: readonly Check[];
}

export interface ProbeOptions {
  readonly env: Readonly<Record<string, string | undefined>>;
  /** The home's folder, which need not exist: the nearest folder above it that does is tried. */
  readonly home: string;
}

/** Debian and Ubuntu, Fedora, Alpine. */
const packages: Readonly<Record<string, readonly [string, string, string]>> = {
  unshare: ['util-linux', 'util-linux', 'util-linux'],
  setpriv: ['util-linux', 'util-linux', 'setpriv'],
  mount: ['mount', 'util-linux-core', 'mount'],
  getfattr: ['attr', 'attr', 'attr'],
  setfattr: ['attr', 'attr', 'attr'],
  ip: ['iproute2', 'iproute', 'iproute2'],
  tar: ['tar', 'tar', 'tar'],
  hostname: ['hostname', 'hostname', 'busybox'],
  runc: ['runc', 'runc', 'runc'],
  crun: ['crun', 'crun', 'crun'],
};
const install = (...names: string[]): string => {
  const lists = [0, 1, 2].map((n) => [...new Set(names.map((name) => packages[name]?.[n] ?? 'coreutils'))].join(' '));
  return `Debian: apt-get install ${lists[0]}; Fedora: dnf install ${lists[1]}; Alpine: apk add ${lists[2]}`;
};

export async function probe({ env, home }: ProbeOptions): Promise<Probe> {
  if (process.platform !== 'linux') {
    const fix = 'Builds without RUN, and the registry, work; for RUN use Linux or a Linux virtual machine.';
    return {
      canRun: false,
      checks: [{ name: 'system', state: 'missing', detail: `${process.platform}: commands run only on Linux`, fix }],
    };
  }
  const root = process.getuid?.() === 0;
  const which = finder(env);
  const [overlay, runc, crun, utilLinux] = await Promise.all([
    tryOverlay(existing(home), root, which),
    runtime('runc', which),
    runtime('crun', which),
    version(which('unshare')),
  ]);
  const checks: Check[] = [
    { name: 'system', state: 'ok', detail: `Linux ${release()}, ${process.arch}` },
    ...identity(root, env),
    tools('namespaces', ['unshare', 'setpriv', 'mount'], utilLinux, which),
    tools(
      'shell and tools',
      ['sh', 'env', 'mkfifo', 'cp', 'mkdir', 'readlink', 'rm', 'tar', ...(root ? [] : ['hostname'])],
      'present',
      which,
    ),
    tools('extended attributes', ['getfattr', 'setfattr'], 'present', which),
    overlay,
    noNetwork(which),
    runc,
    crun,
  ];
  return { canRun: !checks.some((check) => check.state === 'missing'), checks };
}

type Which = (name: string) => string | undefined;

function finder(env: ProbeOptions['env']): Which {
  const folders = `${env.PATH ?? ''}${delimiter}/usr/sbin:/usr/bin:/sbin:/bin`
    .split(delimiter)
    .filter((folder) => folder.startsWith('/'));
  return (name) =>
    folders
      .map((folder) => join(folder, name))
      .find((path) => {
        try {
          accessSync(path, constants.X_OK);
          return true;
        } catch {
          // Not there and not allowed are the same here.
          return false;
        }
      });
}

function identity(root: boolean, env: ProbeOptions['env']): Check[] {
  if (root) return [{ name: 'user', state: 'ok', detail: 'root' }];
  const machine = thisMachine(env);
  const problems = rootlessProblems(machine);
  if (problems.length === 0) return [{ name: 'user', state: 'ok', detail: `${machine.user}, rootless with subordinate ids` }];
  return problems.map(({ what, fix }) => ({ name: 'user', state: 'missing', detail: what, fix }));
}

function tools(name: string, wanted: readonly string[], found: string, which: Which): Check {
  const missing = wanted.filter((tool) => !which(tool));
  if (missing.length === 0) return { name, state: 'ok', detail: found };
  return { name, state: 'missing', detail: `not installed: ${missing.join(', ')}`, fix: install(...missing) };
}

function noNetwork(which: Which): Check {
  const name = 'RUN --network=none';
  const tool = ['ip', 'ifconfig', 'busybox'].find((candidate) => which(candidate));
  if (tool) return { name, state: 'ok', detail: `with ${tool}` };
  return { name, state: 'optional', detail: 'no tool to bring the loopback up', fix: install('ip') };
}

/** Mounts one for real, as the sandbox will: on the home's filesystem, in namespaces that end with the try. */
async function tryOverlay(folder: string, root: boolean, which: Which): Promise<Check> {
  const name = 'overlay in the home';
  const unshare = which('unshare');
  if (!unshare) return { name, state: 'missing', detail: 'cannot be tried without unshare', fix: install('unshare') };
  let place: string;
  try {
    place = mkdtempSync(join(folder, '.slipway-doctor-'));
  } catch (error) {
    return {
      name,
      state: 'missing',
      detail: `${folder} cannot be written to: ${error}`,
      fix: 'Choose another folder with SLIPWAY_HOME.',
    };
  }
  try {
    for (const part of ['lower', 'upper', 'work', 'root']) mkdirSync(join(place, part));
    const options = `lowerdir=lower,upperdir=upper,workdir=work,${root ? 'index=off' : 'userxattr'}`;
    const script = `cd ${quote(place)} && mount -n -i -t overlay -o ${options} overlay root && : >root/file && test -f upper/file && rm -rf work/work`;
    const words = [...(root ? [] : ['--user', '--map-root-user']), '--mount', '--', 'sh', '-c', script];
    const { code, said } = await execute(unshare, words);
    if (code === 0) return { name, state: 'ok', detail: `${folder} (${filesystem(folder)})` };
    return {
      name,
      state: 'missing',
      detail: `${said.split('\n')[0] || `code ${code}`} (${filesystem(folder)})`,
      fix: 'Set SLIPWAY_HOME to a folder on ext4, xfs, btrfs or tmpfs; in a container, to a volume, and give it --privileged.',
    };
  } finally {
    rmSync(place, { recursive: true, force: true });
  }
}

async function runtime(name: 'runc' | 'crun', which: Which): Promise<Check> {
  const path = which(name);
  if (!path) return { name, state: 'optional', detail: 'not installed: only for SLIPWAY_SANDBOX', fix: install(name) };
  const detail = await version(path);
  // crun before 1.9 gives up where both control group hierarchies are mounted, whatever it is asked.
  if (name === 'crun' && hybridCgroups() && /\b1\.[0-8](\.|\b)/.test(detail)) {
    return {
      name,
      state: 'optional',
      detail: `${detail}: refuses this machine's hybrid control groups`,
      fix: 'Use runc, or boot with systemd.unified_cgroup_hierarchy=1.',
    };
  }
  return { name, state: 'ok', detail: `${detail}, if SLIPWAY_SANDBOX=${name}` };
}

/** Control groups of both kinds mounted: what systemd calls hybrid. */
export function hybridCgroups(mounts = readFileSync('/proc/self/mountinfo', 'utf8')): boolean {
  return / - cgroup /.test(mounts) && / - cgroup2 /.test(mounts);
}

async function version(path: string | undefined): Promise<string> {
  if (!path) return 'not installed';
  const { said } = await execute(path, ['--version']);
  return said.split('\n')[0] ?? '';
}

function execute(path: string, args: readonly string[]): Promise<{ code: number; said: string }> {
  return new Promise((resolve) => {
    execFile(
      path,
      args,
      { timeout: 5000, env: { PATH: '/usr/sbin:/usr/bin:/sbin:/bin', LC_ALL: 'C' } },
      (error, stdout, stderr) => {
        resolve({
          code: error ? (typeof error.code === 'number' ? error.code : 1) : 0,
          said: (stdout + stderr).trim() || (error?.message ?? ''),
        });
      },
    );
  });
}

function existing(path: string): string {
  let folder = path;
  while (!existsSync(folder) && dirname(folder) !== folder) folder = dirname(folder);
  return folder;
}

/** Type of the filesystem a folder is on, from the mount it is under. */
function filesystem(folder: string): string {
  let best = { path: '', type: 'unknown filesystem' };
  for (const line of readFileSync('/proc/self/mountinfo', 'utf8').split('\n')) {
    const [before, after] = line.split(' - ');
    const path = before?.split(' ')[4];
    const type = after?.split(' ')[0];
    if (path === undefined || type === undefined) continue;
    if ((path === '/' || folder === path || folder.startsWith(`${path}/`)) && path.length >= best.path.length)
      best = { path, type };
  }
  return best.type;
}
