// Recognition of here-documents: which words of an instruction begin one, and how its delimiter is meant.
import type { SourceRange } from '../errors.ts';
import { readJsonForm } from './json-form.ts';
import { splitCommand } from './split-command.ts';
import { tryWords } from './words.ts';

export interface HeredocMark {
  readonly name: string;
  readonly expand: boolean;
  readonly chomp: boolean;
}

const shape = /^\d*<<(-?)[\t\n\f\r ]*([^<]*)$/;
const unset = (): undefined => undefined;

/** The here-document `word` announces, if it does: `<<EOF`, `<<-EOF`, `3<<"EOF"`. */
export function heredocMark(word: string, where: SourceRange): HeredocMark | undefined {
  const match = shape.exec(word);
  const rest = match?.[2];
  if (match === null || !rest) return undefined;
  const options = { lookup: unset, where, skipUnset: true };
  const words = tryWords(rest, options);
  if (words?.length !== 1) return undefined;
  const raw = tryWords(rest, { ...options, rawQuotes: true });
  const quotes = (text: string | undefined): number => text?.match(/['"]/g)?.length ?? 0;
  // a quote that was taken away means that some part of the delimiter was quoted: then the content is not expanded
  return { name: words[0]!, expand: quotes(words[0]) === quotes(raw?.[0]), chomp: match[1] === '-' };
}

const holders = new Set(['RUN', 'COPY', 'ADD']);

/** The here-documents an instruction's logical line announces, in order. */
export function heredocMarks(text: string, escapeChar: string, where: SourceRange): HeredocMark[] {
  if (!text.includes('<<')) return [];
  let command = splitCommand(text, escapeChar);
  if (command.keyword.toUpperCase() === 'ONBUILD') command = splitCommand(text, escapeChar, command.argsStart);
  if (!holders.has(command.keyword.toUpperCase())) return [];
  if (readJsonForm(text.slice(command.argsStart, command.argsEnd)).kind === 'json') return [];
  // escapes here are always backslashes, whatever the directive says, because the words are meant for sh
  const words = tryWords(text, { lookup: unset, where, rawQuotes: true, rawEscapes: true, skipUnset: true }) ?? [];
  return words.map((word) => heredocMark(word, where)).filter((mark) => mark !== undefined);
}

/** `<<-`: content without the tabs at the beginning of each line. */
export const chomp = (content: string): string => content.replace(/^\t+/gm, '');
