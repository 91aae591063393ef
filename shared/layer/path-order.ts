// The one order of paths in lists, tables of contents and layers: by their UTF-8 bytes. Everything below `a/` is then one run, but it
// does not follow `a` directly: `a`, `a.txt`, `a/b`, because `.` comes before `/`.

/** Compares by UTF-8 bytes, which differs from JavaScript's order only where surrogates meet U+E000 to U+FFFF. */
export function comparePaths(a: string, b: string): number {
  const length = Math.min(a.length, b.length);
  for (let i = 0; i < length; i++) {
    const x = a.charCodeAt(i);
    const y = b.charCodeAt(i);
    if (x === y) continue;
    if (x >= 0xd800 && y >= 0xd800) {
      const astral = x < 0xe000;
      if (astral !== y < 0xe000) return astral ? 1 : -1;
    }
    return x - y;
  }
  return a.length - b.length;
}

/** The index of the first of `sorted` whose path is not before `path`. */
export function lowerBound(sorted: readonly { readonly path: string }[], path: string, from = 0): number {
  let low = from;
  let high = sorted.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (comparePaths(sorted[middle]!.path, path) < 0) low = middle + 1;
    else high = middle;
  }
  return low;
}
