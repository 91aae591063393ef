// Logical lines and the way back from a character in one to its place in the file.
import type { SourceRange } from '../errors.ts';

/** A piece of text with its place; the text is as written, before expansion. */
export interface Word {
  readonly text: string;
  readonly where: SourceRange;
}

/** From `offset` on, characters of the logical line stand at `line`, `column` and onwards. */
export interface Segment {
  readonly offset: number;
  readonly line: number;
  readonly column: number;
}

/** A here-document attached to an instruction. */
export interface Heredoc {
  /** The delimiter, unquoted. */
  readonly name: string;
  /** False when the delimiter was quoted. */
  readonly expand: boolean;
  /** `<<-`: leading tabs of every line are dropped by whoever uses the content. */
  readonly chomp: boolean;
  /** As in the file, line ends kept. */
  readonly content: string;
}

/** One instruction's text with its continuation lines joined. */
export interface LogicalLine {
  readonly file: string;
  readonly text: string;
  readonly segments: readonly Segment[];
  readonly heredocs: readonly Heredoc[];
  /** Comment lines directly before it, without `#`. */
  readonly comments: readonly string[];
}

function positionOf(line: LogicalLine, offset: number): { line: number; column: number } {
  const { segments } = line;
  let low = 0;
  let high = segments.length - 1;
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (segments[middle]!.offset <= offset) low = middle;
    else high = middle - 1;
  }
  const at = segments[low]!;
  return { line: at.line, column: at.column + offset - at.offset };
}

/** The place of `text.slice(start, end)`. An empty slice has the place of the character it stands before. */
export const rangeOf = (line: LogicalLine, start = 0, end = line.text.length): SourceRange => ({
  file: line.file,
  start: positionOf(line, start),
  end: positionOf(line, Math.max(start, end - 1)),
});

/** Go's unicode.IsSpace, which decides what BuildKit trims. */
export function isSpace(ch: string): boolean {
  const code = ch.charCodeAt(0);
  if (code < 0x80) return code === 0x20 || (code >= 0x09 && code <= 0x0d);
  return /^[\u0085\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]$/.test(ch);
}

export function trimStartIndex(text: string, from = 0): number {
  let i = from;
  while (i < text.length && isSpace(text[i]!)) i++;
  return i;
}

export function trimEndIndex(text: string, from = 0, to = text.length): number {
  let i = to;
  while (i > from && isSpace(text[i - 1]!)) i--;
  return i;
}
