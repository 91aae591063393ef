// The patterns of `${x#p}`, `${x%p}` and `${x/p/r}`: `*` any run, `?` any one character, `\` before `*`, `?`, `\` takes it literally. A
// set-of-states matcher, because patterns and values are untrusted and a backtracking regular expression can be made to run for ever.

type Token = { readonly kind: 'star' } | { readonly kind: 'any' } | { readonly kind: 'char'; readonly char: string };

/** Matching that costs more than this many state steps is refused. */
const maxWork = 20_000_000;

export class PatternError extends Error {}

function compile(pattern: string): Token[] {
  const tokens: Token[] = [];
  const chars = [...pattern];
  for (let i = 0; i < chars.length; i++) {
    const char = chars[i]!;
    if (char === '*') {
      if (tokens.at(-1)?.kind !== 'star') tokens.push({ kind: 'star' });
    } else if (char === '?') tokens.push({ kind: 'any' });
    else if (char === '\\') {
      const next = chars[++i];
      // `}` and `/` are escaped for the substitution, not for the pattern
      if (next === undefined || !'}/*?\\'.includes(next)) throw new PatternError(`invalid escape '\\${next ?? ''}'`);
      tokens.push({ kind: 'char', char: next });
    } else tokens.push({ kind: 'char', char });
  }
  return tokens;
}

class Matcher {
  readonly #tokens: readonly Token[];
  #work = 0;

  constructor(tokens: readonly Token[]) {
    this.#tokens = tokens;
  }

  /** End of the shortest or longest match that begins at `from`, or -1. */
  end(chars: readonly string[], from: number, longest: boolean): number {
    const tokens = this.#tokens;
    let states = this.#close([0]);
    let best = states.includes(tokens.length) ? from : -1;
    if (best >= 0 && !longest) return best;
    for (let i = from; i < chars.length && states.length > 0; i++) {
      const char = chars[i]!;
      const next: number[] = [];
      for (const state of states) {
        const token = tokens[state];
        if (token === undefined) continue;
        if (token.kind === 'char' ? token.char === char : char !== '\n') {
          const target = token.kind === 'star' ? state : state + 1;
          if (next.at(-1) !== target) next.push(target);
        }
      }
      this.#work += states.length + 1;
      if (this.#work > maxWork) throw new PatternError('too costly to match');
      states = this.#close(next);
      if (states.at(-1) === tokens.length) {
        best = i + 1;
        if (!longest) return best;
      }
    }
    return best;
  }

  /** Adds the states reached by letting a star match nothing; ascending, unique. */
  #close(states: readonly number[]): number[] {
    const closed: number[] = [];
    for (const state of states) {
      if (closed.at(-1) === undefined || closed.at(-1)! < state) closed.push(state);
      for (let s = state; this.#tokens[s]?.kind === 'star' && closed.at(-1) === s; s++) closed.push(s + 1);
    }
    return closed;
  }
}

/** `${x#p}` (shortest) and `${x##p}` (longest). */
export function trimPrefix(value: string, pattern: string, longest: boolean): string {
  const chars = [...value];
  const end = new Matcher(compile(pattern)).end(chars, 0, longest);
  return end < 0 ? value : chars.slice(end).join('');
}

/** `${x%p}` (shortest) and `${x%%p}` (longest). */
export function trimSuffix(value: string, pattern: string, longest: boolean): string {
  const chars = [...value].reverse();
  const end = new Matcher(compile(pattern).reverse()).end(chars, 0, longest);
  return end < 0 ? value : chars.slice(end).reverse().join('');
}

/** `${x/p/r}` (first match) and `${x//p/r}` (all). */
export function replacePattern(value: string, pattern: string, replacement: string, all: boolean): string {
  const chars = [...value];
  const matcher = new Matcher(compile(pattern));
  let out = '';
  let lastEnd = -1;
  let i = 0;
  while (i <= chars.length) {
    const end = matcher.end(chars, i, true);
    // an empty match directly behind another match is none
    if (end > i || (end === i && lastEnd !== i)) {
      out += replacement;
      lastEnd = end;
      if (!all) return out + chars.slice(end).join('');
      if (end > i) {
        i = end;
        continue;
      }
    }
    out += chars[i] ?? '';
    i++;
  }
  return out;
}
