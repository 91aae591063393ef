// The words of `history[].created_by`, as BuildKit's dockerfile2llb prints them: Go's %q and %v, so that tools that read them go on to.
import { formatDuration } from '../dockerfile/duration.ts';
import type { Healthcheck } from '../oci/config.ts';

const short: Readonly<Record<string, string>> = {
  '\u0007': '\\a',
  '\b': '\\b',
  '\f': '\\f',
  '\n': '\\n',
  '\r': '\\r',
  '\t': '\\t',
  '\v': '\\v',
  '"': '\\"',
  '\\': '\\\\',
};

/** Go's strconv.Quote. */
export function goQuote(text: string): string {
  let out = '';
  for (const ch of text.toWellFormed()) {
    const code = ch.codePointAt(0)!;
    if (short[ch] !== undefined) out += short[ch];
    else if ((code >= 0x20 && code < 0x7f) || (code > 0x7f && /^[\p{L}\p{M}\p{N}\p{P}\p{S}]$/u.test(ch))) out += ch;
    else if (code < 0x80) out += `\\x${code.toString(16).padStart(2, '0')}`;
    else out += code < 0x10000 ? `\\u${code.toString(16).padStart(4, '0')}` : `\\U${code.toString(16).padStart(8, '0')}`;
  }
  return `"${out}"`;
}

/** `%q` of a list: `["a" "b"]`. */
export const quotedList = (items: readonly string[]): string => `[${items.map(goQuote).join(' ')}]`;

/** `%v` of a list: `[a b]`. */
export const plainList = (items: readonly string[]): string => `[${items.join(' ')}]`;

/** `RUN |2 A=1 B=2 /bin/sh -c command # buildkit`: the ARGs in scope come first, counted. */
export function runText(args: readonly string[], buildArgs: readonly string[]): string {
  const counted = buildArgs.length > 0 ? [`|${buildArgs.length}`, ...buildArgs] : [];
  return `RUN ${[...counted, ...args].join(' ')} # buildkit`;
}

export const healthText = (health: Healthcheck): string =>
  `HEALTHCHECK {Test:${plainList(health.Test ?? [])} Interval:${formatDuration(health.Interval ?? 0)} Timeout:${formatDuration(
    health.Timeout ?? 0,
  )} StartPeriod:${formatDuration(health.StartPeriod ?? 0)} StartInterval:${formatDuration(health.StartInterval ?? 0)} Retries:${
    health.Retries ?? 0
  }}`;
