// The place a benchmark runs in: one file system that holds every builder's store, the contexts and all temporary files; base images
// loaded and unpacked everywhere; and the ways back to that state.
import { mkdir, readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { debianImage, layerOf, writeArchive } from '../test/support/base-images.ts';
import type { Builder, BuilderName } from '../test/support/builder.ts';
import { attempt, installed, must } from '../test/support/command.ts';
import { buildahMissing, dockerMissing, openStore, startDocker, unmountAt } from '../test/support/peers.ts';
import { slipwayBuilder } from '../test/support/slipway.ts';
import { aptBase, base } from './contexts.ts';
import { type Filesystem, type FilesystemKind, makeFilesystem } from './filesystem.ts';

export interface LabOptions {
  readonly kind: FilesystemKind;
  readonly gigabytes: number;
  /** On the machine's disk. */
  readonly folder: string;
  readonly only?: readonly BuilderName[];
  /** What a RUN of docker gets; see startDocker. */
  readonly network: 'host' | 'bridge';
  /** Load the base that S6 needs. */
  readonly apt: boolean;
}

export interface Lab extends AsyncDisposable {
  readonly filesystem: Filesystem;
  /** For contexts and archives. */
  readonly work: string;
  readonly builders: readonly Builder[];
  /** Why a builder is not there. */
  readonly absent: ReadonlyMap<BuilderName, string>;
  /** Back to: bases loaded and unpacked, nothing built, nothing cached. */
  reset(builder: Builder): Promise<void>;
}

export async function openLab(options: LabOptions): Promise<Lab> {
  const closing: AsyncDisposable[] = [];
  const absent = new Map<BuilderName, string>();
  const close = async () => {
    for (const resource of closing.splice(0).reverse()) await resource[Symbol.asyncDispose]();
  };
  try {
    const filesystem = await makeFilesystem(options.kind, options.folder, options.gigabytes);
    closing.push(filesystem);
    const work = join(filesystem.path, 'work');
    await mkdir(work);
    const wanted = (name: BuilderName) => options.only === undefined || options.only.includes(name);
    const builders: Builder[] = [];
    const home = join(filesystem.path, 'slipway');
    const pristine = join(filesystem.path, 'slipway-pristine');
    if (wanted('slipway')) builders.push(slipwayBuilder(home));
    if (wanted('classic') || wanted('buildkit')) {
      const missing = await dockerMissing();
      if (missing === undefined) {
        const docker = await startDocker(join(options.folder, 'dk'), {
          dataRoot: join(filesystem.path, 'docker'),
          network: options.network,
        });
        closing.push(docker);
        for (const kind of ['classic', 'buildkit'] as const) if (wanted(kind)) builders.push(docker.builder(kind));
      } else for (const kind of ['classic', 'buildkit'] as const) absent.set(kind, missing);
    }
    for (const kind of ['buildah', 'podman'] as const) {
      if (!wanted(kind)) continue;
      const missing = (await buildahMissing()) ?? ((await installed(kind)) ? undefined : `${kind} is not installed`);
      if (missing === undefined) {
        const store = await openStore(join(filesystem.path, kind));
        closing.push(store);
        builders.push(store.builder(kind));
      } else absent.set(kind, missing);
    }
    const bases = [(await debianImage()).archive];
    if (options.apt) {
      const archive = join(work, 'debian-apt.tar');
      await makeAptBase(work, archive);
      bases.push(archive);
    }
    for (const builder of builders) for (const archive of bases) await mustSucceed(builder.name, await builder.load(archive));
    if (wanted('slipway')) {
      // The peers unpack an image when they load it, Slipway when a RUN first needs it: both count as "base present and unpacked".
      const context = join(work, 'unpack');
      await mkdir(context);
      for (const [index, image] of (options.apt ? [base, aptBase] : [base]).entries()) {
        const dockerfile = join(context, `Dockerfile.${index}`);
        await must(['sh', '-c', 'printf "FROM %s\\nRUN echo unpacked\\n" "$1" > "$2"', 'sh', image, dockerfile]);
        const builder = builders.find((one) => one.name === 'slipway')!;
        const built = await builder.build({ context, file: dockerfile, tag: `localhost/unpack-${index}:latest` });
        await mustSucceed('slipway', built);
      }
      await must(['cp', '-a', home, pristine]);
    }
    const keep = [base, aptBase];
    return {
      filesystem,
      work,
      builders,
      absent,
      reset: async (builder) => {
        if (builder.name === 'slipway') {
          await unmountAt(home);
          await rm(home, { recursive: true, force: true });
          await must(['cp', '-a', pristine, home]);
        } else await builder.clearCache(keep);
      },
      [Symbol.asyncDispose]: close,
    };
  } catch (error) {
    await close();
    throw error;
  }
}

async function mustSucceed(name: string, outcome: { exitCode: number; output: string }): Promise<void> {
  if (outcome.exitCode !== 0) throw new Error(`${name}: exit ${outcome.exitCode}\n${outcome.output}`);
}

/** The Debian base with this machine's package sources, keys, certificates and proxy settings, as a second layer that stays on this machine. */
async function makeAptBase(work: string, archive: string): Promise<void> {
  const root = join(work, 'apt-root');
  const names = [
    'apt/sources.list',
    'apt/sources.list.d',
    'apt/apt.conf.d',
    'apt/auth.conf.d',
    'apt/trusted.gpg.d',
    'apt/keyrings',
    'ssl/certs',
  ];
  await mkdir(join(root, 'etc/apt'), { recursive: true });
  await mkdir(join(root, 'etc/ssl'), { recursive: true });
  for (const name of names) await attempt(['cp', '-aL', join('/etc', name), join(root, 'etc', name)]);
  // Hooks of this machine's own packages would look for programs that are not in the base.
  const conf = join(root, 'etc/apt/apt.conf.d');
  for (const file of await readdir(conf).catch(() => [])) {
    const hook = await attempt(['grep', '-lE', 'Invoke|Pre-Install|Post-|Update::|methods', join(conf, file)]);
    if (hook.exitCode === 0) await rm(join(conf, file));
  }
  const proxies = ['http_proxy', 'https_proxy', 'no_proxy'].flatMap((name) =>
    process.env[name] ? [`${name}=${process.env[name]}`] : [],
  );
  const top = join(work, 'apt-layer.tar');
  await layerOf(root, top);
  const below = join(work, 'debian-layers');
  await mkdir(below);
  const image = await debianImage();
  await must(['tar', '-C', below, '-xf', image.archive]);
  const { stdout } = await must(['cat', join(below, 'manifest.json')]);
  const [{ Layers: layers }] = JSON.parse(stdout) as [{ Layers: string[] }];
  const config = { Env: ['PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin', ...proxies], Cmd: ['bash'] };
  await writeArchive({ reference: aptBase, layers: [...layers.map((layer) => join(below, layer)), top], config }, archive);
  await rm(below, { recursive: true });
  await rm(root, { recursive: true });
}
