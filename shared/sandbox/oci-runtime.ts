// The sandbox by an OCI runtime, runc or crun, where chosen: slower to start, with system call filters and a device control group. The root
// is put together as by util-linux.ts, in a mount namespace of its own around the runtime, and the same watchdog ends it.
import { execFile } from 'node:child_process';
import { existsSync, mkdtempSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { errnoOf, SlipwayError } from '../errors.ts';
import { defaultCapabilities, maskedPaths, readonlyPaths, shmBytes } from './docker-defaults.ts';
import { inspectMachine, type Machine, type SandboxOptions, unavailable } from './machine.ts';
import { defaultHostname } from './network-files.ts';
import { hybridCgroups } from './probe.ts';
import { runScript, type StartFailure } from './process.ts';
import { checkSpec, clearUp, furnish, rootSource, withSubmounts } from './run-folder.ts';
import type { RunOptions, RunResult, RunSpec, Sandbox } from './sandbox.ts';
import { type MountWithFlags, outerScript, quote } from './script.ts';
import { seccompProfile } from './seccomp.ts';

export function ociSandbox(runtime: 'runc' | 'crun', options: SandboxOptions = {}): Sandbox {
  let machine: Machine | undefined;
  let path: string | undefined;
  return {
    name: runtime,
    async run(spec, runOptions = {}) {
      machine ??= inspectMachine(options);
      path ??= await find(runtime, machine);
      return await run(machine, path, spec, runOptions);
    },
  };
}

async function find(runtime: 'runc' | 'crun', machine: Machine): Promise<string> {
  const path = machine.tool(runtime);
  if (runtime === 'crun' && hybridCgroups() && /crun version 1\.[0-8](\.|\s|$)/.test(await say(path, ['--version']))) {
    throw unavailable(
      "crun before 1.9 refuses this machine's hybrid control groups",
      'Use SLIPWAY_SANDBOX=runc, or the default.',
    );
  }
  return path;
}

const containerId = 'slipway';

async function run(machine: Machine, runtime: string, spec: RunSpec, { signal, started }: RunOptions): Promise<RunResult> {
  checkSpec(spec);
  const run = mkdtempSync(join(machine.scratch, 'slipway-run-'));
  const isRunc = runtime.endsWith('runc');
  // With its log elsewhere, runc says its last words plainly.
  const state = ['--root', join(run, 'state'), ...(isRunc ? ['--log', join(run, 'log')] : [])];
  try {
    furnish(run, machine, spec);
    const mounts = withSubmounts(spec.mounts ?? []);
    // Runtimes name the container in the machine's control groups, so each needs a name of its own.
    const id = `${containerId}-${run.slice(-6)}`;
    writeFileSync(join(run, 'config.json'), JSON.stringify(runtimeConfig(run, machine, spec, mounts)));
    const script = outerScript({
      become: [machine.tools.unshare, '--mount', '--propagation', 'private', '--', 'sh', '-c'],
      run,
      pipes: spec.stdio.kind === 'pipe' ? { stdin: spec.stdio.stdin !== undefined } : undefined,
      terminal: undefined,
      expendable: machine.expendable,
    });
    try {
      return await runScript({
        command: machine.tools.sh,
        args: ['-c', script, 'slipway', mountScript(run, machine, spec), runtime, ...state, 'run', '--bundle', run, id],
        env: { PATH: machine.path, LC_ALL: 'C', LIBMOUNT_FORCE_MOUNT2: 'always' },
        run,
        stdio: spec.stdio,
        startFailure: { prefix: isRunc ? 'runc run failed: ' : 'crun: ', read: readFailure },
        signal,
        started,
      });
    } finally {
      // Gone already when it ended by itself; after a kill its control group may be left.
      if (existsSync(join(run, 'state', id))) await say(runtime, [...state, 'delete', '--force', id]);
    }
  } finally {
    clearUp(run, machine, spec.root);
  }
}

/** Only the root is mounted here; the rest is the runtime's. */
function mountScript(run: string, machine: Machine, spec: RunSpec): string {
  const source = rootSource(run, machine, spec);
  const mount =
    source.kind === 'overlay'
      ? `cd ${quote(source.from)}\nmount -n -i -t overlay -o ${quote(`nodev,${source.options}`)} overlay ${quote(`${run}/root`)}`
      : `mount -n -i --bind -o nodev -- ${quote(source.path)} ${quote(`${run}/root`)}`;
  return `set -eu\numask 022\n${mount}\necho root >&4\ncd /\necho ready >&4\nexec 2>&5 5>&- 4>&-\nexec "$@"\n`;
}

/** runtime-spec config.md. */
export function runtimeConfig(run: string, machine: Machine, spec: RunSpec, mounts: readonly MountWithFlags[]) {
  const capabilities = Object.keys(defaultCapabilities);
  const terminal = spec.stdio.kind === 'terminal';
  const bind = (name: string) => ({
    destination: `/etc/${name}`,
    type: 'bind',
    source: join(run, name),
    options: ['bind', 'rw'],
  });
  return {
    ociVersion: '1.0.2',
    process: {
      terminal,
      user: { uid: spec.user.uid, gid: spec.user.gid, additionalGids: spec.user.groups, umask: 0o022 },
      args: spec.args,
      env: spec.env,
      cwd: spec.cwd,
      capabilities:
        spec.user.uid === 0
          ? { bounding: capabilities, effective: capabilities, permitted: capabilities }
          : { bounding: capabilities },
      noNewPrivileges: false,
    },
    root: { path: join(run, 'root'), readonly: false },
    hostname: spec.hostname ?? defaultHostname,
    mounts: [
      { destination: '/proc', type: 'proc', source: 'proc', options: ['nosuid', 'noexec', 'nodev'] },
      { destination: '/dev', type: 'tmpfs', source: 'tmpfs', options: ['nosuid', 'strictatime', 'mode=755', `size=${shmBytes}`] },
      {
        destination: '/dev/pts',
        type: 'devpts',
        source: 'devpts',
        options: ['nosuid', 'noexec', 'newinstance', 'ptmxmode=0666', 'mode=0620', ...(machine.rootless ? [] : ['gid=5'])],
      },
      {
        destination: '/dev/shm',
        type: 'tmpfs',
        source: 'shm',
        options: ['nosuid', 'noexec', 'nodev', 'mode=1777', `size=${shmBytes}`],
      },
      { destination: '/dev/mqueue', type: 'mqueue', source: 'mqueue', options: ['nosuid', 'noexec', 'nodev'] },
      machine.rootless
        ? { destination: '/sys', type: 'none', source: '/sys', options: ['rbind', 'nosuid', 'noexec', 'nodev', 'ro'] }
        : { destination: '/sys', type: 'sysfs', source: 'sysfs', options: ['nosuid', 'noexec', 'nodev', 'ro'] },
      ...['resolv.conf', 'hosts', 'hostname'].map(bind),
      ...mounts.map(runtimeMount),
    ],
    linux: {
      namespaces: [
        ...['pid', 'ipc', 'uts', 'mount'].map((type) => ({ type })),
        ...(spec.network === 'none' ? [{ type: 'network' }] : []),
        ...(spec.network === 'host' && machine.networkPath !== undefined ? [{ type: 'network', path: machine.networkPath }] : []),
      ],
      ...(!machine.rootless && { resources: { devices: [{ allow: false, access: 'rwm' }] } }),
      seccomp: seccompProfile,
      maskedPaths,
      readonlyPaths,
    },
  };
}

function runtimeMount(mount: MountWithFlags) {
  if (mount.kind === 'tmpfs') {
    const size = mount.size === undefined ? [] : [`size=${mount.size}`];
    const options = ['nosuid', 'nodev', `mode=${(mount.mode ?? 0o1777).toString(8)}`, ...size];
    return { destination: mount.target, type: 'tmpfs', source: 'tmpfs', options };
  }
  const type = statSync(mount.source).isDirectory() ? 'bind' : 'none';
  const options = ['bind', 'nodev', mount.readonly ? 'ro' : 'rw', ...(mount.flags ?? [])];
  return { destination: mount.target, type, source: mount.source, options };
}

/** The runtime's own last words, in place of the command's. Others than these are a failure of the machine. */
function readFailure(text: string): StartFailure {
  const cause = /(?:unable to start container process: |crun: )(exec: [^\n]*|executable [^\n]*|open executable[^\n]*)/.exec(
    text,
  )?.[1];
  if (cause === undefined) throw new SlipwayError('SANDBOX', `the container runtime failed: ${text.trim()}`);
  return { code: /not found|no such file/i.test(cause) ? 127 : 126, message: cause };
}

/** What a tool prints, whatever its exit code. */
function say(path: string, args: readonly string[]): Promise<string> {
  return new Promise((resolve, reject) => {
    execFile(path, args, (error, stdout, stderr) => {
      if (error && errnoOf(error) !== undefined)
        reject(new SlipwayError('SANDBOX', `cannot start ${path}: ${error.message}`, { cause: error }));
      else resolve(stdout + stderr);
    });
  });
}
