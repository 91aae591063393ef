// The frame of a command: its options, its help, its parsing. One command a file in commands/, each exporting `command`.
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
  /** An empty value says something, or is a mistake to be told of. Otherwise it means that the flag was not given, as with docker. */
  readonly keepsEmpty?: true;
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

/** A flag that is unknown, has no value, or has one it cannot have: docker's exit code 125. */
export class FlagError extends UsageError {}

interface Flag {
  readonly type: 'boolean' | 'string';
  readonly short?: string;
  readonly multiple?: boolean;
  readonly keepsEmpty?: true;
}

/**
 * As docker reads its flags (Go's pflag): they may follow arguments, `--flag=value`, `--flag value`, `-f value`, `-fvalue` and `-abf value` are
 * one, the word after a flag that takes a value is its value whatever it begins with, a boolean may be `--flag=false`, and `--` ends them. Scripts give flags
 * from variables that may be empty: `--target "$TARGET"`.
 */
export function parse<O extends Options>(
  command: Omit<Command<O>, 'run'>,
  argv: readonly string[],
): { args: string[]; options: Call<O>['options']; help: boolean } {
  const shortHelp = Object.values(command.options).some((option) => option.short === 'h') ? {} : { short: 'h' };
  const flags = new Map<string, Flag>([['help', { type: 'boolean', ...shortHelp }], ...Object.entries(command.options)]);
  const values: Record<string, unknown> = {};
  for (const [name, { multiple }] of flags) if (multiple) values[name] = [];
  const args: string[] = [];
  const refuse = (message: string): never => {
    throw new FlagError(command.name, message);
  };
  const set = (name: string, flag: Flag, value: string): void => {
    if (flag.type === 'boolean') {
      const spelled = `${flag.short === undefined ? '' : `-${flag.short}, `}--${name}`;
      values[name] = truth.get(value) ?? refuse(`invalid argument "${value}" for "${spelled}" flag: true or false is expected`);
    } else if (flag.multiple) (values[name] as string[]).push(value);
    else if (value === '' && !flag.keepsEmpty) delete values[name];
    else values[name] = value;
  };
  const words = [...argv];
  for (let word = words.shift(); word !== undefined; word = words.shift()) {
    const next = (flag: string): string => words.shift() ?? refuse(`flag needs an argument: ${flag}`);
    if (word === '--') {
      args.push(...words.splice(0));
    } else if (word.startsWith('--')) {
      const [, spelled = '', value] = /^(--[^=]*)(?:=(.*))?$/s.exec(word) ?? [];
      const name = spelled.slice(2);
      const flag = flags.get(name) ?? refuse(`unknown flag: ${spelled}`);
      set(name, flag, value ?? (flag.type === 'boolean' ? 'true' : next(spelled)));
    } else if (word.startsWith('-') && word !== '-') {
      for (let rest = word.slice(1); rest !== ''; ) {
        const letter = rest.slice(0, 1);
        rest = rest.slice(1);
        const [name, flag] =
          [...flags].find(([, { short }]) => short === letter) ?? refuse(`unknown shorthand flag: '${letter}' in ${word}`);
        if (flag.type === 'boolean' && !rest.startsWith('=')) {
          set(name, flag, 'true');
          continue;
        }
        set(name, flag, rest === '' ? next(`'${letter}' in ${word}`) : rest.replace(/^=/, ''));
        rest = '';
      }
    } else {
      args.push(word);
      if (command.stopAtFirstArgument) args.push(...words.splice(0));
    }
  }
  const help = values.help === true;
  if (!help) checkCount(command, args);
  return { args, options: values as Call<O>['options'], help };
}

const truth: ReadonlyMap<string, boolean> = new Map([
  ...['1', 't', 'T', 'TRUE', 'true', 'True'].map((word) => [word, true] as const),
  ...['0', 'f', 'F', 'FALSE', 'false', 'False'].map((word) => [word, false] as const),
]);

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
