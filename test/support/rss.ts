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

/** A process may end between the listing and the look at it. */
function read(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return undefined;
  }
}

/** The kernel lists children by the thread that made them. */
function childrenOf(pid: number): number[] {
  let threads: string[];
  try {
    threads = readdirSync(`/proc/${pid}/task`);
  } catch {
    return [];
  }
  return threads.flatMap((thread) => (read(`/proc/${pid}/task/${thread}/children`) ?? '').split(' ').filter(Boolean).map(Number));
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
    const pending = [...roots];
    const seen = new Set<number>();
    let now = 0;
    for (let pid = pending.pop(); pid !== undefined; pid = pending.pop()) {
      if (seen.has(pid)) continue;
      seen.add(pid);
      pending.push(...childrenOf(pid));
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
