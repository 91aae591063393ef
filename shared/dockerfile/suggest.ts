// "did you mean": the nearest option within an edit distance of two, as BuildKit offers it.

/** Levenshtein distance, or `limit` when it is that or more. */
export function distance(a: string, b: string, limit: number): number {
  if (Math.abs(a.length - b.length) >= limit) return limit;
  let row = Array.from({ length: b.length + 1 }, (_, i) => i);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      const substituted = row[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1);
      next.push(Math.min(substituted, row[j]! + 1, next[j - 1]! + 1));
    }
    row = next;
  }
  return Math.min(row[b.length]!, limit);
}

/** No more options than this are compared: a hostile file has as many as it likes. */
const maxOptions = 1000;

/** The option nearest to `value`, or undefined when none is near or one is equal. */
export function nearest(value: string, options: Iterable<string>, caseSensitive = true): string | undefined {
  if (value.length > 100) return undefined;
  const fold = (text: string): string => (caseSensitive ? text : text.toLowerCase());
  let best: string | undefined;
  let least = 3;
  let count = 0;
  for (const option of options) {
    if (++count > maxOptions) break;
    if (fold(option) === fold(value)) return undefined;
    const d = distance(fold(value), fold(option), least);
    if (d < least) {
      least = d;
      best = option;
    }
  }
  if (best === undefined || caseSensitive) return best;
  if (value === value.toLowerCase()) return best.toLowerCase();
  return value === value.toUpperCase() ? best.toUpperCase() : best;
}

/** ` (did you mean X?)`, or nothing. */
export function didYouMean(value: string, options: Iterable<string>, caseSensitive = true): string {
  const match = nearest(value, options, caseSensitive);
  return match === undefined ? '' : ` (did you mean ${match}?)`;
}
