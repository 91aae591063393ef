// The ways an instruction's arguments are cut into words.
import type { SourceRange } from '../errors.ts';
import { parseError } from './failure.ts';
import type { CommandLine, Pair } from './instructions.ts';
import { jsonStringSpans, readJsonForm } from './json-form.ts';
import { isSpace, type LogicalLine, rangeOf, type Word } from './source.ts';

/** The arguments of one instruction: a part of a logical line. */
export interface Arguments {
  readonly line: LogicalLine;
  readonly start: number;
  readonly end: number;
  readonly text: string;
  readonly where: SourceRange;
  readonly escapeChar: string;
}

const wordAt = ({ line, start }: Arguments, from: number, to: number): Word => ({
  text: line.text.slice(start + from, start + to),
  where: rangeOf(line, start + from, start + to),
});

/** Cut at blanks, quotes notwithstanding. */
export function blankSeparated(args: Arguments): Word[] {
  const words: Word[] = [];
  for (const match of args.text.matchAll(/[^\t\v\f\r ]+/g)) words.push(wordAt(args, match.index, match.index + match[0].length));
  return words;
}

/** Cut at blanks outside quotes; quotes and escapes stay in the words. */
export function quotedWords(args: Arguments): Word[] {
  const { text, escapeChar } = args;
  const words: Word[] = [];
  let i = 0;
  for (;;) {
    while (i < text.length && isSpace(text[i]!)) i++;
    if (i >= text.length) return words;
    const from = i;
    let quote = '';
    for (; i < text.length; i++) {
      const ch = text[i]!;
      if (quote === '' && isSpace(ch)) break;
      if (ch === quote) quote = '';
      else if (quote === '' && (ch === "'" || ch === '"')) quote = ch;
      else if (ch === escapeChar && quote !== "'") i++;
    }
    i = Math.min(i, text.length);
    // an escape character at the very end of the line is dropped
    const dangling = i === text.length && danglingEscape(text.slice(from), escapeChar) ? 1 : 0;
    const word = wordAt(args, from, i - dangling);
    if (word.text !== '') words.push(word);
  }
}

function danglingEscape(word: string, escapeChar: string): boolean {
  let run = 0;
  while (word[word.length - 1 - run] === escapeChar) run++;
  return run % 2 === 1;
}

/** JSON array if it is one, else cut at blanks. `json` tells which. */
export function jsonOrBlankSeparated(args: Arguments): { words: Word[]; json: boolean } {
  const form = readJsonForm(args.text);
  if (form.kind === 'not-strings') throw notStrings(args);
  if (form.kind === 'not-json') return { words: blankSeparated(args), json: false };
  const spans = jsonStringSpans(args.text);
  const words = form.values.map((text, i) => ({
    text,
    where: rangeOf(args.line, args.start + spans[i]!.start, args.start + spans[i]!.end),
  }));
  return { words, json: true };
}

/** Exec form if the arguments are a JSON array, else the shell form. */
export function commandLine(args: Arguments): CommandLine {
  const form = readJsonForm(args.text);
  if (form.kind === 'not-strings') throw notStrings(args);
  return form.kind === 'json' ? { form: 'exec', args: form.values } : { form: 'shell', text: args.text };
}

const notStrings = (args: Arguments): Error =>
  parseError('when using JSON array syntax, arrays must be comprised of strings only', args.where);

/** `key=value ...`, or `key the rest` as ENV and LABEL once were written. */
export function pairs(args: Arguments, keyword: string): Pair[] {
  const words = quotedWords(args);
  const [first] = words;
  if (first === undefined) throw parseError(`${keyword} requires at least one argument`, args.where);
  if (!first.text.includes('=')) {
    const match = /^([^\t\v\f\r ]+)[\t\v\f\r ]+(.+)$/s.exec(args.text);
    if (match === null) throw parseError(`${keyword} must have two arguments`, args.where);
    return [{ key: match[1]!, value: match[2]!, legacy: true, where: args.where }];
  }
  return words.map(({ text, where }) => {
    const equals = text.indexOf('=');
    if (equals < 0)
      throw parseError(`Syntax error - can't find = in ${JSON.stringify(text)}. Must be of the form: name=value`, where);
    if (equals === 0) throw parseError(`${keyword} names can not be blank`, where);
    return { key: text.slice(0, equals), value: text.slice(equals + 1), legacy: false, where };
  });
}
