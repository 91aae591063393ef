// The other builders, private to one test or benchmark: Debian's dockerd with its classic builder and its embedded BuildKit, and
// buildah and podman with stores of their own. Nothing here touches the machine's own daemons, images or configuration.
import { type ChildProcess, spawn } from 'node:child_process';
import { access, mkdir, open, readdir, readFile, rm, rmdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Builder, BuildOutcome, BuildRequest } from './builder.ts';
import { attempt, type CommandOptions, type CommandResult, must } from './command.ts';
import { janitor } from './janitor.ts';

const outcome = (result: CommandResult): BuildOutcome => ({
  exitCode: result.exitCode,
  output: result.stdout + result.stderr,
  milliseconds: result.milliseconds,
});

const count = (result: CommandResult): number | undefined => (result.exitCode === 0 ? Number(result.stdout.trim()) : undefined);

const exists = (path: string) =>
  access(path).then(
    () => true,
    () => false,
  );

/** Client configuration of its own, so that nobody's credentials or settings take part. */
async function clientConfig(folder: string): Promise<Record<string, string>> {
  const config = join(folder, 'client');
  await mkdir(config, { recursive: true });
  await writeFile(join(config, 'config.json'), '{}');
  return { DOCKER_CONFIG: config, REGISTRY_AUTH_FILE: join(config, 'config.json') };
}

/** Unmounts whatever is still mounted at a folder and below it, deepest first. */
export async function unmountAt(folder: string): Promise<void> {
  const mounts = (await readFile('/proc/self/mounts', 'utf8'))
    .split('\n')
    .map((line) => line.split(/\s+/)[1] ?? '')
    .map((path) => path.replace(/\\([0-7]{3})/g, (_, octal: string) => String.fromCharCode(Number.parseInt(octal, 8))))
    .filter((path) => path === folder || path.startsWith(`${folder}/`))
    .sort((a, b) => b.length - a.length);
  for (const path of mounts) await must(['umount', '-l', path]);
}

export interface DockerOptions {
  /** Where images live. Default `<folder>/data`. */
  readonly dataRoot?: string;
  readonly storageDriver?: 'overlay2' | 'vfs';
  /**
   * What a RUN gets. `host` (default): this machine's network. `bridge`: what docker gives by default, a bridge of its own; the daemon then
   * runs in a network namespace of its own, so that the machine's rules and links stay as they are, and neither RUN nor push reaches anything.
   */
  readonly network?: 'host' | 'bridge';
}

export interface Docker extends AsyncDisposable {
  /** `unix://...` */
  readonly host: string;
  readonly env: Readonly<Record<string, string>>;
  builder(kind: 'classic' | 'buildkit'): Builder;
  /** Runs Debian's docker client against this daemon. */
  run(args: readonly string[], options?: CommandOptions): Promise<CommandResult>;
}

/** Why docker cannot be used here, or undefined when it can. */
export async function dockerMissing(): Promise<string | undefined> {
  if (process.getuid?.() !== 0) return 'a private dockerd needs root';
  for (const program of ['/usr/sbin/dockerd', '/usr/bin/docker', '/usr/bin/containerd'])
    if (!(await exists(program))) return `${program} is not installed (Debian package docker.io)`;
  return undefined;
}

/** Why buildah cannot be used here, or undefined when it can. */
export async function buildahMissing(): Promise<string | undefined> {
  if (process.getuid?.() !== 0) return 'the comparison runs buildah as root';
  for (const program of ['/usr/bin/buildah', '/usr/bin/skopeo'])
    if (!(await exists(program))) return `${program} is not installed (Debian packages buildah, skopeo)`;
  return undefined;
}

function childrenOf(pid: number): Promise<number[]> {
  return readFile(`/proc/${pid}/task/${pid}/children`, 'utf8').then(
    (text) => text.trim().split(/\s+/).filter(Boolean).map(Number),
    () => [],
  );
}

/**
 * Starts a dockerd with its own containerd, data, socket and cgroup. `folder` must be short: a socket's path holds 107 bytes.
 * Disposing stops both daemons, unmounts what they left and removes the folder's contents.
 */
export async function startDocker(folder: string, options: DockerOptions = {}): Promise<Docker> {
  const socket = join(folder, 'd.sock');
  const data = options.dataRoot ?? join(folder, 'data');
  const bridge = options.network === 'bridge';
  const execRoot = join(folder, 'exec');
  const group = `slipway-${process.pid}-${process.hrtime.bigint().toString(36)}`;
  await mkdir(data, { recursive: true });
  await mkdir(execRoot, { recursive: true });
  const config = join(folder, 'daemon.json');
  await writeFile(config, '{}');
  const log = await open(join(folder, 'dockerd.log'), 'a');
  // setpriv ends the daemon when this process dies, so that a killed test run leaves nothing behind.
  const daemon: ChildProcess = spawn(
    'setpriv',
    [
      ...['--pdeathsig', 'TERM', ...(bridge ? ['unshare', '--net', 'sh', '-c', 'ip link set lo up && exec "$@"', 'sh'] : [])],
      ...['/usr/sbin/dockerd', '--config-file', config, '--data-root', data, '--exec-root', execRoot],
      ...['--pidfile', join(folder, 'd.pid'), '-H', `unix://${socket}`, '--storage-driver', options.storageDriver ?? 'overlay2'],
      ...(bridge ? [] : ['--bridge=none', '--iptables=false', '--ip6tables=false']),
      ...['--cgroup-parent', `/${group}`],
      ...['--log-level', 'warn'],
    ],
    { stdio: ['ignore', log.fd, log.fd] },
  );
  const clearing = janitor(folder, group);
  let ended: string | undefined;
  const closed = new Promise<void>((resolve) => {
    daemon.once('error', (error) => {
      ended = error.message;
      resolve();
    });
    daemon.once('exit', (code, signal) => {
      ended = `exit ${code ?? signal}`;
      resolve();
    });
  });
  const env = { ...(await clientConfig(folder)), DOCKER_HOST: `unix://${socket}` };
  const run = (args: readonly string[], more: CommandOptions = {}) =>
    attempt(['/usr/bin/docker', ...args], { ...more, env: { ...env, ...more.env } });

  const stop = async (): Promise<void> => {
    const children = daemon.pid === undefined ? [] : await childrenOf(daemon.pid);
    if (ended === undefined) {
      daemon.kill('SIGTERM');
      const late = await Promise.race([closed.then(() => false), sleep(20_000, true, { ref: false })]);
      if (late) daemon.kill('SIGKILL');
      await closed;
    }
    for (const pid of children) if (await exists(`/proc/${pid}`)) await sleep(500);
    await log.close();
    // The daemon makes its data root a mount of its own.
    await unmountAt(folder);
    if (options.dataRoot !== undefined) await unmountAt(options.dataRoot);
    await removeCgroups(group);
    await rm(folder, { recursive: true, force: true, maxRetries: 5, retryDelay: 200 });
    if (options.dataRoot !== undefined)
      await rm(options.dataRoot, { recursive: true, force: true, maxRetries: 5, retryDelay: 200 });
    clearing.release();
  };

  const deadline = performance.now() + 30_000;
  while ((await exists(socket)) === false || (await run(['version'])).exitCode !== 0) {
    if (ended !== undefined || performance.now() > deadline) {
      const said = (await readFile(join(folder, 'dockerd.log'), 'utf8')).split('\n').slice(-30).join('\n');
      await stop();
      throw new Error(`dockerd did not start (${ended ?? 'no answer in 30 s'}):\n${said}`);
    }
    await sleep(50);
  }
  const pids = daemon.pid === undefined ? [] : [daemon.pid, ...(await childrenOf(daemon.pid))];

  const builder = (kind: 'classic' | 'buildkit'): Builder => ({
    name: kind,
    load: async (archive, more) => outcome(await run(['load', '-q', '-i', archive], more)),
    build: async (request, more = {}) =>
      outcome(
        await run(
          [
            'build',
            ...(bridge ? [] : ['--network', 'host']),
            ...(kind === 'buildkit' ? ['--progress', 'plain'] : []),
            ...buildFlags(request),
            request.context,
          ],
          {
            ...more,
            env: { DOCKER_BUILDKIT: kind === 'buildkit' ? '1' : '0', ...more.env },
          },
        ),
      ),
    export: async (reference, to) => {
      await must([
        'skopeo',
        '--insecure-policy',
        'copy',
        '-q',
        '--src-daemon-host',
        env.DOCKER_HOST,
        `docker-daemon:${reference}`,
        `dir:${to}`,
      ]);
    },
    save: async (reference, archive, more) => outcome(await run(['save', '-o', archive, reference], more)),
    push: async (reference, to, more) => {
      const tagged = await run(['tag', reference, to]);
      return outcome(tagged.exitCode === 0 ? await run(['push', '-q', to], more) : tagged);
    },
    tag: async (reference, as) => void (await must(['/usr/bin/docker', 'tag', reference, as], { env })),
    layers: async (reference) => count(await run(['image', 'inspect', '-f', '{{len .RootFS.Layers}}', reference])),
    remove: async (reference) => void (await run(['rmi', '-f', reference])),
    clearCache: async (keep) => {
      // Of both builders, because they share layers: what one still holds, a load by the other would find. The classic builder's cache is
      // the images themselves, intermediate ones included.
      await run(['builder', 'prune', '-af']);
      await forgetImages(run, keep);
    },
    daemons: () => pids,
  });
  return { host: env.DOCKER_HOST, env, builder, run, [Symbol.asyncDispose]: stop };
}

async function forgetImages(run: (args: readonly string[]) => Promise<CommandResult>, keep: readonly string[]): Promise<void> {
  const listed = await run(['images', '--format', '{{.Repository}}:{{.Tag}}']);
  const names = listed.stdout.split('\n').filter((name) => name !== '' && !name.includes('<none>') && !keep.includes(name));
  if (names.length > 0) await run(['rmi', '-f', ...names]);
  await run(['image', 'prune', '-f']);
}

function buildFlags(request: BuildRequest): string[] {
  return [
    ...(request.file === undefined ? [] : ['-f', request.file]),
    ...Object.entries(request.args ?? {}).flatMap(([name, value]) => ['--build-arg', `${name}=${value}`]),
    ...(request.target === undefined ? [] : ['--target', request.target]),
    ...(request.noCache ? ['--no-cache'] : []),
    ...['-t', request.tag],
  ];
}

/** Removes the cgroups a daemon made, in every hierarchy of a v1, v2 or hybrid machine. */
async function removeCgroups(name: string): Promise<void> {
  const removeTree = async (path: string): Promise<void> => {
    if (!(await exists(path))) return;
    for (const entry of await readdir(path, { withFileTypes: true }))
      if (entry.isDirectory()) await removeTree(join(path, entry.name));
    // Busy for a moment with a process that is going.
    for (let round = 0; ; round++) {
      const failed = await rmdir(path).then(
        () => undefined,
        (error: NodeJS.ErrnoException) => error,
      );
      if (failed === undefined || failed.code === 'ENOENT') return;
      if (failed.code !== 'EBUSY' || round === 50) throw failed;
      await sleep(100);
    }
  };
  const top = '/sys/fs/cgroup';
  if (!(await exists(top))) return;
  await removeTree(join(top, name));
  for (const entry of await readdir(top, { withFileTypes: true }))
    if (entry.isDirectory()) await removeTree(join(top, entry.name, name));
}

export interface StoreOptions {
  readonly storageDriver?: 'overlay' | 'vfs';
}

export interface PrivateStore extends AsyncDisposable {
  builder(kind: 'buildah' | 'podman'): Builder;
}

/** buildah and podman with a store of their own below `folder`. RUN steps use chroot isolation, which works without cgroups. */
export async function openStore(folder: string, options: StoreOptions = {}): Promise<PrivateStore> {
  const driver = options.storageDriver ?? 'overlay';
  const root = join(folder, 'root');
  const runroot = join(folder, 'run');
  const tmp = join(folder, 'tmp');
  await mkdir(tmp, { recursive: true });
  const clearing = janitor(folder);
  // TMPDIR too: these tools stage whole layers there.
  const env = { ...(await clientConfig(folder)), TMPDIR: tmp };
  const flags = ['--root', root, '--runroot', runroot, '--storage-driver', driver];
  const stored = (reference: string) => `containers-storage:[${driver}@${root}+${runroot}]${reference}`;

  const builder = (kind: 'buildah' | 'podman'): Builder => {
    const run = (args: readonly string[], more: CommandOptions = {}) =>
      attempt([kind, ...flags, ...args], { ...more, env: { ...env, ...more.env } });
    return {
      name: kind,
      load: async (archive, more) => outcome(await run(['pull', '-q', `docker-archive:${archive}`], more)),
      build: async (request, more) =>
        outcome(
          await run(
            [
              ...(kind === 'buildah' ? ['bud'] : ['build']),
              // The docker format keeps HEALTHCHECK, ONBUILD and SHELL, which plain OCI has no place for.
              ...[
                '--isolation',
                'chroot',
                '--network',
                'host',
                ...(request.once ? [] : ['--layers']),
                '--format',
                'docker',
                '--identity-label=false',
                '--pull=never',
              ],
              // Docker's default capabilities, a few of which buildah leaves out.
              '--cap-add=CAP_MKNOD,CAP_AUDIT_WRITE,CAP_NET_RAW',
              ...(request.jobs === undefined ? [] : ['--jobs', String(request.jobs)]),
              ...buildFlags(request),
              request.context,
            ],
            more,
          ),
        ),
      export: async (reference, to) => {
        await must(['skopeo', '--insecure-policy', 'copy', '-q', stored(reference), `dir:${to}`], { env });
      },
      save: async (reference, archive, more) =>
        outcome(
          kind === 'buildah'
            ? await run(['push', '-q', reference, `docker-archive:${archive}:${reference}`], more)
            : await run(['save', '-q', '--format', 'docker-archive', '-o', archive, reference], more),
        ),
      push: async (reference, to, more) =>
        outcome(await run(['push', '-q', '--tls-verify=false', reference, `docker://${to}`], more)),
      tag: async (reference, as) => void (await must([kind, ...flags, 'tag', reference, as], { env })),
      layers: async (reference) =>
        count(
          await attempt(
            ['buildah', ...flags, 'inspect', '--type', 'image', '--format', '{{len .OCIv1.RootFS.DiffIDs}}', reference],
            { env },
          ),
        ),
      remove: async (reference) => void (await run(['rmi', '-f', reference])),
      clearCache: async (keep) => {
        // The cache is the images, intermediate ones included; one that others stand on goes only after them, hence several rounds.
        for (let round = 0; round < 20; round++) {
          const listed = await attempt(['buildah', ...flags, 'images', '-a', '--format', '{{.ID}} {{.Name}}:{{.Tag}}'], { env });
          const lines = listed.stdout.split('\n').filter((line) => line !== '');
          const kept = new Set(
            lines.filter((line) => keep.includes(line.split(/\s+/)[1] ?? '')).map((line) => line.split(/\s+/)[0]),
          );
          const ids = [...new Set(lines.map((line) => line.split(/\s+/)[0] ?? ''))].filter((id) => !kept.has(id));
          if (ids.length === 0) return;
          await run(['rmi', '-f', ...ids]);
        }
        throw new Error(`${kind}: images remain after 20 rounds of removing them`);
      },
      daemons: () => [],
    };
  };
  return {
    builder,
    [Symbol.asyncDispose]: async () => {
      await unmountAt(folder);
      await rm(folder, { recursive: true, force: true, maxRetries: 5, retryDelay: 200 });
      clearing.release();
    },
  };
}
