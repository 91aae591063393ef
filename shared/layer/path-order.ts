// Searching lists in path order. Everything below `a/` is one run of such a list, but it does not follow `a` directly: `a`, `a.txt`,
// `a/b`, because `.` comes before `/`.
import { comparePaths } from '../tar/name.ts';

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
