import { readFile } from 'node:fs/promises';
import { isIP } from 'node:net';
import { resolve } from 'node:path';
import { errnoOf, SlipwayError } from '../../shared/errors.ts';
import { defineCommand, UsageError } from '../command.ts';
import { stdinText } from '../input.ts';
import { type Io, print, warn } from '../io.ts';

export const command = defineCommand({
  name: 'serve',
  summary: 'Serve the images of this home as a registry',
  usage: '[OPTIONS]',
  description: `Starts a registry (OCI distribution 1.1) with everything in the home: what \`slipway build -t app\` tagged is pulled as HOST:PORT/app,
and what any client pushes is here for build, run and save at once. It runs until Ctrl-C; other slipway commands may be used meanwhile.

By default it listens on 127.0.0.1, for this machine only, without a login: docker, podman and others take plain HTTP from there. On
another address it wants a login (--username with --password-file or --password-stdin), or --insecure-no-auth to let everyone who
can reach it read, overwrite and delete images. It speaks plain HTTP: put a proxy with TLS before it where passwords cross a network.`,
  examples: [
    ['slipway serve', 'On http://127.0.0.1:5000'],
    ['slipway serve --port 0 --json', 'On any free port; one JSON document says which'],
    ['slipway serve --host 0.0.0.0 --username ci --password-file /run/secrets/registry', 'For other machines, with a login'],
  ],
  options: {
    host: { type: 'string', keepsEmpty: true, value: 'address', help: 'Address to listen on (default: 127.0.0.1)' },
    port: {
      type: 'string',
      keepsEmpty: true,
      short: 'p',
      value: 'number',
      help: 'Port to listen on; 0 takes a free one (default: 5000)',
    },
    username: { type: 'string', keepsEmpty: true, short: 'u', help: 'Ask for this user name' },
    'password-file': {
      type: 'string',
      keepsEmpty: true,
      value: 'file',
      help: 'Read the password from a file (a last line break is dropped)',
    },
    'password-stdin': { type: 'boolean', help: 'Read the password from standard input' },
    'insecure-no-auth': { type: 'boolean', help: 'Allow an address other than this machine without a login' },
    json: { type: 'boolean', help: 'Print where it listens as one JSON document' },
  },
  thisMachine: 'refuse',
  args: { min: 0, max: 0 },
  async run({ options, io, home }) {
    const host = options.host ?? '127.0.0.1';
    const port = Number(options.port ?? 5000);
    if (!/^\d{1,5}$/.test(options.port ?? '0') || port > 65_535) {
      throw new UsageError('serve', `invalid argument "${options.port}" for "-p, --port": a port is a number from 0 to 65535`);
    }
    const { isLoopback } = await import('../../shared/client/address.ts');
    const local = isLoopback(host);
    const login = await loginFrom(options, io);
    if (!local && login === undefined && options['insecure-no-auth'] !== true) {
      throw new SlipwayError(
        'USAGE',
        `refusing to serve on ${host} without a login: everyone who can reach it could overwrite your images`,
        {
          hint: 'Give --username and --password-file, or say --insecure-no-auth if that is what you want.',
        },
      );
    }
    const [{ createRegistry }, { startServer }, guards, { randomUUID }] = await Promise.all([
      import('../../shared/registry/app.ts'),
      import('../../shared/registry/node-server.ts'),
      import('../../local/serve-guard.ts'),
      import('node:crypto'),
    ]);
    const { parts, serving } = await home();
    serving();
    const guard = login !== undefined ? guards.basicLogin(login) : local ? guards.localOnly : guards.noBrowser;
    const registry = createRegistry({
      blobs: parts.blobs,
      catalog: parts.catalog,
      guard,
      // One login, or none, reads everything.
      openMount: true,
      requestId: randomUUID,
      onFault: ({ requestId, call, error }) =>
        void warn(io, `Error: ${call.method} ${call.path}: ${messageOf(error)} (request ${requestId})`),
    });
    await using server = await startServer({
      handle: registry.handle,
      host,
      port,
      onError: (error) => void warn(io, `Error: ${messageOf(error)}`),
    });
    const shown = isIP(server.host) === 6 ? `[${server.host}]` : server.host;
    const at = `${shown}:${server.port}`;
    if (options.json === true) {
      await print(
        io,
        JSON.stringify({ address: server.host, port: server.port, url: `http://${at}`, login: login !== undefined }),
      );
    } else {
      const name = local ? `localhost:${server.port}` : isUnspecified(server.host) ? `THIS-MACHINE:${server.port}` : at;
      await print(
        io,
        `Serving the images of this home on http://${at}

  pull   docker pull ${name}/NAME
  push   docker tag NAME ${name}/NAME && docker push ${name}/NAME
  list   curl http://${isUnspecified(server.host) ? `127.0.0.1:${server.port}` : at}/v2/_catalog

Stop with Ctrl-C.`,
      );
      if (login === undefined && !local) {
        await warn(
          io,
          'Warning: no login is asked for. Everyone who can reach this address can read, overwrite and delete images.',
        );
      }
      if (login !== undefined && !local) {
        await warn(
          io,
          'Warning: this is plain HTTP; passwords and images cross the network unprotected unless a proxy with TLS is before it.',
        );
      }
    }
    await new Promise<void>((resolve) => {
      if (io.signal.aborted) resolve();
      io.signal.addEventListener('abort', () => resolve(), { once: true });
    });
    await server.stop();
    return 0;
  },
});

const isUnspecified = (address: string): boolean => address === '0.0.0.0' || address === '::';
const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));

async function loginFrom(
  options: {
    readonly username: string | undefined;
    readonly 'password-file': string | undefined;
    readonly 'password-stdin': boolean | undefined;
  },
  io: Io,
): Promise<{ username: string; password: string } | undefined> {
  const { username } = options;
  const file = options['password-file'];
  const fromStdin = options['password-stdin'] === true;
  if (username === undefined) {
    if (file !== undefined || fromStdin) throw new UsageError('serve', 'a password needs --username');
    return undefined;
  }
  if ((file === undefined) === !fromStdin)
    throw new UsageError('serve', '--username needs one of --password-file and --password-stdin');
  if (username === '' || username.includes(':')) throw new UsageError('serve', 'a user name is not empty and has no colon');
  const password = (file === undefined ? await stdinText(io) : await readPassword(resolve(io.cwd, file))).replace(/\r?\n$/, '');
  if (password === '') throw new UsageError('serve', 'the password is empty');
  return { username, password };
}

async function readPassword(file: string): Promise<string> {
  try {
    return await readFile(file, 'utf8');
  } catch (cause) {
    throw new SlipwayError('USAGE', `cannot read the password file ${file}: ${errnoOf(cause) ?? messageOf(cause)}`, { cause });
  }
}
