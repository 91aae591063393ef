// One logical line to one typed instruction.
import type { SourceRange } from '../errors.ts';
import type { Healthcheck } from '../oci/config.ts';
import { type Arguments, blankSeparated, commandLine, jsonOrBlankSeparated, pairs, quotedWords } from './arguments.ts';
import { formatDuration, parseDuration } from './duration.ts';
import { parseError } from './failure.ts';
import { type FlagKind, type Flags, readFlags } from './flags.ts';
import { chomp, heredocMark } from './heredoc.ts';
import type { ArgDefinition, Copy, From, InlineFile, Instruction, Keyword, Run, StageInstruction } from './instructions.ts';
import { keywords } from './instructions.ts';
import { type LogicalLine, rangeOf, type Word } from './source.ts';
import { type SplitCommand, splitCommand } from './split-command.ts';
import { didYouMean } from './suggest.ts';

interface Request {
  readonly line: LogicalLine;
  readonly escapeChar: string;
  readonly command: SplitCommand;
  readonly keyword: Keyword;
  readonly args: Arguments;
  readonly common: { keyword: string; where: SourceRange; source: string; comments: readonly string[] };
}

type Reader = (request: Request) => Instruction;

/** @throws SlipwayError DOCKERFILE at the instruction or the word in it. */
export function parseInstruction(line: LogicalLine, escapeChar: string): Instruction {
  const command = splitCommand(line.text, escapeChar);
  const where = rangeOf(line, command.keywordStart, command.argsEnd);
  const source = line.text.slice(command.keywordStart, command.argsEnd);
  return dispatch(line, escapeChar, command, { keyword: command.keyword, where, source, comments: line.comments });
}

function dispatch(line: LogicalLine, escapeChar: string, command: SplitCommand, common: Request['common']): Instruction {
  const upper = command.keyword.toUpperCase();
  const keyword = keywords.find((known) => known === upper);
  const keywordEnd = command.keywordStart + command.keyword.length;
  if (keyword === undefined)
    throw parseError(
      `unknown instruction: ${command.keyword.slice(0, 80)}${didYouMean(command.keyword, keywords, false)}`,
      rangeOf(line, command.keywordStart, keywordEnd),
    );
  const start = Math.min(command.argsStart, command.argsEnd);
  const args: Arguments = {
    line,
    start,
    end: command.argsEnd,
    text: line.text.slice(start, command.argsEnd),
    where: start < command.argsEnd ? rangeOf(line, start, command.argsEnd) : common.where,
    escapeChar,
  };
  return readers[keyword]({ line, escapeChar, command, keyword, args, common });
}

const flagsOf = ({ line, command }: Request, known: Readonly<Record<string, FlagKind>> = {}): Flags =>
  readFlags(line, command.flags, known);

const atLeastOne = ({ keyword, args }: Request): Error => parseError(`${keyword} requires at least one argument`, args.where);

function from(request: Request): From {
  const flags = flagsOf(request, { platform: 'string' });
  const words = blankSeparated(request.args);
  const [image, as, name] = words;
  const platform = flags.word('platform');
  const base = { ...request.common, kind: 'from' as const, ...(platform && { platform }) };
  if (image !== undefined && words.length === 1) return { ...base, image };
  if (image === undefined || name === undefined || words.length !== 3 || as?.text.toLowerCase() !== 'as')
    throw parseError('FROM requires either one or three arguments', request.args.where, 'FROM image [AS name]');
  const lower = name.text.toLowerCase();
  if (!/^[a-z][a-z0-9-_.]*$/.test(lower))
    throw parseError(
      `invalid name for build stage: ${JSON.stringify(name.text)}, name can't start with a number or contain symbols`,
      name.where,
    );
  return { ...base, image, name: lower, as: { keyword: as.text, name } };
}

const networks = ['default', 'none', 'host'] as const;

function run(request: Request): Run {
  const flags = flagsOf(request, { mount: 'strings', network: 'string', security: 'string', device: 'strings' });
  const word = flags.word('network');
  const network = word === undefined ? 'default' : networks.find((mode) => mode === word.text);
  if (network === undefined) throw parseError(`invalid network mode ${JSON.stringify(word?.text)}`, word!.where);
  const command = commandLine(request.args);
  if (command.form === 'exec' ? command.args.length === 0 : command.text === '') throw atLeastOne(request);
  const refused = [...mounts(flags), ...named(flags, 'security'), ...named(flags, 'device')];
  return { ...request.common, kind: 'run', command, heredocs: request.line.heredocs, network, refused };
}

/** The flag's name as the text, for a refusal by name. */
const named = (flags: Flags, name: string): Word[] => flags.words(name).map(({ where }) => ({ text: `--${name}`, where }));

/** With its type, which decides what to do without it. */
const mounts = (flags: Flags): Word[] =>
  flags.words('mount').map(({ text, where }) => {
    const type = /(?:^|,)\s*type=([a-z]+)/i.exec(text)?.[1] ?? 'bind';
    return { text: `--mount=type=${type.toLowerCase()}`, where };
  });

function copy(request: Request): Copy {
  const isAdd = request.keyword === 'ADD';
  const { words } = jsonOrBlankSeparated(request.args);
  const destination = words.at(-1);
  if (destination === undefined || words.length < 2)
    throw parseError(
      `${request.keyword} requires at least two arguments, but only one was provided. Destination could not be determined`,
      request.args.where,
    );
  const flags = flagsOf(request, {
    chown: 'string',
    chmod: 'string',
    link: 'bool',
    exclude: 'strings',
    ...(isAdd ? { 'keep-git-dir': 'bool', checksum: 'string', unpack: 'bool' } : { from: 'string', parents: 'bool' }),
  });
  if (heredocMark(destination.text, destination.where))
    throw parseError(`${request.keyword} cannot accept a heredoc as a destination`, destination.where);
  const sources: Word[] = [];
  const inline: InlineFile[] = [];
  const docs = new Map(request.line.heredocs.map((doc) => [doc.name, doc]));
  for (const word of words.slice(0, -1)) {
    const mark = docs.size === 0 ? undefined : heredocMark(word.text, word.where);
    const doc = mark && docs.get(mark.name);
    if (mark === undefined || doc === undefined) sources.push(word);
    else {
      const content = mark.chomp ? chomp(doc.content) : doc.content;
      inline.push({ name: mark.name, content, expand: mark.expand, where: word.where });
    }
  }
  const optional = (name: string): Word | undefined => (flags.word(name)?.text ? flags.word(name) : undefined);
  const [fromWord, chown, chmod, checksum] = [optional('from'), optional('chown'), optional('chmod'), optional('checksum')];
  const unpack = flags.bool('unpack');
  return {
    ...request.common,
    kind: isAdd ? 'add' : 'copy',
    sources,
    inline,
    destination,
    ...(fromWord && { from: fromWord }),
    ...(chown && { chown }),
    ...(chmod && { chmod }),
    ...(checksum && { checksum }),
    ...(unpack !== undefined && { unpack }),
    exclude: flags.words('exclude'),
    link: flags.bool('link') ?? false,
    refused: [...(flags.bool('parents') ? named(flags, 'parents') : []), ...named(flags, 'keep-git-dir')],
  };
}

function command(request: Request): Instruction {
  flagsOf(request);
  const kind = request.keyword === 'CMD' ? 'cmd' : 'entrypoint';
  return { ...request.common, kind, command: commandLine(request.args) };
}

function keyValues(request: Request): Instruction {
  flagsOf(request);
  const kind = request.keyword === 'ENV' ? 'env' : 'label';
  return { ...request.common, kind, pairs: pairs(request.args, request.keyword) };
}

function expose(request: Request): Instruction {
  flagsOf(request);
  const words = blankSeparated(request.args);
  if (words.length === 0) throw atLeastOne(request);
  // BuildKit sorts them, and so the history shows them
  const byText = (a: Word, b: Word): number => (a.text < b.text ? -1 : a.text > b.text ? 1 : 0);
  return { ...request.common, kind: 'expose', words: words.sort(byText) };
}

function volume(request: Request): Instruction {
  flagsOf(request);
  const { words } = jsonOrBlankSeparated(request.args);
  if (words.length === 0) throw atLeastOne(request);
  const trimmed = words.map(({ text, where }) => ({ text: text.trim(), where }));
  const blank = trimmed.find(({ text }) => text === '');
  if (blank) throw parseError('VOLUME specified can not be an empty string', blank.where);
  return { ...request.common, kind: 'volume', words: trimmed };
}

const oneWord =
  (kind: 'user' | 'workdir' | 'stopsignal' | 'maintainer'): Reader =>
  (request) => {
    flagsOf(request);
    const { text, where } = request.args;
    if (text === '') throw parseError(`${request.keyword} requires exactly one argument`, where);
    return { ...request.common, kind, word: { text, where } };
  };

function arg(request: Request): Instruction {
  flagsOf(request);
  const words = quotedWords(request.args);
  if (words.length === 0) throw atLeastOne(request);
  const args = words.map(({ text, where }): ArgDefinition => {
    const equals = text.indexOf('=');
    if (equals < 0) return { name: text, where };
    if (equals === 0) throw parseError('ARG names can not be blank', where);
    return { name: text.slice(0, equals), value: text.slice(equals + 1), where };
  });
  return { ...request.common, kind: 'arg', args };
}

function onbuild(request: Request): Instruction {
  flagsOf(request);
  const { line, escapeChar, args } = request;
  if (args.text === '') throw atLeastOne(request);
  const inner = splitCommand(line.text, escapeChar, args.start);
  const keyword = inner.keyword.toUpperCase();
  const where = rangeOf(line, inner.keywordStart, inner.keywordStart + inner.keyword.length);
  if (keyword === 'ONBUILD') throw parseError("Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed", where);
  if (keyword === 'FROM' || keyword === 'MAINTAINER') throw parseError(`${keyword} isn't allowed as an ONBUILD trigger`, where);
  // what cannot be read now could not be read when the trigger fires
  dispatch(line, escapeChar, inner, { ...request.common, keyword: inner.keyword });
  const bodies = line.heredocs.map(({ name, content }) => `\n${content}${name}`);
  return { ...request.common, kind: 'onbuild', trigger: args.text + bodies.join('') };
}

const healthFlags = { interval: 'string', timeout: 'string', 'start-period': 'string', 'start-interval': 'string' } as const;
const healthMembers = {
  interval: 'Interval',
  timeout: 'Timeout',
  'start-period': 'StartPeriod',
  'start-interval': 'StartInterval',
} as const;

function healthcheck(request: Request): Instruction {
  const { args } = request;
  const [type] = blankSeparated(args);
  if (type === undefined) throw atLeastOne(request);
  const kind = 'healthcheck';
  if (type.text.toUpperCase() === 'NONE') {
    flagsOf(request);
    if (type.text !== args.text) throw parseError('HEALTHCHECK NONE takes no arguments', args.where);
    return { ...request.common, kind, healthcheck: { Test: ['NONE'] } };
  }
  const flags = flagsOf(request, { ...healthFlags, retries: 'string' });
  if (type.text.toUpperCase() !== 'CMD')
    throw parseError(`Unknown type ${JSON.stringify(type.text.toUpperCase())} in HEALTHCHECK (try CMD)`, type.where);
  const rest = args.text.slice(type.text.length).trimStart();
  const test = commandLine({ ...args, start: args.end - rest.length, text: rest });
  const words = test.form === 'exec' ? ['CMD', ...test.args] : ['CMD-SHELL', test.text];
  if (words.length < 2 || rest === '') throw parseError('Missing command after HEALTHCHECK CMD', args.where);
  const result: { -readonly [K in keyof Healthcheck]: Healthcheck[K] } = { Test: words };
  for (const name of Object.keys(healthFlags) as (keyof typeof healthFlags)[]) {
    const nanoseconds = interval(name, flags.word(name));
    if (nanoseconds !== 0) result[healthMembers[name]] = nanoseconds;
  }
  const retries = flags.word('retries');
  if (retries?.text) {
    const count = Number(retries.text);
    if (!/^[-+]?\d+$/.test(retries.text) || Math.abs(count) > 2 ** 31 - 1)
      throw parseError(`--retries must be a whole number, not ${JSON.stringify(retries.text)}`, retries.where);
    if (count < 0) throw parseError(`--retries cannot be negative (${count})`, retries.where);
    if (count > 0) result.Retries = count;
  }
  return { ...request.common, kind, healthcheck: result };
}

function interval(name: string, word: Word | undefined): number {
  if (!word?.text) return 0;
  const nanoseconds = parseDuration(word.text);
  if (nanoseconds === undefined)
    throw parseError(
      `invalid duration ${JSON.stringify(word.text)} for --${name}`,
      word.where,
      'write it as 30s, 1m30s or 500ms',
    );
  if (nanoseconds !== 0 && nanoseconds < 1e6)
    throw parseError(`Interval ${JSON.stringify(name)} cannot be less than ${formatDuration(1e6)}`, word.where);
  return nanoseconds;
}

function shell(request: Request): Instruction {
  flagsOf(request);
  const line = commandLine(request.args);
  if (request.args.text === '' || (line.form === 'exec' && line.args.length === 0)) throw atLeastOne(request);
  if (line.form === 'shell')
    throw parseError('SHELL requires the arguments to be in JSON form', request.args.where, 'SHELL ["/bin/bash", "-c"]');
  return { ...request.common, kind: 'shell', shell: line.args };
}

const readers: Readonly<Record<Keyword, Reader>> = {
  ADD: copy,
  ARG: arg,
  CMD: command,
  COPY: copy,
  ENTRYPOINT: command,
  ENV: keyValues,
  EXPOSE: expose,
  FROM: from,
  HEALTHCHECK: healthcheck,
  LABEL: keyValues,
  MAINTAINER: oneWord('maintainer'),
  ONBUILD: onbuild,
  RUN: run,
  SHELL: shell,
  STOPSIGNAL: oneWord('stopsignal'),
  USER: oneWord('user'),
  VOLUME: volume,
  WORKDIR: oneWord('workdir'),
};

/** Tells FROM from what may stand in a stage. */
export const isFrom = (instruction: Instruction): instruction is From => instruction.kind === 'from';
export const inStage = (instruction: Instruction): instruction is StageInstruction => instruction.kind !== 'from';
