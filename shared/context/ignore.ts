// .dockerignore with the semantics of moby/patternmatcher and its ignorefile package, including how BuildKit applies them while it
// walks: a pattern that matched a directory counts for everything below it, the last match wins, `!` re-includes. Two deliberate
// differences, both where moby's translation to regular expressions departs from Go's filepath.Match that its documentation promises:
// `\d` is the letter d, and `[*]` is a star.
import { SlipwayError } from '../errors.ts';
import { cleanPath, compileGlob, hasWildcard } from './glob.ts';

interface Pattern {
  /** Cleaned, without `!`. */
  readonly text: string;
  readonly exclusion: boolean;
  readonly matches: (path: string) => boolean;
  /** Number of `/` in every path that can match, where that is certain. */
  readonly slashes?: number;
  /** What every path that can match ends with: most paths are told apart by it alone. */
  readonly tail: string;
}

/** Which patterns have matched a directory or one of its parents: one byte per pattern. */
export type MatchState = Uint8Array;

// Go's unicode.IsSpace, which is not JavaScript's trim (that knows U+FEFF and not U+0085).
const space = '[\\t\\n\\v\\f\\r \\u0085\\u00a0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000]';
const ends = new RegExp(`^${space}+|${space}+$`, 'gu');
const trimSpace = (text: string): string => text.replace(ends, '');

/** moby's classes of patterns: most need no regular expression. */
function matcherOf(text: string): ((path: string) => boolean) | undefined {
  const glob = compileGlob(text, 'ignore');
  if (glob === undefined) return undefined;
  if (!hasWildcard(text) && !text.includes('\\')) return (path) => path === text;
  const star = /^(\*\*)?([^*?[\\]*)(\*\*)?$/u.exec(text);
  if (star?.[1] !== undefined && star[3] === undefined) {
    const suffix = star[2]!;
    const whole = suffix.startsWith('/') ? suffix.slice(1) : undefined;
    return (path) => path.endsWith(suffix) || path === whole;
  }
  if (star?.[3] !== undefined && star[1] === undefined) {
    const prefix = star[2]!;
    return (path) => path.startsWith(prefix);
  }
  return glob;
}

/** A list of exclude patterns, as in .dockerignore or `COPY --exclude`. Paths are slash paths relative to the root, no leading `/`. */
export class Patterns {
  readonly #patterns: readonly Pattern[];
  readonly #exclusions: readonly Pattern[];

  /** The first malformed pattern is handed to `malformed`, which must throw. */
  constructor(patterns: readonly string[], malformed: (index: number, why: string) => never) {
    const compiled: Pattern[] = [];
    patterns.forEach((written, index) => {
      const trimmed = trimSpace(written);
      if (trimmed === '') return;
      const cleaned = cleanPath(trimmed);
      const exclusion = cleaned.startsWith('!');
      const text = exclusion ? cleaned.slice(1) : cleaned;
      if (text === '') malformed(index, 'a single "!" excludes nothing');
      const matches =
        matcherOf(text) ?? malformed(index, `"${text}" has a syntax error: an unclosed [, an empty range or a lone \\`);
      const slashes = /\*\*|[[\\]/u.test(text) ? undefined : text.split('/').length - 1;
      compiled.push({ text, exclusion, matches, slashes, tail: /[^*?[\]\\/]*$/u.exec(text)![0] });
    });
    this.#patterns = compiled;
    this.#exclusions = compiled.filter((pattern) => pattern.exclusion);
  }

  /** Number of patterns: the length of a MatchState. */
  get size(): number {
    return this.#patterns.length;
  }

  /**
   * True when `path` is excluded, given the state of its parent directory (undefined for what is directly below the root). `own`
   * receives the path's own state, wanted for directories only.
   */
  excludes(path: string, parent: MatchState | undefined, own?: MatchState): boolean {
    const patterns = this.#patterns;
    let slashes = 0;
    for (let at = path.indexOf('/'); at !== -1; at = path.indexOf('/', at + 1)) slashes++;
    let excluded = false;
    for (let i = 0; i < patterns.length; i++) {
      const pattern = patterns[i]!;
      let match = parent !== undefined && parent[i] === 1;
      if (!match) {
        // As moby: a pattern that could not change the outcome is not tried, and then does not count for what is below either.
        if (pattern.exclusion !== excluded) continue;
        match = (pattern.slashes ?? slashes) === slashes && path.endsWith(pattern.tail) && pattern.matches(path);
      }
      if (!match) continue;
      if (own !== undefined) own[i] = 1;
      excluded = !pattern.exclusion;
    }
    return excluded;
  }

  /** Whether `path` is excluded, found by going down from the root as a walk does. */
  excludesFromRoot(path: string): boolean {
    let parent: MatchState | undefined;
    for (let slash = path.indexOf('/'); slash !== -1; slash = path.indexOf('/', slash + 1)) {
      const own = new Uint8Array(this.size);
      this.excludes(path.slice(0, slash), parent, own);
      parent = own;
    }
    return this.excludes(path, parent);
  }

  /** False when nothing below an excluded directory can be included again, so that it need not be read. */
  mayReinclude(directory: string): boolean {
    return this.#exclusions.some((pattern) => mayMatchBelow(pattern.text, directory));
  }
}

/** True unless the pattern certainly matches no path strictly below the directory. */
function mayMatchBelow(pattern: string, directory: string): boolean {
  const literal = /^[^*?[\\]*/u.exec(pattern)![0];
  const inside = `${directory}/`;
  if (!literal.startsWith(inside) && !inside.startsWith(literal)) return false;
  // Classes and escapes may hide a `/`: then the literal start is all that is known.
  if (/[[\\]/u.test(pattern)) return true;
  const parts = pattern.split('/');
  const parents = directory.split('/');
  for (const [i, part] of parts.entries()) {
    if (part.includes('**')) return true;
    if (i === parents.length) return true;
    if (!compileGlob(part, 'ignore')!(parents[i]!)) return false;
  }
  return false;
}

/**
 * The entries that are not excluded, with the directories that lead to them; in path order, as they came. The patterns see paths without
 * their first `skip` characters.
 */
export function included<E extends { readonly path: string; readonly type: string }>(
  entries: readonly E[],
  patterns: Patterns,
  skip = 0,
): readonly E[] {
  const states = new Map<string, MatchState>();
  const excluded = new Set<E>();
  const parents = new Set<string>();
  const parentOf = (path: string): string => path.slice(0, Math.max(0, path.lastIndexOf('/')));
  for (const entry of entries) {
    const path = entry.path.slice(skip);
    const own = new Uint8Array(patterns.size);
    if (patterns.excludes(path, states.get(parentOf(path)), own)) excluded.add(entry);
    if (entry.type === 'dir') states.set(path, own);
  }
  if (excluded.size === 0) return entries;
  for (const entry of entries) {
    if (excluded.has(entry)) continue;
    for (let at = parentOf(entry.path.slice(skip)); at !== '' && !parents.has(at); at = parentOf(at)) parents.add(at);
  }
  return entries.filter((entry) => !excluded.has(entry) || parents.has(entry.path.slice(skip)));
}

export interface IgnoreLine {
  readonly text: string;
  /** From 1. */
  readonly line: number;
}

/** The patterns of an ignore file: comments and blank lines dropped, paths cleaned, leading `/` taken away. */
export function parseIgnore(text: string): readonly IgnoreLine[] {
  const out: IgnoreLine[] = [];
  const lines = (text.startsWith('\ufeff') ? text.slice(1) : text).split('\n');
  lines.forEach((raw, index) => {
    if (raw.startsWith('#')) return;
    let pattern = trimSpace(raw);
    if (pattern === '') return;
    const invert = pattern.startsWith('!');
    if (invert) pattern = trimSpace(pattern.slice(1));
    if (pattern !== '') {
      pattern = cleanPath(pattern);
      if (pattern.length > 1 && pattern.startsWith('/')) pattern = pattern.slice(1);
    }
    out.push({ text: invert ? `!${pattern}` : pattern, line: index + 1 });
  });
  return out;
}

/** The ignore rules of a context and the file they come from. */
export class Ignore {
  readonly file: string;
  readonly lines: readonly IgnoreLine[];
  readonly patterns: Patterns;

  /** A malformed pattern is CONTEXT with its line. */
  constructor(file: string, lines: readonly IgnoreLine[]) {
    this.file = file;
    this.lines = lines;
    this.patterns = new Patterns(
      lines.map((line) => line.text),
      (index, why) => {
        const { line, text } = lines[index]!;
        throw new SlipwayError('CONTEXT', `${file}:${line}: ${why}`, {
          where: { file, start: { line, column: 1 }, end: { line, column: Math.max(1, text.length) } },
        });
      },
    );
  }

  /** The line that keeps `path` out, if it is kept out: the last one that had a say. */
  lineThatExcludes(path: string): IgnoreLine | undefined {
    if (!this.patterns.excludesFromRoot(path)) return undefined;
    return this.lines.findLast((_line, i) => new Ignore(this.file, this.lines.slice(i)).patterns.excludesFromRoot(path));
  }

  /** Bytes that are no UTF-8 are in `text` as `decodeName` has them in names. */
  static parse(file: string, text: string): Ignore {
    return new Ignore(file, parseIgnore(text));
  }
}
