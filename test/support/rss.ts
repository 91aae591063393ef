// Peak memory of a process and everything it starts, read from /proc while it runs.
import { readdirSync, readFileSync } from 'node:fs';

export interface PeakMemory {
  /** Highest sum, over the samples, of the resident memory (VmRSS) of all processes of the tree at that moment, in bytes. */
  readonly sum: number;
  /** Highest VmHWM of any single process of the tree, in bytes. The kernel keeps that mark, so short peaks between samples are in it. */
  readonly largest: number;
  /** How often the tree was looked at. */
  readonly samples: number;
}

export interface MemorySampler extends Disposable {
  peak(): PeakMemory;
  /** Takes a sample now; also done by the timer. */
  sample(): void;
}

function parents(): Map<number, number[]> {
  const children = new Map<number, number[]>();
  for (const name of readdirSync('/proc')) {
    const pid = Number(name);
    if (!Number.isInteger(pid)) continue;
    const stat = read(`/proc/${pid}/stat`);
    if (stat === undefined) continue;
    // The command, in parentheses, may hold anything: what follows the last one are the numbers.
    const parent = Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1]);
    const list = children.get(parent);
    if (list === undefined) children.set(parent, [pid]);
    else list.push(pid);
  }
  return children;
}

/** A process may end between the listing and the look at it. */
function read(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return undefined;
  }
}

function kilobytes(status: string, name: string): number {
  const found = status.match(new RegExp(`^${name}:\\s+(\\d+) kB`, 'm'));
  return found === null ? 0 : Number(found[1]);
}

/**
 * Watches the tree below `roots` (these included) every `everyMs` milliseconds until disposed. Memory that processes share is counted in
 * each of them, so `sum` is an upper bound; threads are one process. Processes that leave the tree (a daemon's double fork) are lost: give
 * them as roots.
 */
export function watchMemory(roots: readonly number[], everyMs = 20): MemorySampler {
  let sum = 0;
  let largest = 0;
  let samples = 0;
  const sample = () => {
    const children = parents();
    const pending = [...roots];
    const seen = new Set<number>();
    let now = 0;
    for (let pid = pending.pop(); pid !== undefined; pid = pending.pop()) {
      if (seen.has(pid)) continue;
      seen.add(pid);
      pending.push(...(children.get(pid) ?? []));
      const status = read(`/proc/${pid}/status`);
      if (status === undefined) continue;
      now += kilobytes(status, 'VmRSS') * 1024;
      largest = Math.max(largest, kilobytes(status, 'VmHWM') * 1024);
    }
    sum = Math.max(sum, now);
    samples++;
  };
  sample();
  const timer = setInterval(sample, everyMs);
  return {
    sample,
    peak: () => ({ sum, largest, samples }),
    [Symbol.dispose]: () => clearInterval(timer),
  };
}
