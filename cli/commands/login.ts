import { createInterface } from 'node:readline';
import type { About } from '../../shared/api/about.ts';
import type { Credentials } from '../../shared/auth/credentials.ts';
import { isHub, storeDockerCredentials } from '../../shared/auth/docker-config.ts';
import { insecureIn, openRemotes } from '../../shared/client/remotes.ts';
import { isCode, SlipwayError } from '../../shared/errors.ts';
import { version } from '../../shared/version.ts';
import { Api } from '../api-client.ts';
import { defineCommand, UsageError } from '../command.ts';
import { chosenEndpoint, endpointUrl } from '../endpoint.ts';
import { stdinText } from '../input.ts';
import { type Io, isTerminal, print, warn, write } from '../io.ts';
import { checkProtected, Remote } from '../remote.ts';

export const command = defineCommand({
  name: 'login',
  summary: 'Log in to a registry or an endpoint',
  usage: '[OPTIONS] [HOST]',
  description: `Asks for a user name and a password (or a token: leave the user name empty), tries them at the host, and keeps the login as
docker does: in a credential helper where docker's config.json names one (credsStore, credHelpers), else in that file
(~/.docker/config.json, or DOCKER_CONFIG), which nobody else may read. Where the host gives a token that stands for the
password, that is kept and the password is not. HOST is a registry to pull from and push to (docker.io is Docker Hub), or the
endpoint of a home elsewhere; without it, the endpoint of the context in use.

It is one login with docker's: not needed after 'docker login HOST', and good for docker push to the same host. For an endpoint, a pipeline
may set SLIPWAY_TOKEN instead: nothing is stored then.`,
  examples: [
    ['slipway login registry.example.com', 'A registry; asks for the rest'],
    ['slipway login https://images.example.com', 'The endpoint of a home elsewhere'],
    ['slipway login -u ci --password-stdin images.example.com < password', 'Without a terminal'],
    ['slipway login --password-stdin images.example.com < token', 'With a token'],
  ],
  options: {
    username: { type: 'string', keepsEmpty: true, short: 'u', help: 'User name' },
    'password-stdin': { type: 'boolean', help: 'Read the password or token from standard input' },
    password: { type: 'string', short: 'p', hidden: true, help: '' },
  },
  args: { min: 0, max: 1 },
  everywhere: true,
  async run({ args, options, io }) {
    if (options.password !== undefined) {
      throw new SlipwayError('UNSUPPORTED', '--password is not supported: others could read it in the list of processes', {
        hint: 'Use --password-stdin.',
      });
    }
    const url = args[0] === undefined ? chosenEndpoint(io.env)?.url : endpointUrl(args[0]);
    if (url === undefined) {
      throw new UsageError('login', 'the host is missing: the home on this machine needs no login; Docker Hub is docker.io');
    }
    const { host } = new URL(url);
    const hub = isHub(host);
    if (!hub) checkProtected(url, io.env);
    const login = await ask(options, io);
    const identity = hub ? await atRegistry('docker.io', login, io) : await atEndpoint(url, login, io);
    const kept = identity === undefined ? login : { username: login.username ?? '', identityToken: identity };
    const { file, open } = await storeDockerCredentials(host, kept, { env: io.env });
    if (open) {
      const how = 'Name a credential helper there to keep it better (credsStore): https://docs.docker.com/go/credential-store/';
      await warn(io, `WARNING! The password is kept unencrypted in ${file}.\n${how}`);
    }
    await print(io, 'Login Succeeded');
    return 0;
  },
});

/** Tries the login at a registry; answers a token that stands for the password, if it gives one. */
async function atRegistry(host: string, login: Credentials, io: Io): Promise<string | undefined> {
  using remotes = openRemotes({ env: io.env, now: io.now, version });
  return await remotes.registryFor(login, host).login(io.signal);
}

/** The same at a home elsewhere; what is none may be a registry. */
async function atEndpoint(url: string, login: Credentials, io: Io): Promise<string | undefined> {
  try {
    const endpoint = { url, chosenBy: 'the command line', project: 'default', login };
    using remote = new Remote(endpoint, { env: io.env, now: io.now });
    const client = new Api((request, how) => remote.fetch(request, how), url, io.signal);
    const about = await client.json<About>('GET', '/api/v1');
    if (about?.name === 'slipway') return login.password === undefined ? undefined : await remote.identity(io.signal);
  } catch (error) {
    // Nobody is there; but what speaks plain HTTP, and may, is found by the client for registries.
    const unreachable = isCode(error, 'UPSTREAM') && error.details?.errno !== undefined && !insecureIn(io.env)(new URL(url).host);
    if (unreachable || isCode(error, 'CANCELLED')) throw error;
  }
  const { host } = new URL(url);
  try {
    return await atRegistry(host, login, io);
  } catch (error) {
    if (!isCode(error, 'UNAUTHORIZED')) throw error;
    throw new SlipwayError('UNAUTHORIZED', `${host} refused this login`, { cause: error });
  }
}

async function ask(
  options: { readonly username: string | undefined; readonly 'password-stdin': boolean | undefined },
  io: Io,
): Promise<Credentials> {
  let { username } = options;
  let secret: string;
  if (options['password-stdin']) {
    secret = (await stdinText(io)).replace(/\r?\n$/, '');
  } else {
    if (!isTerminal(io.stdin)) {
      throw new SlipwayError('USAGE', 'cannot ask for a password: standard input is not a terminal', {
        hint: 'Use --password-stdin.',
      });
    }
    username ??= await line(io, 'Username (empty for a token): ', false);
    secret = await line(io, username === '' ? 'Token: ' : 'Password: ', true);
  }
  if (secret === '') throw new UsageError('login', 'the password is empty');
  return username ? { username, password: secret } : { registryToken: secret };
}

/** One line from the terminal; `hidden` shows nothing of it. */
async function line(io: Io, prompt: string, hidden: boolean): Promise<string> {
  await write(io.stderr, prompt);
  const terminal = io.stdin as NodeJS.ReadStream;
  // Raw mode is the terminal's way of not echoing; readline then does the editing, to nowhere.
  const lines = createInterface({ input: terminal, terminal: hidden, ...(hidden ? {} : { output: io.stderr }) });
  try {
    return await new Promise<string>((resolve, reject) => {
      const cancelled = () => reject(new SlipwayError('CANCELLED', 'cancelled'));
      lines.once('line', resolve);
      lines.once('SIGINT', cancelled);
      lines.once('close', cancelled);
      io.signal.addEventListener('abort', cancelled, { once: true });
    });
  } finally {
    lines.close();
    if (hidden) await write(io.stderr, '\n');
  }
}
