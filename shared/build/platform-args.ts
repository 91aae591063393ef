// Platform words (`linux/arm64/v8`) and the ARGs that tell a Dockerfile what it is built for and on.
import type { Platform } from '../oci/platform.ts';

const architectures: Readonly<Record<string, readonly [architecture: string, variant?: string]>> = {
  x86_64: ['amd64'],
  'x86-64': ['amd64'],
  aarch64: ['arm64'],
  armhf: ['arm', 'v7'],
  armel: ['arm', 'v6'],
  i386: ['386'],
};
const known = /^(?:386|amd64|arm|arm64|loong64|mips|mipsle|mips64|mips64le|ppc64|ppc64le|riscv64|s390x|wasm)$/;
const systems = /^(?:linux|windows|darwin|freebsd|netbsd|openbsd|wasip1)$/;

/** `os`, `arch`, `os/arch` or `os/arch/variant`, as containerd reads it; missing parts come from `fallback`. Undefined when it is none. */
export function parsePlatform(text: string, fallback: Platform): Platform | undefined {
  const parts = text.toLowerCase().split('/');
  if (parts.length > 3 || parts.some((part) => !/^[a-z0-9_.-]+$/.test(part))) return undefined;
  const [first = '', second, third] = parts;
  if (second === undefined) {
    if (systems.test(first)) return { ...fallback, os: first };
    const [architecture, variant] = (Object.hasOwn(architectures, first) ? architectures[first] : undefined) ?? [first];
    return known.test(architecture) ? { os: fallback.os, architecture, ...(variant && { variant }) } : undefined;
  }
  const [architecture, implied] = (Object.hasOwn(architectures, second) ? architectures[second] : undefined) ?? [second];
  const variant = third ?? implied;
  return { os: first, architecture, ...(variant && { variant }) };
}

/** The variant with the default one taken away: arm64/v8 is arm64, arm is arm/v7, amd64/v1 is amd64. */
function variantOf({ architecture, variant }: Platform): string {
  const plain = (variant ?? '').replace(/^(\d)/, 'v$1');
  if (architecture === 'arm64') return plain === 'v8' ? '' : plain;
  if (architecture === 'amd64') return plain === 'v1' ? '' : plain;
  if (architecture === 'arm') return plain === '' ? 'v7' : plain;
  return plain;
}

export const samePlatform = (a: Platform, b: Platform): boolean =>
  a.os === b.os && a.architecture === b.architecture && variantOf(a) === variantOf(b);

export const formatPlatform = ({ os, architecture, variant }: Platform): string =>
  [os, architecture, ...(variant ? [variant] : [])].join('/');

/** ARGs every Dockerfile may use in FROM, and in a stage after declaring them. */
export function platformArgs(build: Platform, target: Platform, stage: string): Map<string, string> {
  return new Map([
    ['BUILDPLATFORM', formatPlatform(build)],
    ['BUILDOS', build.os],
    ['BUILDOSVERSION', build['os.version'] ?? ''],
    ['BUILDARCH', build.architecture],
    ['BUILDVARIANT', build.variant ?? ''],
    ['TARGETPLATFORM', formatPlatform(target)],
    ['TARGETOS', target.os],
    ['TARGETOSVERSION', target['os.version'] ?? ''],
    ['TARGETARCH', target.architecture],
    ['TARGETVARIANT', target.variant ?? ''],
    ['TARGETSTAGE', stage],
  ]);
}

const proxies = ['HTTP_PROXY', 'HTTPS_PROXY', 'FTP_PROXY', 'NO_PROXY', 'ALL_PROXY'];

/** Build arguments that need no ARG: proxies in either case, settings of BuildKit, and the epoch. */
export const isPredefined = (name: string): boolean =>
  proxies.includes(name.toUpperCase()) || name.startsWith('BUILDKIT_') || name === 'SOURCE_DATE_EPOCH';

/** What a RUN is given for the proxy arguments: both spellings of each, without the names in `taken`. */
export function proxyEnv(buildArgs: Readonly<Record<string, string>>, taken: (name: string) => boolean): string[] {
  const env: string[] = [];
  for (const proxy of proxies) {
    const given = Object.keys(buildArgs)
      .filter((name) => name.toUpperCase() === proxy)
      .sort()
      .at(-1);
    if (given === undefined) continue;
    for (const name of [proxy, proxy.toLowerCase()]) if (!taken(name)) env.push(`${name}=${buildArgs[name] ?? buildArgs[given]}`);
  }
  return env;
}
