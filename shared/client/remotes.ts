// The other registries as one home sees them: one client per host and process, sharing connections, with docker's logins.
import type { Credentials } from '../auth/credentials.ts';
import { dockerCredentials } from '../auth/docker-config.ts';
import { HttpClient, type HttpOptions } from './http.ts';
import { RegistryClient } from './registry-client.ts';

export interface Remotes extends Disposable {
  /** `path` matters where config.json has logins for parts of a host. */
  registry(host: string, path: string): RegistryClient;
  /** The same with this login and no other; `undefined`: with none. */
  registryFor(login: Credentials | undefined, host: string): RegistryClient;
  /** What all of them go through. */
  readonly http: HttpClient;
}

export interface RemotesOptions {
  /** DOCKER_CONFIG, HOME, PATH; HTTPS_PROXY, HTTP_PROXY, NO_PROXY; SLIPWAY_INSECURE_REGISTRIES (hosts, separated by commas). */
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Milliseconds since 1970. */
  readonly now: () => number;
  readonly version: string;
  readonly http?: Partial<HttpOptions>;
}

/** Which hosts may speak plain HTTP by SLIPWAY_INSECURE_REGISTRIES, with or without their port. */
export function insecureIn(env: RemotesOptions['env']): (host: string) => boolean {
  const named = new Set((env.SLIPWAY_INSECURE_REGISTRIES ?? '').split(',').flatMap((host) => host.trim() || []));
  return (host) => named.has(host) || named.has(host.replace(/:\d+$/, ''));
}

export function openRemotes({ env, now, version, http: extra = {} }: RemotesOptions): Remotes {
  const insecure = insecureIn(env);
  const http = new HttpClient({ userAgent: `slipway/${version}`, env, insecure, ...extra });
  const clients = new Map<string, RegistryClient>();
  return {
    http,
    registry(host, path) {
      const key = `${host}/${path}`;
      const known = clients.get(key);
      if (known !== undefined) return known;
      const credentials = () => dockerCredentials(host, path, { env });
      const client = new RegistryClient({ http, host, credentials, insecure: insecure(host), now });
      clients.set(key, client);
      return client;
    },
    registryFor: (login, host) =>
      new RegistryClient({ http, host, credentials: async () => login, insecure: insecure(host), now }),
    [Symbol.dispose]: () => http[Symbol.dispose](),
  };
}
