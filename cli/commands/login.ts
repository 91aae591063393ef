import { createInterface } from 'node:readline';
import type { About } from '../../shared/api/about.ts';
import type { Credentials } from '../../shared/auth/credentials.ts';
import { storeDockerCredentials } from '../../shared/auth/docker-config.ts';
import { SlipwayError } from '../../shared/errors.ts';
import { Api } from '../api-client.ts';
import { defineCommand, UsageError } from '../command.ts';
import { chosenEndpoint, endpointUrl } from '../endpoint.ts';
import { stdinText } from '../input.ts';
import { type Io, isTerminal, print, write } from '../io.ts';
import { checkProtected, Remote } from '../remote.ts';

export const command = defineCommand({
  name: 'login',
  summary: 'Log in to an endpoint',
  usage: '[OPTIONS] [ENDPOINT]',
  description: `Asks for a user name and a password (or a token: leave the user name empty), tries them at the endpoint, and keeps the login as
docker does: in a credential helper where docker's config.json names one (credsStore, credHelpers), else in that file
(~/.docker/config.json, or DOCKER_CONFIG), which nobody else may read. Where the endpoint gives a token that stands for the
password, that is kept and the password is not. Without ENDPOINT, the one of the context in use.

It is one login with docker's: not needed after 'docker login HOST', and good for docker push to the same host. In a pipeline,
set SLIPWAY_TOKEN instead: nothing is stored then.`,
  examples: [
    ['slipway login https://images.example.com', 'Asks for the rest'],
    ['slipway login -u ci --password-stdin images.example.com < password', 'Without a terminal'],
    ['slipway login --password-stdin images.example.com < token', 'With a token'],
  ],
  options: {
    username: { type: 'string', short: 'u', help: 'User name' },
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
    if (url === undefined) throw new UsageError('login', 'an endpoint is missing: the home on this machine needs no login');
    checkProtected(url, io.env);
    const login = await ask(options, io);
    const endpoint = { url, chosenBy: 'the command line', project: 'default', login };
    using remote = new Remote(endpoint, { env: io.env, now: io.now });
    const client = new Api((request, how) => remote.fetch(request, how), url, io.signal);
    const about = await client.json<About>('GET', '/api/v1').catch((error: unknown) => {
      if (error instanceof SlipwayError && error.code === 'UNAUTHORIZED') {
        throw new SlipwayError('UNAUTHORIZED', `${url} refused this login`, { cause: error });
      }
      throw error;
    });
    if (about?.name !== 'slipway') throw new SlipwayError('UPSTREAM', `there is no Slipway at ${url}`);
    const identity = login.password === undefined ? undefined : await remote.identity(io.signal);
    const { host } = new URL(url);
    const kept = identity === undefined ? login : { username: login.username ?? '', identityToken: identity };
    await storeDockerCredentials(host, kept, { env: io.env });
    await print(io, 'Login Succeeded');
    return 0;
  },
});

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
