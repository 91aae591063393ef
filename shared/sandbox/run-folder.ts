// The folder of one run, on memory where there is some: what the root is put together from, and the few files shown in it.
import { chmodSync, existsSync, mkdirSync, readFileSync, realpathSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { SlipwayError } from '../errors.ts';
import type { Machine } from './machine.ts';
import { isHostname, networkFiles } from './network-files.ts';
import type { RunSpec, SandboxMount } from './sandbox.ts';
import { deviceNames, type MountWithFlags } from './script.ts';
import { removeStubs } from './stubs.ts';

/** SANDBOX when the spec is no spec at all; what it says goes into scripts and tables. */
export function checkSpec(spec: RunSpec): void {
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

/**
 * The run's folder: the bottom layer with the mountpoints, what /dev begins with, the network's files. Small, and on memory. All users of
 * the command may read it, whatever the umask here.
 */
export function furnish(run: string, machine: Machine, spec: RunSpec): void {
  const { resolvConf, hosts, hostname } = networkFiles(spec, machine);
  const file = (name: string, text = ''): void => {
    writeFileSync(join(run, name), text);
    chmodSync(join(run, name), 0o644);
  };
  for (const dir of ['root', 'lower', 'dev', 'dev/pts', 'dev/shm', 'dev/mqueue', 'stubs', ...stubDirectories]) {
    mkdirSync(join(run, dir));
    chmodSync(join(run, dir), 0o755);
  }
  for (const name of ['resolv.conf', 'hosts', 'hostname']) file(join('stubs/etc', name));
  for (const [name, target] of deviceLinks) symlinkSync(target, join(run, 'dev', name));
  for (const name of [...deviceNames, ...(spec.stdio.kind === 'terminal' ? ['console'] : [])]) file(join('dev', name));
  file('resolv.conf', resolvConf);
  file('hosts', hosts);
  file('hostname', hostname);
  file('fstab');
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
export function rootSource(run: string, machine: Machine, spec: RunSpec) {
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
export function withSubmounts(mounts: readonly SandboxMount[]): MountWithFlags[] {
  if (!mounts.some((mount) => mount.kind === 'bind')) return [...mounts];
  const mounted = mountTable();
  return mounts.flatMap((mount): MountWithFlags[] => {
    if (mount.kind !== 'bind') return [mount];
    if (!existsSync(mount.source)) throw new SlipwayError('SANDBOX', `cannot mount ${mount.source}: it does not exist`);
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

/** Where proc and sysfs are mounted on this machine, in the notation of mountinfo, which is that of mount tables; the innermost first. */
export function revealingMounts(): string[] {
  const paths = readFileSync('/proc/self/mountinfo', 'utf8')
    .split('\n')
    .flatMap((line) => {
      const [before = '', after = ''] = line.split(' - ');
      return /^(proc|sysfs) /.test(after) ? [before.split(' ')[4]!] : [];
    });
  return [...new Set(paths)].sort((a, b) => b.length - a.length);
}

/** After the run: nothing of it is left, in the folder or in the root. */
export function clearUp(run: string, machine: Machine, root: RunSpec['root']): void {
  removeStubs(join(run, 'made'), root.kind === 'overlay' ? root.upper : root.path);
  // A volatile overlay leaves a mark that keeps the next one from using the same folders.
  if (root.kind === 'overlay' && machine.volatile) rmSync(join(root.work, 'work/incompat'), { recursive: true, force: true });
  rmSync(run, { recursive: true, force: true });
}
