// Go's durations, in which HEALTHCHECK is written and its history is printed.

const units: Readonly<Record<string, number>> = { ns: 1, us: 1e3, µs: 1e3, μs: 1e3, ms: 1e6, s: 1e9, m: 6e10, h: 3.6e12 };

/** Nanoseconds of `1h2m3.5s`, `-1s` or `0`; undefined when it is none or beyond what Go can hold (292 years). */
export function parseDuration(text: string): number | undefined {
  if (text.length > 100) return undefined;
  const match = /^([-+]?)(?:(?:\d+(?:\.\d*)?|\.\d+)(?:ns|us|µs|μs|ms|s|m|h))+$/.exec(text);
  if (match === null) return /^[-+]?0$/.test(text) ? 0 : undefined;
  let total = 0;
  for (const [, number, unit] of text.matchAll(/(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|μs|ms|s|m|h)/g))
    total += Number(number) * units[unit!]!;
  if (total > 2 ** 63) return undefined;
  return Math.trunc(match[1] === '-' ? -total : total);
}

/** As Go prints it: `30s`, `1m30s`, `1.5s`, `500ms`, `0s`. */
export function formatDuration(nanoseconds: number): string {
  if (nanoseconds === 0) return '0s';
  if (nanoseconds < 0) return `-${formatDuration(-nanoseconds)}`;
  for (const [unit, next] of [
    ['ns', 'us'],
    ['µs', 'ms'],
    ['ms', 's'],
  ] as const)
    if (nanoseconds < units[next]!) return `${nanoseconds / units[unit]!}${unit}`;
  const hours = Math.floor(nanoseconds / units.h!);
  const minutes = Math.floor((nanoseconds % units.h!) / units.m!);
  const seconds = `${(nanoseconds % units.m!) / units.s!}s`;
  if (hours > 0) return `${hours}h${minutes}m${seconds}`;
  return minutes > 0 ? `${minutes}m${seconds}` : seconds;
}
