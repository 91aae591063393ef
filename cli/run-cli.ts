// One call of the command line, in process: what main.ts does with the real world and tests do with a made one.
import type { Home } from '../local/home.ts';
import { errnoOf, SlipwayError } from '../shared/errors.ts';
import { version } from '../shared/version.ts';
import { Api } from './api-client.ts';
import { FlagError, helpText, parse, UsageError } from './command.ts';
import { commands, spellings } from './commands.ts';
import { chosenEndpoint } from './endpoint.ts';
import type { Io } from './io.ts';
import { print, warn, write } from './io.ts';
import type { Remote } from './remote.ts';
import { embeddedName } from './settings.ts';

export async function runCli(argv: readonly string[], io: Io): Promise<number> {
  try {
    return await dispatch(argv, io);
  } catch (error) {
    return await report(error, io);
  }
}

async function dispatch(argv: readonly string[], io: Io): Promise<number> {
  const [first, second, third] = argv;
  if (first === undefined || first === '--help' || first === '-h' || (first === 'help' && second === undefined)) {
    await write(io.stdout, overview());
    return 0;
  }
  if (first === '--version' || first === '-v') {
    await print(io, `Slipway version ${version}`);
    return 0;
  }
  if (first === 'help') return await dispatch([...argv.slice(1), '--help'], io);
  if (first === '--context' || first === '-c') {
    if (second === undefined) throw new FlagError('', `flag needs an argument: ${first}`);
    return await dispatch([`--context=${second}`, ...argv.slice(2)], io);
  }
  if (first.startsWith('--context=')) {
    // As a variable would: SLIPWAY_ENDPOINT gives way to what is said on the command line.
    const chosen = { SLIPWAY_CONTEXT: first.slice('--context='.length), SLIPWAY_ENDPOINT: undefined };
    return await dispatch(argv.slice(1), { ...io, env: { ...io.env, ...chosen } });
  }
  if (first.startsWith('--')) throw new FlagError('', `unknown flag: ${first.split('=', 1)[0]}`);
  if (first.startsWith('-')) throw new FlagError('', `unknown shorthand flag: '${first.slice(1, 2)}' in ${first}`);
  const threeWords = third === undefined ? undefined : commandOf(`${first} ${second} ${third}`);
  const twoWords = second === undefined ? undefined : commandOf(`${first} ${second}`);
  const name = threeWords ?? twoWords ?? spellings[first] ?? first;
  const length = threeWords !== undefined ? 3 : twoWords !== undefined ? 2 : 1;
  const listed = Object.hasOwn(commands, name) ? commands[name] : undefined;
  if (listed === undefined) {
    const inside = membersOf(first);
    if (inside.length === 0 || (second !== '--help' && second !== '-h')) throw new UsageError('', unknownCommand(first, second));
    await write(io.stdout, groupHelp(first, inside));
    return 0;
  }
  const { command } = await listed.load();
  const call = parse(command, argv.slice(length));
  if (call.help) {
    await write(io.stdout, helpText(command));
    return 0;
  }
  const endpoint = command.everywhere === true ? undefined : chosenEndpoint(io.env);
  if (endpoint !== undefined && command.thisMachine === 'refuse') {
    throw new SlipwayError(
      'UNSUPPORTED',
      `slipway ${name} works on this machine, and ${endpoint.chosenBy} chooses ${endpoint.url}`,
      {
        hint: `Put SLIPWAY_ENDPOINT= SLIPWAY_CONTEXT=${embeddedName} before the command to use the home on this machine.`,
      },
    );
  }
  if (endpoint !== undefined && command.thisMachine === 'note') {
    await warn(io, `Note: this is about this machine; builds are done at ${endpoint.url} (${endpoint.chosenBy}).`);
  }
  const namespaced =
    command.namespace === undefined || endpoint !== undefined ? undefined : await inNamespace(command.namespace, io);
  if (namespaced !== undefined) return namespaced;
  let home: Promise<Home> | undefined;
  const openOnce = (): Promise<Home> => {
    home ??= import('../local/home.ts').then(({ openHome }) => openHome({ env: io.env, now: io.now }));
    return home;
  };
  let remote: Promise<Remote> | undefined;
  const remoteOnce = async (): Promise<Remote | undefined> => {
    if (endpoint === undefined) return undefined;
    remote ??= import('./remote.ts').then(({ Remote: Elsewhere }) => new Elsewhere(endpoint, { env: io.env, now: io.now }));
    return remote;
  };
  try {
    return await command.run({
      args: call.args,
      options: call.options,
      io,
      home: openOnce,
      remote: remoteOnce,
      async api() {
        const elsewhere = await remoteOnce();
        if (elsewhere === undefined) return new Api((await openOnce()).fetch, 'http://slipway', io.signal);
        return new Api((request, options) => elsewhere.fetch(request, options), elsewhere.endpoint.url, io.signal);
      },
    });
  } finally {
    const opened = await Promise.allSettled([home, remote]);
    const [here, there] = opened.map((one) => (one.status === 'fulfilled' ? one.value : undefined)) as [Home?, Remote?];
    there?.[Symbol.dispose]();
    await here?.[Symbol.asyncDispose]();
  }
}

const commandOf = (words: string): string | undefined =>
  Object.hasOwn(commands, words) ? words : Object.hasOwn(spellings, words) ? spellings[words] : undefined;

/** The exit code when the command was run in a user namespace instead; undefined when it is to go on here. */
async function inNamespace(need: 'required' | 'preferred', io: Io): Promise<number | undefined> {
  if (io.self === undefined || process.getuid?.() === 0) return undefined;
  const { enterUserNamespace, rootlessProblems, thisMachine } = await import('../shared/sandbox/rootless.ts');
  if (need === 'preferred' && rootlessProblems(thisMachine(io.env)).length > 0) return undefined;
  try {
    return await enterUserNamespace(io.self, io.env);
  } catch (error) {
    // Only `run` cannot do without, and what keeps its command from being tried is docker's 125.
    if (need === 'preferred' || !(error instanceof SlipwayError)) throw error;
    throw new SlipwayError('RUN_ENGINE', error.message, { cause: error, ...(error.hint && { hint: error.hint }) });
  }
}

function overview(): string {
  const all = Object.entries(commands).toSorted(([a], [b]) => (a < b ? -1 : 1));
  return `Usage:  slipway COMMAND

Builds container images from Dockerfiles and serves them from a registry, without a daemon

Commands:
${listing(all.map(([name, { summary }]) => [name, summary]))}

Run 'slipway COMMAND --help' for more information on a command.
Set SLIPWAY_HOME to choose where images and the build cache are kept, or SLIPWAY_ENDPOINT (or --context NAME, see 'slipway context')
to work with a home elsewhere.
`;
}

type Lines = readonly (readonly [name: string, summary: string])[];

function listing(lines: Lines): string {
  const width = Math.max(...lines.map(([name]) => name.length)) + 2;
  return lines.map(([name, summary]) => `  ${name.padEnd(width)}${summary}`).join('\n');
}

/** The commands whose first word is this one, in one of their spellings each; none, when it begins no command. */
function membersOf(group: string): Lines {
  const found = new Map<string, string>();
  for (const words of [...Object.keys(commands), ...Object.keys(spellings)]) {
    const means = spellings[words] ?? words;
    if (words.startsWith(`${group} `) && !found.has(means)) found.set(means, words.slice(group.length + 1));
  }
  return [...found]
    .map(([means, rest]) => [rest, commands[means]?.summary ?? ''] as const)
    .toSorted(([a], [b]) => (a < b ? -1 : 1));
}

const groupHelp = (group: string, inside: Lines): string => `Usage:  slipway ${group} COMMAND

Commands:
${listing(inside)}

Run 'slipway ${group} COMMAND --help' for more information on a command.
`;

function unknownCommand(first: string, second: string | undefined): string {
  const inside = membersOf(first).map(([name]) => name);
  if (inside.length > 0) {
    return second === undefined
      ? `slipway ${first} needs one of: ${inside.join(', ')}`
      : `unknown command: slipway ${first} ${second}; there ${inside.length === 1 ? 'is' : 'are'} ${inside.join(', ')}`;
  }
  const groups = ['volume', 'network'];
  const shown = groups.includes(first) && second !== undefined ? `${first} ${second}` : first;
  return `unknown command: slipway ${shown}`;
}

/** Prints what failed, where, and what to do; answers the exit code. */
async function report(error: unknown, io: Io): Promise<number> {
  if (error instanceof UsageError) {
    const of = error.command === '' ? '' : ` ${error.command}`;
    await warn(io, `${error.message}\n\nRun 'slipway${of} --help' for more information`);
    return error instanceof FlagError ? 125 : 1;
  }
  if (error instanceof SlipwayError) {
    if (error.code === 'CANCELLED') {
      await warn(io, 'Cancelled');
      return 130;
    }
    if (error.where !== undefined) {
      const { excerpt } = await import('./excerpt.ts');
      await warn(io, await excerpt(error.where, error.details?.source));
    }
    await warn(io, `Error: ${error.message}${error.hint === undefined ? '' : `\n  ${error.hint}`}`);
    if (error.code === 'INTERNAL' && io.env.SLIPWAY_DEBUG)
      await warn(io, String((error.cause instanceof Error ? error.cause : error).stack));
    return error.exit;
  }
  const errno = errnoOf(error);
  if (errno === 'ENOSPC') {
    await warn(
      io,
      'Error: no space left on device\n  Free some space, or choose another home with SLIPWAY_HOME; what was stored before is untouched.',
    );
    return 1;
  }
  await warn(io, `Error: ${error instanceof Error ? error.message : String(error)}`);
  if (io.env.SLIPWAY_DEBUG && error instanceof Error) await warn(io, String(error.stack));
  return 1;
}
