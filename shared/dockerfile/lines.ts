// A Dockerfile's text cut into logical lines: directives, comments, continuation lines, here-documents.
import { SlipwayError, type SourceRange } from '../errors.ts';
import { dockerfileError, parseError } from './failure.ts';
import { heredocMarks } from './heredoc.ts';
import { type Heredoc, type LogicalLine, rangeOf, type Segment, trimStartIndex } from './source.ts';

/** Bytes a Dockerfile may have: far more than any real one, little enough to parse in memory. */
export const maxDockerfileBytes = 4 * 1024 * 1024;

export interface Directive {
  readonly name: 'syntax' | 'escape' | 'check';
  readonly value: string;
  readonly where: SourceRange;
}

export interface Lines {
  readonly directives: readonly Directive[];
  readonly escapeChar: '\\' | '`';
  readonly lines: readonly LogicalLine[];
  /** Where an empty line stands inside a continued instruction. */
  readonly emptyContinuations: readonly SourceRange[];
}

const directiveShape = /^#\s*([a-zA-Z][a-zA-Z0-9]*)\s*=\s*(.+)$/s;
const directiveNames: readonly string[] = ['syntax', 'escape', 'check'] satisfies Directive['name'][];

/** @throws SlipwayError TOO_LARGE over `maxDockerfileBytes`, DOCKERFILE for everything else. */
export function readLines(file: string, text: string): Lines {
  const bytes = Buffer.byteLength(text);
  if (bytes > maxDockerfileBytes)
    throw new SlipwayError('TOO_LARGE', `${file} has ${bytes} bytes; a Dockerfile may have ${maxDockerfileBytes}`, {
      hint: 'COPY large content from the context instead of writing it into the Dockerfile',
    });
  return new Reader(file, text).read();
}

class Reader {
  readonly #file: string;
  readonly #physical: readonly string[];
  readonly #directives: Directive[] = [];
  readonly #empty: SourceRange[] = [];
  #directivesOver = false;
  #escapeChar: '\\' | '`' = '\\';
  /** Index of the next physical line. */
  #at = 0;

  constructor(file: string, text: string) {
    this.#file = file;
    const clean = text.startsWith('\ufeff') ? text.slice(1) : text;
    this.#physical = clean.split('\n');
    const nul = this.#physical.findIndex((line) => line.includes('\0'));
    if (nul >= 0) throw parseError('the file has a NUL byte', this.#wholeLine(nul), 'is this really a Dockerfile, in UTF-8?');
  }

  read(): Lines {
    const lines: LogicalLine[] = [];
    let comments: string[] = [];
    while (this.#at < this.#physical.length) {
      const index = this.#at++;
      const line = this.#line(index);
      const begin = trimStartIndex(line);
      if (line[begin] === '#') {
        const comment = line.slice(begin + 1).trim();
        if (this.#directive(line.slice(begin), index, begin)) continue;
        if (comment === '') comments = [];
        else comments.push(comment);
        continue;
      }
      this.#directivesOver = true;
      if (begin === line.length) continue;
      lines.push(this.#logical(index, begin, comments));
      comments = [];
    }
    return { directives: this.#directives, escapeChar: this.#escapeChar, lines, emptyContinuations: this.#empty };
  }

  /** A physical line without its line end. */
  #line(index: number): string {
    const line = this.#physical[index]!;
    let end = line.length;
    while (line[end - 1] === '\r') end--;
    return line.slice(0, end);
  }

  #wholeLine(index: number): SourceRange {
    const length = Math.max(1, this.#physical[index]?.length ?? 1);
    return { file: this.#file, start: { line: index + 1, column: 1 }, end: { line: index + 1, column: length } };
  }

  #directive(text: string, index: number, begin: number): boolean {
    if (this.#directivesOver) return false;
    const match = directiveShape.exec(text);
    const name = match?.[1]?.toLowerCase() ?? '';
    if (match === null || !directiveNames.includes(name)) {
      this.#directivesOver = true;
      return false;
    }
    const where = {
      file: this.#file,
      start: { line: index + 1, column: begin + 1 },
      end: { line: index + 1, column: begin + text.trimEnd().length },
    };
    if (this.#directives.some((directive) => directive.name === name))
      throw dockerfileError(`only one ${name} parser directive can be used`, where);
    const value = match[2]!.trim();
    if (name === 'escape') {
      if (value !== '`' && value !== '\\')
        throw dockerfileError(`invalid escape token '${value}' does not match \` or \\`, where);
      this.#escapeChar = value;
    }
    this.#directives.push({ name: name as Directive['name'], value, where });
    return true;
  }

  /** `line` without a continuation mark at its end, or undefined when it has none. */
  #continued(line: string): string | undefined {
    let end = line.length;
    while (end > 0 && (line[end - 1] === ' ' || line[end - 1] === '\t')) end--;
    if (line[end - 1] !== this.#escapeChar) return undefined;
    // an escaped escape character is no continuation
    return end > 1 && line[end - 2] === this.#escapeChar ? undefined : line.slice(0, end - 1);
  }

  #logical(index: number, begin: number, comments: readonly string[]): LogicalLine {
    const segments: Segment[] = [{ offset: 0, line: index + 1, column: begin + 1 }];
    const first = this.#line(index).slice(begin);
    let more = this.#continued(first);
    const parts = [more ?? first];
    let length = parts[0]!.length;
    let empty: SourceRange | undefined;
    while (more !== undefined && this.#at < this.#physical.length) {
      const at = this.#at++;
      const line = this.#line(at);
      const start = trimStartIndex(line);
      if (line[start] === '#') continue;
      if (start === line.length) {
        // what follows the last line end is no line
        if (at < this.#physical.length - 1) empty ??= this.#wholeLine(at);
        continue;
      }
      more = this.#continued(line);
      segments.push({ offset: length, line: at + 1, column: 1 });
      parts.push(more ?? line);
      length += parts.at(-1)!.length;
    }
    if (empty !== undefined) this.#empty.push(empty);
    const bare = { file: this.#file, text: parts.join(''), segments, heredocs: [], comments };
    return { ...bare, heredocs: this.#heredocs(bare) };
  }

  #heredocs(line: LogicalLine): Heredoc[] {
    if (!line.text.includes('<<')) return [];
    return heredocMarks(line.text, this.#escapeChar, rangeOf(line)).map((mark) => {
      const from = this.#at;
      for (; this.#at < this.#physical.length; this.#at++) {
        const text = this.#line(this.#at);
        if ((mark.chomp ? text.replace(/^\t+/, '') : text) !== mark.name) continue;
        const content = this.#physical.slice(from, this.#at).map((body) => `${body}\n`);
        this.#at++;
        return { ...mark, content: content.join('') };
      }
      throw parseError(
        'unterminated heredoc',
        rangeOf(line),
        `no line consists of ${mark.name} alone; if << is not meant to begin a here-document, quote it`,
      );
    });
  }
}
