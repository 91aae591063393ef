// What a MicroVM uses above its baseline, which is billed apart: seen from inside, by the kernel's own counters for the whole machine.
import { readFileSync } from 'node:fs';
import type { Meter } from '../cost/meter.ts';

export interface MachineLoad {
  /** Milliseconds that all processors together were busy, since some time. */
  readonly busy: number;
  /** MiB of memory that is not available. */
  readonly mib: number;
}

export interface Baseline {
  readonly milliVcpu: number;
  readonly mib: number;
}

/** A MicroVM has half a vCPU for each GB of its baseline. */
export const milliVcpuOf = (mib: number): number => Math.round((mib * 1000) / 2048);

/** Milliseconds of one tick: the kernel tells all times in hundredths, whatever its own clock is. */
const tick = 10;

/** From /proc/stat and /proc/meminfo (proc(5)). */
export function loadOf(stat: string, meminfo: string): MachineLoad {
  const [user = 0, nice = 0, system = 0, , , irq = 0, softirq = 0] =
    /^cpu +(.*)$/m.exec(stat)?.[1]?.split(/ +/).map(Number) ?? [];
  const kib = (name: string): number => Number(new RegExp(`^${name}: +(\\d+) kB$`, 'm').exec(meminfo)?.[1] ?? 0);
  return {
    busy: (user + nice + system + irq + softirq) * tick,
    mib: Math.max(0, (kib('MemTotal') - kib('MemAvailable')) / 1024),
  };
}

const readLoad = (): MachineLoad => loadOf(readFileSync('/proc/stat', 'utf8'), readFileSync('/proc/meminfo', 'utf8'));

export interface WatchOptions {
  readonly read?: () => MachineLoad;
  /** Milliseconds; only differences count. */
  readonly clock?: () => number;
  /** Milliseconds between looks; 1000 unless told otherwise. */
  readonly interval?: number;
}

/** Counts into the meter until it is disposed: `microvmBurstMilliVcpuMs` and `microvmBurstMibMs`. */
export function watchBurst(
  meter: Meter,
  baseline: Baseline,
  { read = readLoad, clock = () => performance.now(), interval = 1000 }: WatchOptions = {},
): Disposable {
  let last: { readonly at: number; readonly busy: number } | undefined;
  const look = (): void => {
    let load: MachineLoad;
    try {
      load = read();
    } catch {
      // A machine that does not tell: its burst is not counted, and the job goes on.
      clearInterval(timer);
      return;
    }
    const at = clock();
    if (last !== undefined && at > last.at) {
      const ms = at - last.at;
      const vcpu = Math.round((load.busy - last.busy) * 1000 - baseline.milliVcpu * ms);
      const mib = Math.round((load.mib - baseline.mib) * ms);
      if (vcpu > 0) meter.count('microvmBurstMilliVcpuMs', vcpu);
      if (mib > 0) meter.count('microvmBurstMibMs', mib);
    }
    last = { at, busy: load.busy };
  };
  const timer = setInterval(look, interval);
  timer.unref();
  look();
  return {
    [Symbol.dispose]() {
      clearInterval(timer);
      look();
    },
  };
}
