// `KEYWORD --flag=value ... arguments` taken apart, with the offset of every part.
import { isSpace, trimEndIndex, trimStartIndex } from './source.ts';

export interface RawFlag {
  /** Quotes and escapes removed. */
  readonly text: string;
  readonly start: number;
  readonly end: number;
}

export interface SplitCommand {
  readonly keyword: string;
  readonly keywordStart: number;
  readonly flags: readonly RawFlag[];
  /** The arguments are `text.slice(argsStart, argsEnd)`, trimmed. */
  readonly argsStart: number;
  readonly argsEnd: number;
}

const between = (ch: string): boolean => ch === ' ' || ch === '\t' || ch === '\v' || ch === '\f' || ch === '\r';

/** Splits the instruction that begins at `from`. */
export function splitCommand(text: string, escapeChar: string, from = 0): SplitCommand {
  const keywordStart = trimStartIndex(text, from);
  const end = trimEndIndex(text, keywordStart);
  let i = keywordStart;
  while (i < end && !between(text[i]!)) i++;
  const keyword = text.slice(keywordStart, i);
  const { flags, next } = readFlags(text, i, end, escapeChar);
  return { keyword, keywordStart, flags, argsStart: trimStartIndex(text.slice(0, end), next), argsEnd: end };
}

/** Words beginning with `--`, up to the first other word or a lone `--`. */
function readFlags(text: string, from: number, end: number, escapeChar: string): { flags: RawFlag[]; next: number } {
  const flags: RawFlag[] = [];
  let i = from;
  for (;;) {
    while (i < end && isSpace(text[i]!)) i++;
    if (i >= end || !text.startsWith('--', i)) return { flags, next: i };
    const start = i;
    let word = '';
    let quote = '';
    for (; i < end; i++) {
      let ch = text[i]!;
      if (quote === '' && isSpace(ch)) break;
      if (ch === quote) {
        quote = '';
        continue;
      }
      if (quote === '' && (ch === "'" || ch === '"')) {
        quote = ch;
        continue;
      }
      if (ch === escapeChar) {
        if (i + 1 >= end) continue;
        ch = text[++i]!;
      }
      word += ch;
    }
    if (word === '--') return { flags, next: i };
    flags.push({ text: word, start, end: i });
  }
}
