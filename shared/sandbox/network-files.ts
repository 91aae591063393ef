// /etc/resolv.conf, /etc/hosts and /etc/hostname as a sandbox sees them. They are mounted over the root, never written into it.
import { readFileSync } from 'node:fs';
import { errnoOf } from '../errors.ts';
import type { RunSpec } from './sandbox.ts';

export interface NetworkFiles {
  readonly resolvConf: string;
  readonly hosts: string;
  readonly hostname: string;
}

/** A host name from the outside is one line of a file and a word of a script: only what DNS allows passes. */
export const isHostname = (name: string): boolean => /^[A-Za-z0-9]([A-Za-z0-9.-]{0,62}[A-Za-z0-9])?$/.test(name);

export const defaultHostname = 'slipway';

export function networkFiles(
  spec: Pick<RunSpec, 'hostname' | 'hosts' | 'network'>,
  machine: { readonly resolvConf: string },
): NetworkFiles {
  const hostname = spec.hostname ?? defaultHostname;
  const lines = [
    '127.0.0.1\tlocalhost',
    '::1\tlocalhost ip6-localhost ip6-loopback',
    'fe00::\tip6-localnet',
    'ff00::\tip6-mcastprefix',
    'ff02::1\tip6-allnodes',
    'ff02::2\tip6-allrouters',
    `127.0.1.1\t${hostname}`,
    ...(spec.hosts ?? []).map(([name, address]) => `${address}\t${name}`),
  ];
  return {
    // With the machine's network its resolvers are reachable, the ones on localhost included; without a network none is.
    resolvConf: spec.network === 'host' ? machine.resolvConf : '',
    hosts: `${lines.join('\n')}\n`,
    hostname: `${hostname}\n`,
  };
}

/** The machine's own resolv.conf; empty where there is none. */
export function machineResolvConf(path = '/etc/resolv.conf'): string {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return '';
    throw error;
  }
}
