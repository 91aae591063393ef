// Programs that keep logins for docker: docker-credential-NAME, asked by their verb, with text on standard input (docker-credential-helpers
// README, "Development").
import { spawn } from 'node:child_process';
import { errnoOf, SlipwayError } from '../errors.ts';
import type { Credentials } from './credentials.ts';

export interface HelperOptions {
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Milliseconds a helper may take; it may have to ask the user. */
  readonly helperTimeout?: number;
}

/** What a helper says, exit code 1, when it has nothing. */
const notFound = 'credentials not found in native keychain';
const helperLimit = 1024 * 1024;

/** The login that a helper has, or `undefined`. */
export async function askHelper(name: string, server: string, options: HelperOptions): Promise<Credentials | undefined> {
  const program = programOf(name);
  const { code, stdout, stderr } = await runHelper(program, 'get', server, server, options);
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

/** Has a helper keep or forget a login. `input`: a document to store, a server to erase. */
export async function askHelperTo(
  verb: 'store' | 'erase',
  name: string,
  input: string,
  server: string,
  options: HelperOptions,
): Promise<void> {
  const program = programOf(name);
  const { code, stdout, stderr } = await runHelper(program, verb, input, server, options);
  if (code === 0) return;
  // Not both streams: what it was given to store may be in one of them.
  const said = (verb === 'erase' ? stdout.trim() || stderr.trim() : stderr.trim()).slice(0, 500);
  if (verb === 'erase' && said.startsWith(notFound)) return;
  throw new SlipwayError(
    'UNAUTHORIZED',
    `${program} could not ${verb} the login of ${server}: ${said === '' ? `exit code ${code}` : said}`,
    {
      hint: "It is named in docker's config.json (credsStore, credHelpers): mend or remove it there.",
    },
  );
}

function programOf(name: string): string {
  if (/^[A-Za-z0-9._-]{1,100}$/.test(name)) return `docker-credential-${name}`;
  throw new SlipwayError(
    'INVALID_DOCUMENT',
    `docker's config.json names a credential helper "${name.slice(0, 100)}", which is no name`,
  );
}

const helperFailed = (program: string, server: string, why: string, cause?: unknown): SlipwayError =>
  new SlipwayError('UNAUTHORIZED', `${program} gave no login for ${server}: ${why}`, {
    hint: `It is named in docker's config.json (credsStore, credHelpers): mend or remove it there, or log in again.`,
    ...(cause === undefined ? {} : { cause }),
  });

function runHelper(
  program: string,
  verb: string,
  input: string,
  server: string,
  options: HelperOptions,
): Promise<{ readonly code: number | null; readonly stdout: string; readonly stderr: string }> {
  return new Promise((resolve, reject) => {
    const timeout = options.helperTimeout ?? 60_000;
    const child = spawn(program, [verb], { env: { ...options.env }, stdio: 'pipe', timeout, killSignal: 'SIGKILL' });
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
    child.stdin.end(input);
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
