// Docker's credentials: config.json in DOCKER_CONFIG or ~/.docker, with its credential helpers (docker-credential-NAME programs).
import { spawn } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { errnoOf, SlipwayError } from '../errors.ts';
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
/** What a helper says, exit code 1, when it has nothing. */
const notFound = 'credentials not found in native keychain';
const helperLimit = 1024 * 1024;

export interface DockerAuthOptions {
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Milliseconds a helper may take; it may have to ask the user. */
  readonly helperTimeout?: number;
}

/** The file, or what an absent one means. INVALID_DOCUMENT when it cannot be read as JSON. */
export async function readDockerConfig(env: DockerAuthOptions['env']): Promise<DockerConfig> {
  const file = join(env.DOCKER_CONFIG || join(env.HOME || homedir(), '.docker'), 'config.json');
  let document: unknown;
  try {
    document = JSON.parse(await readFile(file, 'utf8'));
  } catch (cause) {
    if (errnoOf(cause) === 'ENOENT' || errnoOf(cause) === 'ENOTDIR') return { auths: {}, credHelpers: {} };
    throw new SlipwayError('INVALID_DOCUMENT', `cannot read ${file}: ${cause instanceof Error ? cause.message : String(cause)}`, {
      hint: 'Mend the file, or name another folder with DOCKER_CONFIG.',
      cause,
    });
  }
  const of = (value: unknown): Readonly<Record<string, never>> =>
    typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Readonly<Record<string, never>>) : {};
  const { auths, credsStore, credHelpers } = of(document) as { auths?: unknown; credsStore?: unknown; credHelpers?: unknown };
  return {
    auths: of(auths),
    credHelpers: of(credHelpers),
    ...(typeof credsStore === 'string' && credsStore !== '' ? { credsStore } : {}),
  };
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

async function askHelper(name: string, server: string, options: DockerAuthOptions): Promise<Credentials | undefined> {
  if (!/^[A-Za-z0-9._-]{1,100}$/.test(name)) {
    throw new SlipwayError(
      'INVALID_DOCUMENT',
      `docker's config.json names a credential helper "${name.slice(0, 100)}", which is no name`,
    );
  }
  const program = `docker-credential-${name}`;
  const { code, stdout, stderr } = await runHelper(program, server, options);
  if (code !== 0) {
    const said = (stdout.trim() || stderr.trim()).slice(0, 500);
    if (said.startsWith(notFound)) return undefined;
    throw helperFailed(program, server, said === '' ? `exit code ${code}` : said);
  }
  let document: { Username?: unknown; Secret?: unknown };
  try {
    document = JSON.parse(stdout) as typeof document;
  } catch (cause) {
    throw helperFailed(program, server, 'its answer is no JSON document', cause);
  }
  const { Username: username, Secret: secret } = document ?? {};
  if (typeof username !== 'string' || typeof secret !== 'string') throw helperFailed(program, server, 'its answer has no login');
  if (username === '' && secret === '') return undefined;
  return username === '<token>' ? { identityToken: secret } : { username, password: secret };
}

const helperFailed = (program: string, server: string, why: string, cause?: unknown): SlipwayError =>
  new SlipwayError('UNAUTHORIZED', `${program} gave no login for ${server}: ${why}`, {
    hint: `It is named in docker's config.json (credsStore, credHelpers): mend or remove it there, or log in again.`,
    ...(cause === undefined ? {} : { cause }),
  });

function runHelper(
  program: string,
  server: string,
  options: DockerAuthOptions,
): Promise<{ readonly code: number | null; readonly stdout: string; readonly stderr: string }> {
  return new Promise((resolve, reject) => {
    const timeout = options.helperTimeout ?? 60_000;
    const child = spawn(program, ['get'], { env: { ...options.env }, stdio: 'pipe', timeout, killSignal: 'SIGKILL' });
    const out: Buffer[] = [];
    const err: Buffer[] = [];
    let size = 0;
    const take = (into: Buffer[]) => (chunk: Buffer) => {
      size += chunk.length;
      if (size > helperLimit) child.kill('SIGKILL');
      else into.push(chunk);
    };
    child.stdout.on('data', take(out));
    child.stderr.on('data', take(err));
    // A helper that does not read its input answers all the same.
    child.stdin.on('error', () => undefined);
    child.stdin.end(server);
    child.on('error', (cause) =>
      reject(
        helperFailed(program, server, errnoOf(cause) === 'ENOENT' ? 'there is no such program in PATH' : cause.message, cause),
      ),
    );
    child.on('close', (code, signal) => {
      if (signal !== null) reject(helperFailed(program, server, `it did not end within ${timeout / 1000} s`));
      else resolve({ code, stdout: Buffer.concat(out).toString('utf8'), stderr: Buffer.concat(err).toString('utf8') });
    });
  });
}
