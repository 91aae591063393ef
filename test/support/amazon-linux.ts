// A stand-in for Amazon Linux, as far as the runner's Dockerfile and a MicroVM need it: a root with `dnf`, which installs the packages it
// knows from a folder and refuses every other name. What is in them are this machine's own programs with their libraries.
import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  realpathSync,
  symlinkSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { layerOf, writeArchive } from './base-images.ts';
import { busyboxRoot } from './roots.ts';
import { scratch } from './scratch.ts';

export const amazonLinuxReference = 'localhost/amazonlinux:fake';
/** The same with what CodeBuild's images have and runners need besides packages: curl and the C++ library. Busybox has unzip. */
export const codebuildReference = 'localhost/codebuild:fake';

/** Package: names in it, and where this machine has them. */
const packages: Readonly<Record<string, readonly string[]>> = {
  iproute: ['ip'],
  'iptables-legacy': ['iptables-legacy'],
  'util-linux': ['unshare', 'nsenter', 'setpriv', 'mount'],
  attr: ['getfattr', 'setfattr'],
  tar: ['tar'],
  gzip: ['gzip'],
  'curl-minimal': ['curl'],
};

const where = (name: string): string | undefined =>
  ['/usr/sbin', '/usr/bin', '/sbin', '/bin'].map((folder) => join(folder, name)).find((path) => existsSync(path));

/** Why the stand-in cannot be made here, or undefined. For `test.skipIf(...)`; with CI set, missing tools are failures instead. */
export function whyNoAmazonLinux(): string | undefined {
  if (process.getuid?.() !== 0) return 'needs root';
  const missing = [...Object.values(packages).flat(), 'bash', 'podman', 'runc', 'zip'].filter(
    (name) => where(name) === undefined,
  );
  return missing.length === 0 || process.env.CI ? undefined : `needs ${missing.join(', ')}`;
}

function copy(from: string, to: string): void {
  if (existsSync(to)) return;
  mkdirSync(dirname(to), { recursive: true });
  copyFileSync(realpathSync(from), to);
}

/** The libraries that a program loads at start. */
function installLibraries(program: string, root: string): void {
  const loaded = execFileSync('ldd', [program], { encoding: 'utf8' });
  for (const [, library = ''] of loaded.matchAll(/(\/\S+) \(0x/g)) copy(library, join(root, library));
}

/** A program under a name, with its libraries. */
function install(program: string, as: string, root: string): void {
  copy(program, join(root, as));
  installLibraries(program, root);
}

/** As sh has it; prints what it does, as the real one. In minimal images dnf is microdnf, which knows no False (its dnf-main.c). */
const dnf = `#!/bin/sh
case $1 in clean) exit 0 ;; install) shift ;; *) echo "dnf: $1 is not faked" >&2; exit 1 ;; esac
for name; do
  case $name in
    --setopt=install_weak_deps=[01]) ;;
    --setopt=*) echo "error: Invalid boolean value in: $name" >&2; exit 1 ;;
    -*) ;;
    *) [ -d "/repository/$name" ] || { echo "No match for argument: $name" >&2; exit 1; }
       cp -a "/repository/$name/." / && echo "Installed: $name" ;;
  esac
done
`;

/** Writes it as an archive to load. */
export async function amazonLinux(to: string, reference: string = amazonLinuxReference): Promise<void> {
  await using folder = await scratch('slw-amazon-');
  const root = join(folder.path, 'root');
  execFileSync('cp', ['-a', await busyboxRoot(), root]);
  chmodSync(root, 0o755);
  // Busybox has them too, lesser ones.
  for (const name of Object.values(packages).flat())
    for (const place of ['bin', 'usr/bin', 'sbin', 'usr/sbin'])
      if (readdirSync(join(root, place)).includes(name)) execFileSync('rm', [join(root, place, name)]);
  for (const [name, tools] of Object.entries(packages)) {
    for (const tool of tools) {
      const program = where(tool);
      if (program === undefined) throw new Error(`${tool} is not installed here`);
      install(program, join('usr', tool.startsWith('ip') ? 'sbin' : 'bin', tool), join(root, 'repository', name));
    }
  }
  installLibraries(process.execPath, join(root, 'repository/libstdc++'));
  // What iptables loads by name when it is asked for a match or a target.
  const extensions = '/usr/lib/x86_64-linux-gnu/xtables';
  if (existsSync(extensions)) {
    mkdirSync(join(root, 'repository/iptables-legacy', extensions), { recursive: true });
    execFileSync('sh', ['-c', `cp ${extensions}/lib*t_*.so "$1"`, 'sh', join(root, 'repository/iptables-legacy', extensions)]);
  }
  mkdirSync(join(root, 'usr/bin'), { recursive: true });
  writeFileSync(join(root, 'usr/bin/dnf'), dnf, { mode: 0o755 });
  // Its shell is bash; busybox's own runs busybox's programs, whatever is in PATH.
  install('/bin/bash', 'usr/bin/bash', root);
  unlinkSync(join(root, 'bin/sh'));
  symlinkSync('/usr/bin/bash', join(root, 'bin/sh'));
  if (!existsSync(join(root, 'run'))) mkdirSync(join(root, 'run'));
  if (!existsSync(join(root, 'var/run'))) symlinkSync('/run', join(root, 'var/run'));
  if (reference === codebuildReference) {
    install(where('curl') ?? 'curl', 'usr/bin/curl', root);
    installLibraries(process.execPath, root);
  }
  const layer = join(folder.path, 'layer.tar');
  await layerOf(root, layer);
  const config = { Env: ['PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin'], Cmd: ['sh'] };
  await writeArchive({ reference, layers: [layer], config }, to);
}
