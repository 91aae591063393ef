// Docker's credentials: config.json in DOCKER_CONFIG or ~/.docker, with its credential helpers (docker-credential-NAME programs).
import { randomUUID } from 'node:crypto';
import { mkdir, readFile, realpath, rename, rm, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { errnoOf, SlipwayError } from '../errors.ts';
import { userHome } from '../user-home.ts';
import { askHelper, askHelperTo, type HelperOptions } from './credential-helper.ts';
import type { Credentials } from './credentials.ts';

interface AuthEntry {
  readonly auth?: string;
  readonly username?: string;
  readonly password?: string;
  readonly identitytoken?: string;
  readonly registrytoken?: string;
}

export interface DockerConfig {
  readonly auths: Readonly<Record<string, AuthEntry>>;
  readonly credsStore?: string;
  readonly credHelpers: Readonly<Record<string, string>>;
}

/** How Docker Hub is called in config.json. */
const hubKey = 'https://index.docker.io/v1/';
const hubNames: ReadonlySet<string> = new Set(['docker.io', 'index.docker.io', 'registry-1.docker.io']);

/** Whether this is one of Docker Hub's names. */
export const isHub = (host: string): boolean => hubNames.has(host);

export type DockerAuthOptions = HelperOptions;

/** The file, or what an absent one means. INVALID_DOCUMENT when it cannot be read as JSON. */
export async function readDockerConfig(env: DockerAuthOptions['env']): Promise<DockerConfig> {
  const document = await readDocument(env);
  const of = (value: unknown): Readonly<Record<string, never>> =>
    typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Readonly<Record<string, never>>) : {};
  const { auths, credsStore, credHelpers } = of(document) as { auths?: unknown; credsStore?: unknown; credHelpers?: unknown };
  return {
    auths: of(auths),
    credHelpers: of(credHelpers),
    ...(typeof credsStore === 'string' && credsStore !== '' ? { credsStore } : {}),
  };
}

const fileIn = (env: DockerAuthOptions['env']): string =>
  join(env.DOCKER_CONFIG || join(userHome(env), '.docker'), 'config.json');

async function readDocument(env: DockerAuthOptions['env']): Promise<unknown> {
  const file = fileIn(env);
  try {
    return JSON.parse(await readFile(file, 'utf8'));
  } catch (cause) {
    if (errnoOf(cause) === 'ENOENT' || errnoOf(cause) === 'ENOTDIR') return {};
    throw new SlipwayError('INVALID_DOCUMENT', `cannot read ${file}: ${cause instanceof Error ? cause.message : String(cause)}`, {
      hint: 'Mend the file, or name another folder with DOCKER_CONFIG.',
      cause,
    });
  }
}

/**
 * The login for `host` (and `path` on it), or `undefined`: a helper named for the host first, then the store for all, then the file;
 * there the longest key that is the host or a path below it. A login for one host is never used for another (F18).
 */
export async function dockerCredentials(
  host: string,
  path: string,
  options: DockerAuthOptions,
): Promise<Credentials | undefined> {
  const config = await readDockerConfig(options.env);
  const server = hubNames.has(host) ? hubKey : host;
  const helper = longest(config.credHelpers, host, path) ?? config.credsStore;
  if (helper !== undefined) {
    const found = await askHelper(helper, server, options);
    if (found !== undefined) return found;
  }
  const entry = longest(config.auths, host, path);
  return entry === undefined ? undefined : fromEntry(entry, host);
}

/** Where a login was kept; `open`: the password itself is in that file. */
export interface KeptLogin {
  readonly file: string;
  readonly open: boolean;
}

/** What docker login does: the helper for the host keeps the login, else the file, which nobody else may read from then on. */
export async function storeDockerCredentials(
  host: string,
  credentials: Credentials,
  options: DockerAuthOptions,
): Promise<KeptLogin> {
  const file = fileIn(options.env);
  const { helper, server } = await keeperOf(host, options);
  const { username = '', password, identityToken, registryToken } = credentials;
  const secret = identityToken ?? password;
  // A helper keeps a name and a secret; a bare token is neither.
  if (helper !== undefined && registryToken === undefined && secret !== undefined) {
    const login = { ServerURL: server, Username: identityToken === undefined ? username : '<token>', Secret: secret };
    await askHelperTo('store', helper, JSON.stringify(login), server, options);
    // As docker does: the file says that there is one.
    await change(options.env, server, {});
    return { file, open: false };
  }
  await change(options.env, server, {
    ...(username === ''
      ? {}
      : { auth: Buffer.from(`${username}:${identityToken === undefined ? (password ?? '') : ''}`).toString('base64') }),
    ...(identityToken === undefined ? {} : { identitytoken: identityToken }),
    ...(registryToken === undefined ? {} : { registrytoken: registryToken }),
  });
  return { file, open: password !== undefined && identityToken === undefined };
}

/** Forgets the login of a host, where docker keeps it. False when there was none. */
export async function eraseDockerCredentials(host: string, options: DockerAuthOptions): Promise<boolean> {
  const known = (await dockerCredentials(host, '', options)) !== undefined;
  const { helper, server } = await keeperOf(host, options);
  if (helper !== undefined && known) await askHelperTo('erase', helper, server, server, options);
  await change(options.env, server, undefined);
  return known;
}

async function keeperOf(
  host: string,
  { env }: DockerAuthOptions,
): Promise<{ readonly helper: string | undefined; readonly server: string }> {
  const config = await readDockerConfig(env);
  return { helper: longest(config.credHelpers, host, '') ?? config.credsStore, server: hubNames.has(host) ? hubKey : host };
}

/** Replaces one entry; everything else in the file stays as it is. A file that need not change is not touched. */
async function change(env: DockerAuthOptions['env'], server: string, entry: AuthEntry | undefined): Promise<void> {
  const document = (await readDocument(env)) as { auths?: Record<string, AuthEntry> };
  const { [server]: before, ...others } = document.auths ?? {};
  if (entry === undefined && before === undefined) return;
  const auths = entry === undefined ? others : { ...others, [server]: entry };
  // Where a file is a link, what it leads to is replaced: some keep their settings elsewhere.
  const file = await realpath(fileIn(env)).catch(() => fileIn(env));
  const partial = `${file}.${randomUUID()}.partial`;
  try {
    await mkdir(dirname(file), { recursive: true, mode: 0o700 });
    await writeFile(partial, `${JSON.stringify({ ...document, auths }, undefined, '\t')}\n`, { mode: 0o600 });
    await rename(partial, file);
  } catch (cause) {
    await rm(partial, { force: true });
    throw new SlipwayError('USAGE', `cannot write ${file}: ${errnoOf(cause)}`, {
      hint: 'Choose another folder with DOCKER_CONFIG.',
      cause,
    });
  }
}

/** Keys may be written `host`, `host/path`, `https://host`, `https://host/v1/`. */
function longest<T>(entries: Readonly<Record<string, T>>, host: string, path: string): T | undefined {
  const names = hubNames.has(host) ? [...hubNames] : [host];
  let best: { readonly length: number; readonly value: T } | undefined;
  for (const [key, value] of Object.entries(entries)) {
    const plain = key
      .replace(/^https?:\/\//, '')
      .replace(/\/+$/, '')
      .replace(/\/v[12]$/, '');
    const matches = names.some(
      (name) => plain === name || `${name}/${path}` === plain || `${name}/${path}`.startsWith(`${plain}/`),
    );
    if (matches && (best === undefined || plain.length > best.length)) best = { length: plain.length, value };
  }
  return best?.value;
}

function fromEntry(entry: AuthEntry, host: string): Credentials | undefined {
  const text = (value: unknown): string | undefined => (typeof value === 'string' && value !== '' ? value : undefined);
  let username = text(entry.username);
  let password = text(entry.password);
  const auth = text(entry.auth);
  if (auth !== undefined) {
    const decoded = Buffer.from(auth, 'base64').toString('utf8');
    const colon = decoded.indexOf(':');
    if (colon <= 0) {
      throw new SlipwayError('INVALID_DOCUMENT', `docker's config.json: the login for ${host} is damaged`, {
        hint: `Log in again: docker login ${host}`,
      });
    }
    username = decoded.slice(0, colon);
    // Docker pads with NUL bytes in old files.
    password = decoded.slice(colon + 1).replace(/\0+$/, '');
  }
  const identityToken = text(entry.identitytoken);
  const registryToken = text(entry.registrytoken);
  if (username === undefined && identityToken === undefined && registryToken === undefined) return undefined;
  return {
    ...(username === undefined ? {} : { username }),
    ...(password === undefined ? {} : { password }),
    ...(identityToken === undefined ? {} : { identityToken }),
    ...(registryToken === undefined ? {} : { registryToken }),
  };
}
