import { existsSync, readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { Readable } from 'node:stream';
import type { Home } from '../../local/home.ts';
import { readAccounts } from '../../shared/build/accounts.ts';
import { envFromFile, envFromFlag } from '../../shared/container/command.ts';
import { bindMount, hostEntry, networkMode, tmpfsMount } from '../../shared/container/run-flags.ts';
import { type ContainerParts, runImage } from '../../shared/container/run-image.ts';
import { accountsOf } from '../../shared/container/user.ts';
import { errnoOf, isCode, SlipwayError } from '../../shared/errors.ts';
import { Images } from '../../shared/image/images.ts';
import { openImage } from '../../shared/image/read.ts';
import { hostPlatform, parsePlatform } from '../../shared/oci/platform.ts';
import { defaultTag, familiar, parseReference } from '../../shared/oci/reference.ts';
import type { RunSpec } from '../../shared/sandbox/sandbox.ts';
import { makeFolder } from '../../shared/store/make-folder.ts';
import { type Call, defineCommand, type OptionSpec, parse } from '../command.ts';
import { commands } from '../commands.ts';
import { type Io, isTerminal, warn, write } from '../io.ts';

/** Docker's, known by name so that the answer says what to do instead. */
const refused = {
  detach: 'a container ends with its command; run it in the background with your shell or a service manager',
  publish: "the container uses the machine's network: its ports can be reached directly",
  'publish-all': "the container uses the machine's network: its ports can be reached directly",
  name: 'a container is gone when its command ends, so nothing could be found by a name',
  restart: 'use a loop or a service manager',
  privileged: "a container always has docker's default capabilities",
  'cap-add': "a container always has docker's default capabilities",
  'cap-drop': "a container always has docker's default capabilities",
  device: 'a container has no devices but null, zero, full, random, urandom and tty',
  gpus: 'a container has no devices but null, zero, full, random, urandom and tty',
  memory: 'there are no limits yet: use systemd-run --scope -p MemoryMax=... slipway run ...',
  cpus: 'there are no limits yet: use systemd-run --scope -p CPUQuota=... slipway run ...',
  'volumes-from': 'give the paths with -v',
  mount: 'use -v SRC:DST[:ro] or --tmpfs',
  link: 'use --add-host NAME:ADDRESS',
  'read-only': 'what is written goes to a layer that is gone afterwards, and never into the image',
} as const;

const no = (type: OptionSpec['type'], short?: string): OptionSpec => ({
  type,
  help: '',
  hidden: true,
  multiple: type === 'string',
  ...(short && { short }),
});
const refusedOptions = {
  detach: no('boolean', 'd'),
  publish: no('string', 'p'),
  'publish-all': no('boolean', 'P'),
  name: no('string'),
  restart: no('string'),
  privileged: no('boolean'),
  'cap-add': no('string'),
  'cap-drop': no('string'),
  device: no('string'),
  gpus: no('string'),
  memory: no('string', 'm'),
  cpus: no('string'),
  'volumes-from': no('string'),
  mount: no('string'),
  link: no('string'),
  'read-only': no('boolean'),
} satisfies Record<keyof typeof refused, OptionSpec>;

const options = {
  ...refusedOptions,
  'add-host': { type: 'string', multiple: true, value: 'NAME:ADDRESS', help: 'Add a line to /etc/hosts' },
  entrypoint: {
    type: 'string',
    keepsEmpty: true,
    value: 'WORD',
    help: "One word in place of the image's ENTRYPOINT; drops its CMD",
  },
  env: {
    type: 'string',
    short: 'e',
    multiple: true,
    value: 'NAME[=VALUE]',
    help: "Set a variable; without a value, to this shell's",
  },
  'env-file': { type: 'string', multiple: true, value: 'FILE', help: 'Read variables from a file, one a line' },
  hostname: { type: 'string', short: 'h', value: 'NAME', help: 'Host name in the container (slipway)' },
  interactive: { type: 'boolean', short: 'i', help: 'Hand standard input on to the command' },
  network: { type: 'string', value: 'host|none', help: "The machine's network (default), or none but a loopback" },
  net: { type: 'string', help: '', hidden: true },
  platform: { type: 'string', value: 'OS/ARCH', help: 'Which member of a multi-platform image' },
  pull: { type: 'string', value: 'POLICY', help: 'Pull the image: always, missing (default) or never' },
  quiet: { type: 'boolean', short: 'q', help: 'Do not show the progress of a pull' },
  rm: { type: 'boolean', help: 'What always happens: the container is gone when its command ends' },
  tmpfs: { type: 'string', multiple: true, value: 'PATH[:size=64m,mode=1777]', help: 'A folder in memory' },
  tty: { type: 'boolean', short: 't', help: 'Give the command a terminal, joined to this one' },
  user: { type: 'string', short: 'u', value: 'USER[:GROUP]', help: "Names or numbers, in place of the image's USER" },
  volume: {
    type: 'string',
    short: 'v',
    multiple: true,
    value: 'SRC:DST[:ro]',
    help: 'Show a folder or file of this machine in the container',
  },
  workdir: { type: 'string', short: 'w', value: 'DIR', help: "Working directory, in place of the image's WORKDIR" },
} as const satisfies Record<string, OptionSpec>;

type RunCall = Call<typeof options>;

export const command = defineCommand({
  name: 'run',
  summary: 'Run a command in an image',
  usage: '[OPTIONS] IMAGE [COMMAND] [ARG...]',
  description: `Starts the image's ENTRYPOINT and CMD, or the words after the image in place of CMD, isolated from this machine: its own files,
processes, host name and IPC, docker's default capabilities. It uses this machine's network, so ports are reachable without -p.
What it writes is gone when it ends; keep things with -v. An image that is not here is pulled first.

The exit code is the command's own; 125 when it could not be tried, 126 when it cannot be executed, 127 when there is no such
command. Ctrl-C and SIGTERM go to the command; a second one ends it.`,
  examples: [
    ['slipway run debian:12 cat /etc/os-release', 'one command'],
    ['slipway run -it alpine', 'a shell with a terminal'],
    ['slipway run -v "$PWD":/src -w /src -u "$(id -u)" node:24 npm test', 'tools from an image, on the files here'],
    ['echo hello | slipway run -i --network none alpine wc -c', 'as a filter, without a network'],
  ],
  options,
  thisMachine: 'refuse',
  args: { min: 1 },
  stopAtFirstArgument: true,
  namespace: 'required',
  async run(call) {
    try {
      return await start(call);
    } catch (error) {
      // Docker's: whatever kept the command from being tried is 125.
      if (errnoOf(error) !== undefined) throw new SlipwayError('RUN_ENGINE', (error as Error).message, { cause: error });
      if (!(error instanceof SlipwayError) || error.exit !== 1) throw error;
      const { hint, details, where } = error;
      throw new SlipwayError('RUN_ENGINE', error.message, {
        cause: error,
        ...(hint && { hint }),
        ...(details && { details }),
        ...(where && { where }),
      });
    }
  },
});

async function start(call: RunCall): Promise<number> {
  const { args, options: o, io } = call;
  for (const [name, instead] of Object.entries(refused)) {
    const given: unknown = o[name as keyof typeof refused];
    if (given === true || (Array.isArray(given) && given.length > 0))
      throw new SlipwayError('UNSUPPORTED', `--${name} is not supported`, { hint: `${instead}.` });
  }
  const [word = '', ...words] = args;
  const request = {
    args: words,
    network: networkMode(o.network ?? o.net),
    mounts: [...o.volume.map((text) => bindMount(text, io.cwd)), ...o.tmpfs.map(tmpfsMount)],
    hosts: o['add-host'].map(hostEntry),
    env: [...o['env-file'].flatMap((file) => readEnvFile(file, io)), ...o.env.flatMap((text) => envFromFlag(text, io.env))],
    stdio: streams(call),
    ...(o.entrypoint !== undefined && { entrypoint: o.entrypoint }),
    ...(o.workdir !== undefined && { cwd: absolute(o.workdir) }),
    ...(o.user !== undefined && { user: o.user }),
    ...(o.hostname !== undefined && { hostname: o.hostname }),
  };
  const platform = o.platform === undefined ? undefined : parsePlatform(o.platform, hostPlatform());
  const home = await call.home();
  const image = await openImage(home.parts.blobs, await imageDigest(call, home, word), platform ? { platform } : {});
  // As docker: a folder that is not there is made.
  for (const mount of request.mounts) if (mount.kind === 'bind') makeSource(mount.source);
  const forwarding = forward(io);
  const result = await runImage(await containerParts(home), image, request, {
    signal: forwarding.cancel,
    started: forwarding.started,
  });
  if (result.notStarted !== undefined) {
    const hint = result.hint === undefined ? '' : `\n  ${result.hint}`;
    await warn(io, `Error: the container's command cannot be started: ${result.notStarted}${hint}`);
  }
  return result.exitCode;
}

function streams({ options: o, io }: RunCall): RunSpec['stdio'] {
  if (o.tty) {
    if (!isTerminal(io.stdin) || !isTerminal(io.stdout)) {
      throw new SlipwayError('RUN_ENGINE', 'the input device is not a terminal', {
        hint: 'Leave -t out in scripts and pipes; -i alone hands input on.',
      });
    }
    return { kind: 'terminal' };
  }
  return {
    kind: 'pipe',
    ...(o.interactive && { stdin: Readable.toWeb(io.stdin as Readable) as ReadableStream<Uint8Array> }),
    onOutput: (stream, chunk) => write(io[stream], chunk),
  };
}

/** The first Ctrl-C or SIGTERM is the command's to handle; before it is started, there is nothing to hand it to. */
function forward(io: Io): { readonly cancel: AbortSignal; readonly started: (send: (signal: NodeJS.Signals) => void) => void } {
  const cancel = new AbortController();
  let send: ((signal: NodeJS.Signals) => void) | undefined;
  const pass = () => {
    const { reason } = io.signal;
    if (send === undefined) cancel.abort(reason);
    else send(reason === 'SIGINT' || reason === 'SIGHUP' ? reason : 'SIGTERM');
  };
  if (io.signal.aborted) pass();
  else io.signal.addEventListener('abort', pass, { once: true });
  return {
    cancel: cancel.signal,
    started: (sender) => {
      send = sender;
    },
  };
}

async function imageDigest(call: RunCall, home: Home, word: string) {
  const { options: o, io } = call;
  const policy = o.pull ?? 'missing';
  if (!['always', 'missing', 'never'].includes(policy)) {
    throw new SlipwayError('USAGE', `invalid pull policy ${policy}: always, missing and never are known`);
  }
  const images = new Images(home.parts);
  const find = async () => (await images.find(word, { signal: io.signal })).digest;
  if (policy !== 'always') {
    try {
      return await find();
    } catch (error) {
      if (policy === 'never' || !isCode(error, 'NOT_FOUND')) throw error;
      const reference = parseReference(word);
      const shown = familiar(
        reference.tag === undefined && reference.digest === undefined ? { ...reference, tag: defaultTag } : reference,
      );
      if (!o.quiet) await warn(io, `Unable to find image '${shown}' locally`);
    }
  }
  await pull(call, word);
  return await find();
}

/** The command of that name; its words go to stderr, because stdout is the container's. */
async function pull(call: RunCall, word: string): Promise<void> {
  const { options: o, io } = call;
  const listed = commands.pull;
  if (listed === undefined)
    throw new SlipwayError('UNSUPPORTED', 'this version cannot pull', { hint: 'Build or load the image first.' });
  const { command: pulling } = await listed.load();
  const words = [...(o.quiet ? ['--quiet'] : []), ...(o.platform === undefined ? [] : ['--platform', o.platform]), '--', word];
  const { args, options: pullOptions } = parse(pulling, words);
  const code = await pulling.run({ ...call, args, options: pullOptions, io: { ...io, stdout: io.stderr } });
  if (code !== 0) throw new SlipwayError('RUN_ENGINE', `cannot pull ${word}`);
}

async function containerParts(home: Home): Promise<ContainerParts> {
  const engine = await home.engine();
  const roots = await engine.roots();
  return {
    sandbox: roots.sandbox,
    lowers: (layers, signal) => roots.lowers(layers, signal),
    scratch: () => roots.scratch(),
    tree: (layers, signal) => engine.layers.tree(layers, signal),
    async accounts(layers, tree, signal) {
      return accountsOf(await readAccounts(engine.layers, layers, tree, { signal }));
    },
  };
}

function makeSource(path: string): void {
  if (existsSync(path)) return;
  try {
    makeFolder(path);
  } catch (cause) {
    throw new SlipwayError('USAGE', `-v: ${path} is not there and cannot be made: ${errnoOf(cause)}`, { cause });
  }
}

function readEnvFile(file: string, io: Io): string[] {
  try {
    return envFromFile(readFileSync(resolve(io.cwd, file), 'utf8'), file, io.env);
  } catch (error) {
    if (errnoOf(error) === undefined) throw error;
    throw new SlipwayError('USAGE', `cannot read the environment file ${file} (${errnoOf(error)})`, { cause: error });
  }
}

function absolute(folder: string): string {
  if (folder.startsWith('/')) return folder;
  throw new SlipwayError('USAGE', `the working directory ${folder} is not an absolute path`);
}
