// The platform object of OCI image-index.md; names are Go's GOOS and GOARCH. Reading, normalising and matching follow containerd's
// `platforms` package, which docker, BuildKit and nerdctl share, so that the same words choose the same image.
import { SlipwayError } from '../errors.ts';
import { asObject, asString, asStrings, optional, withoutNulls } from './fields.ts';

export interface Platform {
  readonly os: string;
  readonly architecture: string;
  readonly variant?: string;
  readonly 'os.version'?: string;
  readonly 'os.features'?: readonly string[];
}

/** A platform object of a document, not normalised: what a document says is shown as it says it. */
export function readPlatform(value: unknown, where: string): Platform {
  const from = asObject(value, where);
  const os = asString(from.os, `${where}.os`);
  const architecture = asString(from.architecture, `${where}.architecture`);
  optional(from.variant, `${where}.variant`, asString);
  optional(from['os.version'], `${where}["os.version"]`, asString);
  optional(from['os.features'], `${where}["os.features"]`, asStrings);
  return { ...withoutNulls(from), os, architecture };
}

const architectureNames: Readonly<Record<string, readonly [architecture: string, variant?: string]>> = {
  i386: ['386', ''],
  x86_64: ['amd64', ''],
  'x86-64': ['amd64', ''],
  aarch64: ['arm64', ''],
  armhf: ['arm', 'v7'],
  armel: ['arm', 'v6'],
};

/** One spelling for each platform: lower case, Go's names, no variant where it is the default (amd64 v1, arm64 v8); arm has one always. */
export function normalizePlatform(platform: Platform): Platform {
  const os = platform.os.toLowerCase();
  let architecture = platform.architecture.toLowerCase();
  let variant = (platform.variant ?? '').toLowerCase();
  const renamed = architectureNames[architecture];
  if (renamed) {
    architecture = renamed[0];
    if (renamed[1]) variant = renamed[1];
  }
  if (architecture === 'amd64' && variant === 'v1') variant = '';
  if (architecture === '386') variant = '';
  if (architecture === 'arm64' && (variant === '8' || variant === 'v8' || variant === 'v8.0')) variant = '';
  if (architecture === 'arm64' && (variant === '9' || variant === 'v9.0')) variant = 'v9';
  if (architecture === 'arm') variant = variant === '' ? 'v7' : variant.replace(/^(?=[5-8]$)/, 'v');
  const { variant: _, ...rest } = platform;
  return { ...rest, os: os === 'macos' ? 'darwin' : os, architecture, ...(variant && { variant }) };
}

const knownSystems = new Set(
  'aix android darwin dragonfly freebsd hurd illumos ios js linux netbsd openbsd plan9 solaris wasip1 windows zos'.split(' '),
);
const knownArchitectures = new Set(
  '386 amd64 arm arm64 loong64 mips mipsle mips64 mips64le ppc64 ppc64le riscv64 s390x sparc64 wasm'.split(' '),
);
/** Containerd's, less a leading dot: a platform becomes part of file names. */
const word = /^[A-Za-z0-9_-][A-Za-z0-9_.-]*$/;

/**
 * `os`, `arch`, `os/arch` or `os/arch/variant` as people write it, normalised. A word alone is an operating system or an
 * architecture; what is left out comes from `host`.
 * @throws INVALID_PLATFORM
 */
export function parsePlatform(text: string, host: Platform = { os: 'linux', architecture: 'amd64' }): Platform {
  const bad = (problem: string) =>
    new SlipwayError('INVALID_PLATFORM', `${JSON.stringify(text)}: ${problem}: invalid argument`, {
      hint: 'Write a platform as os/architecture or os/architecture/variant, such as linux/arm64.',
    });
  const parts = text.split('/');
  if (parts.length > 3) throw bad('cannot parse platform specifier');
  for (const part of parts) {
    if (!word.test(part))
      throw bad(`${JSON.stringify(part)} is an invalid component: platform specifier component must match "^[A-Za-z0-9_.-]+$"`);
  }
  const [first = '', second, third] = parts;
  if (second === undefined) {
    const os = first.toLowerCase() === 'macos' ? 'darwin' : first.toLowerCase();
    if (knownSystems.has(os)) return normalizePlatform({ ...host, os });
    const found = normalizePlatform({ os: host.os, architecture: first });
    if (knownArchitectures.has(found.architecture)) return found;
    throw bad('unknown operating system or architecture');
  }
  return normalizePlatform({ os: first, architecture: second, ...(third !== undefined && { variant: third }) });
}

/** `os/architecture[/variant]`, as docker prints it. */
export const formatPlatform = (platform: Platform): string =>
  [platform.os, platform.architecture, ...(platform.variant ? [platform.variant] : [])].join('/');

/** The platform of the machine this runs on, with linux for the operating system: what images for it say. */
export function hostPlatform(arch: string = process.arch): Platform {
  const names: Readonly<Record<string, string>> = { x64: 'amd64', ia32: '386', loong64: 'loong64', ppc64: 'ppc64le' };
  return normalizePlatform({ os: 'linux', architecture: names[arch] ?? arch });
}

/** The same platform once both are normalised; an os.version asked for must agree. */
export function samePlatform(asked: Platform, offered: Platform): boolean {
  const a = normalizePlatform(asked);
  const b = normalizePlatform(offered);
  if (a.os !== b.os || a.architecture !== b.architecture || (a.variant ?? '') !== (b.variant ?? '')) return false;
  return a['os.version'] === undefined || a['os.version'] === '' || a['os.version'] === b['os.version'];
}

const numbered = (architecture: string, from: number, to: number): Platform[] =>
  Array.from({ length: Math.max(0, from - to + 1) }, (_, i) => ({ os: '', architecture, variant: `v${from - i}` }));

/** What a processor can run, best first (containerd `platformVector`): amd64 v3 also v2, v1 and 386; arm64 also arm v8 down to v5. */
function runnable(platform: Platform): readonly Platform[] {
  const asked = normalizePlatform(platform);
  const version = Number(/^v(\d+)/.exec(asked.variant ?? '')?.[1] ?? 0);
  const { architecture } = asked;
  const lower =
    architecture === 'amd64'
      ? [...numbered('amd64', version - 1, 1), { os: '', architecture: '386' }]
      : architecture === 'arm'
        ? numbered('arm', version - 1, 5)
        : architecture === 'arm64'
          ? [...(version > 8 ? numbered('arm64', version - 1, 8) : []), ...numbered('arm', 8, 5)]
          : [];
  return [asked, ...lower.map((other) => normalizePlatform({ ...other, os: asked.os }))];
}

/**
 * The best of `offered` for `asked`, or `undefined`. `strict` takes only the platform itself; otherwise also what its processor can
 * run. The first of several equals wins, as in docker. Members without a platform (attestations have `unknown/unknown`) never match.
 */
export function choosePlatform<T extends { readonly platform?: Platform }>(
  offered: readonly T[],
  asked: Platform,
  strict = false,
): T | undefined {
  for (const wanted of strict ? [asked] : runnable(asked)) {
    const found = offered.find((one) => one.platform !== undefined && samePlatform(wanted, one.platform));
    if (found) return found;
  }
  return undefined;
}
