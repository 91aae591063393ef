// Patterns as Docker has them: Go's filepath.Match for COPY sources, and the dialect of moby/patternmatcher (`**` crosses `/`) for
// .dockerignore and --exclude. Both are parsed into one list of tokens. Few stars make a RegExp, which is fastest; more are simulated in
// O(pattern x text), so that no pattern a stranger writes can make a match take exponential time.

export type Dialect = 'match' | 'ignore';

type Token =
  | { readonly t: 'char'; readonly c: string }
  /** `?`: one character that is not `/`. */
  | { readonly t: 'one' }
  /** `*`: any run without `/`. */
  | { readonly t: 'star' }
  | { readonly t: 'class'; readonly not: boolean; readonly ranges: readonly (readonly [number, number])[] }
  /** `**` before more pattern: nothing, or anything up to and including a `/`. */
  | { readonly t: 'deep' }
  /** `**` at the end: anything. */
  | { readonly t: 'rest' };

/** filepath.Clean of Go for slash paths: the shortest path that means the same; `.` when nothing is left. */
export function cleanPath(path: string): string {
  const rooted = path.startsWith('/');
  const out: string[] = [];
  for (const part of path.split('/')) {
    if (part === '' || part === '.') continue;
    if (part !== '..') out.push(part);
    else if (out.length > 0 && out[out.length - 1] !== '..') out.pop();
    else if (!rooted) out.push(part);
  }
  const joined = out.join('/');
  if (rooted) return `/${joined}`;
  return joined === '' ? '.' : joined;
}

/** True when the text has `*`, `?` or `[` that is not escaped by a backslash. */
export function hasWildcard(text: string): boolean {
  for (let i = 0; i < text.length; i++) {
    const c = text[i];
    if (c === '\\') i++;
    else if (c === '*' || c === '?' || c === '[') return true;
  }
  return false;
}

/** The tokens of a pattern, or `undefined` when it is malformed (unclosed class, empty range, trailing backslash). */
function parse(pattern: string, dialect: Dialect): readonly Token[] | undefined {
  const chars = [...pattern];
  const tokens: Token[] = [];
  let i = 0;
  /** One character of a class, escapes taken. */
  const classChar = (): number | undefined => {
    if (i >= chars.length || chars[i] === '-' || chars[i] === ']') return undefined;
    if (chars[i] === '\\' && ++i >= chars.length) return undefined;
    return chars[i++]!.codePointAt(0)!;
  };
  while (i < chars.length) {
    const c = chars[i++]!;
    if (c === '*') {
      if (dialect === 'match' || chars[i] !== '*') {
        tokens.push({ t: 'star' });
        continue;
      }
      i++;
      if (chars[i] === '/') i++;
      tokens.push({ t: i >= chars.length ? 'rest' : 'deep' });
    } else if (c === '?') {
      tokens.push({ t: 'one' });
    } else if (c === '\\') {
      if (i >= chars.length) return undefined;
      tokens.push({ t: 'char', c: chars[i++]! });
    } else if (c === '[') {
      const not = chars[i] === '^';
      if (not) i++;
      const ranges: [number, number][] = [];
      while (ranges.length === 0 || chars[i] !== ']') {
        const low = classChar();
        if (low === undefined) return undefined;
        let high: number | undefined = low;
        if (chars[i] === '-') {
          i++;
          high = classChar();
          if (high === undefined) return undefined;
        }
        ranges.push([low, high]);
        if (i >= chars.length) return undefined;
      }
      i++;
      tokens.push({ t: 'class', not, ranges });
    } else {
      tokens.push({ t: 'char', c });
    }
  }
  return tokens;
}

const inClass = (token: Token & { t: 'class' }, code: number): boolean =>
  token.ranges.some(([low, high]) => low <= code && code <= high) !== token.not;

const escaped = (code: number): string => `\\u{${code.toString(16)}}`;

/** `.` of Go's regular expressions: not a newline. */
function source(token: Token): string {
  switch (token.t) {
    case 'char':
      return escaped(token.c.codePointAt(0)!);
    case 'one':
      return '[^/]';
    case 'star':
      return '[^/]*';
    case 'deep':
      return '(?:[^\\n]*/)?';
    case 'rest':
      return '[^\\n]*';
    case 'class': {
      const ranges = token.ranges.filter(([low, high]) => low <= high);
      if (ranges.length === 0) return token.not ? '[^]' : '[]';
      return `[${token.not ? '^' : ''}${ranges.map(([low, high]) => `${escaped(low)}-${escaped(high)}`).join('')}]`;
    }
  }
}

/** All positions of the pattern that are alive, advanced character by character. */
function simulate(tokens: readonly Token[], text: string): boolean {
  const end = tokens.length;
  // A `deep` has two positions of its own: before it (2i), and inside its run of characters (2i + 1), left only by a `/`.
  let alive = new Uint8Array(2 * end + 1);
  const enter = (states: Uint8Array, i: number): void => {
    for (let at = i; ; at++) {
      states[2 * at] = 1;
      const kind = tokens[at]?.t;
      if (kind !== 'star' && kind !== 'rest' && kind !== 'deep') return;
    }
  };
  enter(alive, 0);
  for (const c of text) {
    const next = new Uint8Array(2 * end + 1);
    for (let i = 0; i < end; i++) {
      const token = tokens[i]!;
      if (alive[2 * i] === 0 && alive[2 * i + 1] === 0) continue;
      switch (token.t) {
        case 'char':
          if (token.c === c) enter(next, i + 1);
          break;
        case 'one':
          if (c !== '/') enter(next, i + 1);
          break;
        case 'class':
          if (inClass(token, c.codePointAt(0)!)) enter(next, i + 1);
          break;
        case 'star':
          if (c !== '/') enter(next, i);
          break;
        case 'rest':
          if (c !== '\n') enter(next, i);
          break;
        case 'deep':
          if (c !== '\n') next[2 * i + 1] = 1;
          if (c === '/') enter(next, i + 1);
          break;
      }
    }
    alive = next;
  }
  return alive[2 * end] === 1;
}

const maxStarsForRegExp = 3;

/** A function that says whether a whole text matches, or `undefined` when the pattern is malformed. */
export function compileGlob(pattern: string, dialect: Dialect): ((text: string) => boolean) | undefined {
  const tokens = parse(pattern, dialect);
  if (tokens === undefined) return undefined;
  const stars = tokens.filter((token) => token.t === 'star' || token.t === 'deep' || token.t === 'rest').length;
  if (stars > maxStarsForRegExp) return (text) => simulate(tokens, text);
  const expression = new RegExp(`^${tokens.map(source).join('')}$`, 'u');
  return (text) => expression.test(text);
}

/** The text a pattern without wildcards stands for: escapes taken away. */
export const literalOf = (pattern: string): string => pattern.replace(/\\(.)/gsu, '$1');
