// Expansion of one word: `$x ${x} ${x:-d} ${x-d} ${x:+w} ${x+w} ${x:?e} ${x?e} ${x#p} ${x##p} ${x%p} ${x%%p} ${x/p/r} ${x//p/r}`, quotes and
// the escape character. The rules are those of BuildKit's frontend/dockerfile/shell, which differ from sh in places.
import { isCode, SlipwayError, type SourceRange } from '../errors.ts';
import { shown } from './failure.ts';
import { PatternError, replacePattern, trimPrefix, trimSuffix } from './pattern.ts';
import { isSpace } from './source.ts';

/** The value of a variable, or undefined when it is not set. */
export type Lookup = (name: string) => string | undefined;

export interface ExpandOptions {
  readonly lookup: Lookup;
  /** Default `\`. */
  readonly escapeChar?: string;
  /** Where the word stands, for errors. */
  readonly where: SourceRange;
  /** Keep quotes in the result. */
  readonly rawQuotes?: boolean;
  /** Keep escape characters in the result. */
  readonly rawEscapes?: boolean;
  /** Quotes are ordinary characters (the body of a here-document). */
  readonly skipQuotes?: boolean;
  /** Leave `$name` as it is when the variable is not set. */
  readonly skipUnset?: boolean;
}

export interface Expanded {
  readonly text: string;
  /** The result split at unquoted blanks, blanks that came out of variables included. */
  readonly words: readonly string[];
  readonly matched: ReadonlySet<string>;
  readonly unmatched: ReadonlySet<string>;
}

/** Characters in one expanded word. Doubling variables reach it fast; nothing sensible does. */
export const maxExpanded = 1024 * 1024;
const maxDepth = 64;

const specialParameters = new Set(['@', '*', '#', '?', '-', '$', '!', '0']);
/** ASCII first: to compile a class of Unicode takes longer than to plan a Dockerfile. */
const inName = (ch: string): boolean => /^\w$/.test(ch) || (ch > '\u007f' && /^[\p{L}\p{Nd}]$/u.test(ch));
const isDigit = (ch: string): boolean => /^\d$/.test(ch) || (ch > '\u007f' && /^\p{Nd}$/u.test(ch));

class Problem extends Error {}

/**
 * Expands `source`.
 * @throws SlipwayError DOCKERFILE at `where`: unbalanced quotes or braces, an unsupported modifier, `${x:?}` of an unset variable.
 */
export function expand(source: string, options: ExpandOptions): Expanded {
  if (/^[\w./:@,+=-]*$/.test(source))
    return { text: source, words: source === '' ? [] : [source], matched: none, unmatched: none };
  try {
    return new Expansion(source, options).all();
  } catch (error) {
    if (!(error instanceof Problem)) throw error;
    throw new SlipwayError('DOCKERFILE', `failed to process ${JSON.stringify(shown(source))}: ${error.message}`, {
      where: options.where,
    });
  }
}

const none: ReadonlySet<string> = new Set();

class Output {
  text = '';
  readonly words: string[] = [];
  #word = '';

  /** Quoted or escaped: never splits. */
  raw(text: string): void {
    this.text += text;
    this.#word += text;
    if (this.text.length > maxExpanded) throw new Problem(`the result is longer than ${maxExpanded} characters`);
  }

  /** Splits words at blanks. */
  plain(text: string): void {
    this.text += text;
    if (this.text.length > maxExpanded) throw new Problem(`the result is longer than ${maxExpanded} characters`);
    for (const ch of text) {
      if (isSpace(ch)) this.endWord();
      else this.#word += ch;
    }
  }

  endWord(): void {
    if (this.#word !== '') this.words.push(this.#word);
    this.#word = '';
  }
}

class Expansion {
  readonly #source: string;
  readonly #options: ExpandOptions;
  readonly #escapeChar: string;
  readonly #matched = new Set<string>();
  readonly #unmatched = new Set<string>();
  #at = 0;
  #depth = 0;

  constructor(source: string, options: ExpandOptions) {
    this.#source = source;
    this.#options = options;
    this.#escapeChar = options.escapeChar ?? '\\';
  }

  all(): Expanded {
    const out = this.#until('', this.#options.rawEscapes ?? false);
    return { text: out.text, words: out.words, matched: this.#matched, unmatched: this.#unmatched };
  }

  /** The character (code point) at the cursor; '' at the end. */
  #peek(): string {
    const code = this.#source.codePointAt(this.#at);
    return code === undefined ? '' : String.fromCodePoint(code);
  }

  #next(): string {
    const ch = this.#peek();
    this.#at += ch.length;
    return ch;
  }

  /** Everything up to `stop` (consumed), or to the end for ''. */
  #until(stop: string, rawEscapes: boolean): Output {
    if (++this.#depth > maxDepth) throw new Problem(`substitutions nested deeper than ${maxDepth}`);
    const out = new Output();
    const quotes = !this.#options.skipQuotes;
    for (let ch = this.#peek(); ch !== ''; ch = this.#peek()) {
      if (ch === stop) {
        this.#at++;
        out.endWord();
        this.#depth--;
        return out;
      }
      if (ch === '$') out.plain(this.#dollar());
      else if (ch === "'" && quotes) out.raw(this.#singleQuoted());
      else if (ch === '"' && quotes) out.raw(this.#doubleQuoted(rawEscapes));
      else if (ch === '<') out.raw(this.#less());
      else if (ch === this.#escapeChar) {
        this.#at++;
        if (rawEscapes) out.raw(ch);
        // an escape character at the very end is dropped
        out.raw(this.#next());
      } else out.plain(this.#next());
    }
    if (stop !== '') throw new Problem(`unexpected end of statement while looking for matching ${stop}`);
    out.endWord();
    this.#depth--;
    return out;
  }

  #singleQuoted(): string {
    const close = this.#source.indexOf("'", this.#at + 1);
    if (close < 0) throw new Problem('unexpected end of statement while looking for matching single-quote');
    const from = this.#at;
    this.#at = close + 1;
    return this.#options.rawQuotes ? this.#source.slice(from, close + 1) : this.#source.slice(from + 1, close);
  }

  #doubleQuoted(rawEscapes: boolean): string {
    const mark = this.#options.rawQuotes ? '"' : '';
    const out = new Output();
    this.#at++;
    out.raw(mark);
    for (;;) {
      const ch = this.#peek();
      if (ch === '') throw new Problem('unexpected end of statement while looking for matching double-quote');
      if (ch === '"') {
        this.#at++;
        return out.text + mark;
      }
      if (ch === '$') {
        out.raw(this.#dollar());
        continue;
      }
      this.#at += ch.length;
      if (ch !== this.#escapeChar) {
        out.raw(ch);
        continue;
      }
      if (rawEscapes) out.raw(ch);
      const after = this.#peek();
      // only these can be escaped inside double quotes; before all else the escape character stays
      if (after === '"' || after === '$' || after === this.#escapeChar) out.raw(this.#next());
      else if (after !== '') out.raw(ch);
    }
  }

  /** `<<  word` is one word, so that a here-document may have blanks before its delimiter. */
  #less(): string {
    const from = this.#at++;
    if (this.#peek() !== '<') return '<';
    this.#at++;
    while (' \t\r'.includes(this.#peek()) && this.#peek() !== '') this.#at++;
    return this.#source.slice(from, this.#at);
  }

  #name(): string {
    const first = this.#peek();
    const from = this.#at;
    if (isDigit(first)) {
      while (isDigit(this.#peek())) this.#next();
    } else if (specialParameters.has(first)) this.#at++;
    else while (inName(this.#peek())) this.#next();
    return this.#source.slice(from, this.#at);
  }

  #value(name: string): string | undefined {
    const value = this.#options.lookup(name);
    (value === undefined ? this.#unmatched : this.#matched).add(name);
    return value;
  }

  #dollar(): string {
    this.#at++;
    if (this.#peek() !== '{') {
      const name = this.#name();
      if (name === '') return '$';
      return this.#value(name) ?? (this.#options.skipUnset ? `$${name}` : '');
    }
    const from = this.#at - 1;
    this.#at++;
    const first = this.#peek();
    if (first === '') throw new Problem("syntax error: missing '}'");
    if (first === '{' || first === '}' || first === ':') throw new Problem('syntax error: bad substitution');
    const name = this.#name();
    const modifier = this.#next();
    if (modifier === '') throw new Problem("syntax error: missing '}'");
    const result = modifier === '}' ? this.#value(name) : modifier === '/' ? this.#replace(name) : this.#modified(name, modifier);
    if (result !== undefined) return result;
    return this.#options.skipUnset ? this.#source.slice(from, this.#at) : '';
  }

  /** The word of a modifier, up to `stop`. */
  #word(stop: string, missing: string, rawEscapes: boolean): string {
    try {
      return this.#until(stop, rawEscapes).text;
    } catch (error) {
      if (error instanceof Problem && this.#at >= this.#source.length) throw new Problem(`syntax error: missing '${missing}'`);
      throw error;
    }
  }

  /** Undefined: the variable is not set and nothing stands in for it, or it is to be left alone. */
  #modified(name: string, first: string): string | undefined {
    const colon = first === ':';
    const modifier = colon ? this.#next() : first;
    const spelled = colon ? `:${modifier}` : modifier;
    const pattern = modifier === '#' || modifier === '%';
    if (!'+-?#%'.includes(modifier) || modifier === '' || (colon && pattern))
      throw new Problem(`unsupported modifier (${spelled}) in substitution`);
    const word = this.#word('}', '}', pattern);
    const value = this.#value(name);
    if (value === undefined && this.#options.skipUnset) return undefined;
    const missing = value === undefined || (colon && value === '');
    switch (modifier) {
      case '-':
        return missing ? word : value;
      case '+':
        return missing ? '' : word;
      case '?':
        if (missing)
          throw new Problem(`${name}: ${word !== '' ? word : `is not allowed to be ${value === undefined ? 'unset' : 'empty'}`}`);
        return value;
      default: {
        const longest = word.startsWith(modifier);
        const trim = modifier === '#' ? trimPrefix : trimSuffix;
        return this.#matching(word, () => trim(value ?? '', longest ? word.slice(1) : word, longest));
      }
    }
  }

  #replace(name: string): string | undefined {
    const all = this.#peek() === '/';
    if (all) this.#at++;
    const pattern = this.#word('/', '/', true);
    const replacement = this.#word('}', '}', true);
    const value = this.#value(name);
    if (value === undefined && this.#options.skipUnset) return undefined;
    return this.#matching(pattern, () => replacePattern(value ?? '', pattern, replacement, all));
  }

  #matching(pattern: string, work: () => string): string {
    try {
      return work();
    } catch (error) {
      if (error instanceof PatternError)
        throw new Problem(`invalid pattern (${shown(pattern)}) in substitution: ${error.message}`);
      throw error;
    }
  }
}

/** The words of `source`, or undefined where it cannot be lexed. */
export function tryWords(source: string, options: ExpandOptions): readonly string[] | undefined {
  try {
    return expand(source, options).words;
  } catch (error) {
    if (isCode(error, 'DOCKERFILE')) return undefined;
    throw error;
  }
}
