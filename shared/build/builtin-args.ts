// ARGs that need no definition: what a Dockerfile is built for and on, and the proxies.
import { formatPlatform, type Platform } from '../oci/platform.ts';

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
