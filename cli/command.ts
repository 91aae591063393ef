// The frame of a command: its options, its help, its parsing. One command a file in commands/, each exporting `command`.
import { parseArgs } from 'node:util';
import type { Home } from '../local/home.ts';
import { SlipwayError } from '../shared/errors.ts';
import type { Api } from './api-client.ts';
import type { Io } from './io.ts';
import type { Remote } from './remote.ts';

export interface OptionSpec {
  readonly type: 'boolean' | 'string';
  readonly short?: string;
  /** May be given several times. */
  readonly multiple?: boolean;
  /** What the help calls the value, e.g. `string`, `list`, `NAME=VALUE`. */
  readonly value?: string;
  readonly help: string;
  /** Parsed, but not shown: other spellings of what is shown. */
  readonly hidden?: boolean;
}

export type Options = Readonly<Record<string, OptionSpec>>;

type ValueOf<O extends OptionSpec> = O extends { type: 'boolean' }
  ? boolean | undefined
  : O extends { multiple: true }
    ? readonly string[]
    : string | undefined;

export interface Call<O extends Options> {
  readonly args: readonly string[];
  readonly options: { readonly [K in keyof O]: ValueOf<O[K]> };
  readonly io: Io;
  /** The control API of the chosen home. In the embedded home this opens it (and closes it when the command ends). */
  readonly api: () => Promise<Api>;
  /** The embedded home itself, for what happens on this machine only (`run`, `serve`). */
  readonly home: () => Promise<Home>;
  /** The home elsewhere that was chosen; undefined when it is the one on this machine. */
  readonly remote: () => Promise<Remote | undefined>;
}

export interface Command<O extends Options = Options> {
  readonly name: string;
  /** One line, as in the list of commands. */
  readonly summary: string;
  /** After the name, e.g. `[OPTIONS] IMAGE [COMMAND] [ARG...]`. */
  readonly usage: string;
  /** What it does and what a newcomer should know: a few short paragraphs. */
  readonly description?: string;
  /** Command line and what it does. */
  readonly examples?: readonly (readonly [string, string])[];
  readonly options: O;
  readonly args: { readonly min: number; readonly max?: number };
  /** Options end at the first argument, as in `run IMAGE ls -l`. */
  readonly stopAtFirstArgument?: boolean;
  /**
   * The command unpacks layers or runs what is in them, which takes root or a user namespace with subordinate ids. An ordinary user's
   * command is started again in one: always (`required`), or when this machine allows it (`preferred`).
   */
  readonly namespace?: 'required' | 'preferred';
  /** What it does is about this machine, whichever home is chosen: it refuses to run for another, or says so (`note`). */
  readonly thisMachine?: 'refuse' | 'note';
  /** It uses no home, and works even when the choice of one is in error. */
  readonly everywhere?: true;
  /** The exit code; an error thrown is printed and mapped by main.ts. */
  readonly run: (call: Call<O>) => Promise<number>;
}

/** Keeps the option types for `run`. */
export function defineCommand<const O extends Options>(command: Command<O>): Command<O> {
  return command;
}

export class UsageError extends SlipwayError {
  readonly command: string;
  constructor(command: string, message: string) {
    super('USAGE', message);
    this.command = command;
  }
}

/** Docker's habit: flags may follow arguments; `--flag=false` is allowed; an unknown flag is named. */
export function parse<O extends Options>(
  command: Omit<Command<O>, 'run'>,
  argv: readonly string[],
): { args: string[]; options: Call<O>['options']; help: boolean } {
  const specs: Record<string, { type: 'boolean' | 'string'; short?: string; multiple?: boolean }> = {
    help: { type: 'boolean', short: 'h' },
  };
  for (const [name, spec] of Object.entries(command.options)) {
    specs[name] = {
      type: spec.type,
      ...(spec.short === undefined ? {} : { short: spec.short }),
      ...(spec.multiple ? { multiple: true } : {}),
    };
  }
  if (command.options.help?.short !== undefined || Object.values(command.options).some((o) => o.short === 'h'))
    delete specs.help?.short;

  let words = [...argv];
  let after: string[] = [];
  if (command.stopAtFirstArgument) {
    const at = firstArgument(words, specs);
    after = words.slice(at);
    words = words.slice(0, at);
  }
  const switchedOff = new Set<string>();
  words = words.filter((word, i) => {
    if (words.indexOf('--') !== -1 && i > words.indexOf('--')) return true;
    const match = /^--([a-z0-9-]+)=(true|false|1|0)$/.exec(word);
    if (match === null || specs[match[1] as string]?.type !== 'boolean') return true;
    if (match[2] === 'false' || match[2] === '0') {
      switchedOff.add(match[1] as string);
      return false;
    }
    return true;
  });
  words = words.map((word) =>
    word.replace(/^(--[a-z0-9-]+)=(true|1)$/, (all, flag: string) => (specs[flag.slice(2)]?.type === 'boolean' ? flag : all)),
  );

  let values: Record<string, unknown>;
  let positionals: string[];
  try {
    ({ values, positionals } = parseArgs({ args: words, options: specs, allowPositionals: true, strict: true }));
  } catch (error) {
    throw new UsageError(command.name, parseMessage(error));
  }
  for (const name of switchedOff) values[name] = false;
  for (const [name, spec] of Object.entries(command.options)) if (spec.multiple) values[name] ??= [];
  const args = [...positionals, ...after];
  const help = values.help === true;
  if (!help) checkCount(command, args);
  return { args, options: values as Call<O>['options'], help };
}

function firstArgument(words: readonly string[], specs: Record<string, { type: string; short?: string }>): number {
  const takesValue = (short: string) => Object.values(specs).some((s) => s.short === short && s.type === 'string');
  for (let i = 0; i < words.length; i++) {
    const word = words[i] as string;
    if (word === '--') return i + 1;
    if (!word.startsWith('-') || word === '-') return i;
    if (word.startsWith('--')) {
      if (!word.includes('=') && specs[word.slice(2)]?.type === 'string') i++;
      continue;
    }
    for (let j = 1; j < word.length; j++) {
      if (!takesValue(word[j] as string)) continue;
      if (j === word.length - 1) i++;
      break;
    }
  }
  return words.length;
}

function parseMessage(error: unknown): string {
  const text = error instanceof Error ? error.message : String(error);
  const unknown = /Unknown option '([^']+)'/.exec(text);
  if (unknown !== null)
    return (unknown[1] as string).startsWith('--')
      ? `unknown flag: ${unknown[1]}`
      : `unknown shorthand flag: '${(unknown[1] as string).slice(1)}'`;
  const missing = /Option '([^']+?)(?: <value>)?' argument missing/.exec(text);
  if (missing !== null) return `flag needs an argument: ${(missing[1] as string).split(', ').at(-1)}`;
  return text.split('\n')[0] as string;
}

function checkCount(command: Pick<Command<Options>, 'name' | 'args'>, args: readonly string[]): void {
  const { min, max } = command.args;
  if (args.length >= min && (max === undefined || args.length <= max)) return;
  const plural = (n: number) => (n === 1 ? 'argument' : 'arguments');
  const wants =
    max === undefined
      ? `at least ${min} ${plural(min)}`
      : min === max
        ? min === 0
          ? 'no arguments'
          : `${min} ${plural(min)}`
        : args.length < min
          ? `at least ${min} ${plural(min)}`
          : `at most ${max} ${plural(max)}`;
  throw new UsageError(command.name, `'slipway ${command.name}' ${min === 0 && max === 0 ? 'accepts' : 'requires'} ${wants}`);
}

export function helpText(command: Omit<Command<Options>, 'run'>): string {
  const lines = [`Usage:  slipway ${command.name} ${command.usage}`, '', command.summary];
  if (command.description !== undefined) lines.push('', command.description);
  if (command.examples !== undefined && command.examples.length > 0) {
    lines.push('', 'Examples:');
    for (const [line, what] of command.examples) lines.push(`  # ${what}`, `  ${line}`);
  }
  const shown = Object.entries(command.options)
    .filter(([, o]) => !o.hidden)
    .toSorted(([a], [b]) => (a < b ? -1 : 1));
  if (shown.length > 0) {
    const left = shown.map(
      ([name, o]) =>
        `  ${o.short === undefined ? '   ' : `-${o.short},`} --${name}${o.type === 'string' ? ` ${o.value ?? (o.multiple ? 'list' : 'string')}` : ''}`,
    );
    const width = Math.min(Math.max(...left.map((l) => l.length)) + 3, 36);
    lines.push('', 'Options:');
    shown.forEach(([, o], i) => {
      const head = left[i] as string;
      lines.push(head.length + 2 > width ? `${head}\n${' '.repeat(width)}${o.help}` : head.padEnd(width) + o.help);
    });
  }
  return `${lines.join('\n')}\n`;
}
