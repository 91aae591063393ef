// What runners use, noted as they are started and stopped. How one is billed the stack tells: SLIPWAY_MICROVM_MEMORY (MiB of its baseline)
// and SLIPWAY_CODEBUILD_SIZE (a compute type).
import { UsageRecords } from '../shared/build/usage-records.ts';
import type { RunnerUse } from '../shared/cost/usage.ts';
import type { Table } from '../shared/store/table.ts';
import { milliVcpuOf } from '../shared/workflow/burst.ts';
import type { Machines } from '../shared/workflow/launcher.ts';
import type { Environment } from './environment.ts';
import { logUncounted } from './log.ts';

const defaultMemory = 2048;

/** `handle`: as `Machines` names a machine. */
export function sizeOf(
  handle: string,
  platform: string,
  env: Environment,
): Pick<RunnerUse, 'kind' | 'mib' | 'milliVcpu' | 'size'> {
  if (handle.startsWith('microvm:')) {
    const mib = Number(env.SLIPWAY_MICROVM_MEMORY) || defaultMemory;
    return { kind: 'microvm', mib, milliVcpu: milliVcpuOf(mib) };
  }
  const type = /^BUILD_GENERAL1_(\w+)$/.exec(env.SLIPWAY_CODEBUILD_SIZE ?? 'BUILD_GENERAL1_MEDIUM')?.[1];
  const architecture = platform.split('/')[1] === 'arm64' ? 'Arm64' : 'X64';
  const name = type === undefined ? 'Other' : type.slice(0, 1) + type.slice(1).toLowerCase();
  return { kind: 'codebuild', size: `${architecture}${name}` };
}

export interface RunnerNotes {
  readonly table: Table;
  /** Whose machines these are. */
  readonly build: string;
  readonly env: Environment;
  /** Milliseconds since 1970. */
  readonly clock: () => number;
  /** Told what could not be noted; writes a line of the function's log unless given. */
  readonly onFault?: typeof logUncounted;
}

/**
 * The same machines, with their starts and stops noted. The first note of each counts: a machine that is started or stopped again was
 * there already, or gone. What cannot be noted is logged, and stops nothing.
 */
export function meteredMachines(machines: Machines, { table, build, env, clock, onFault = logUncounted }: RunnerNotes): Machines {
  const usages = new UsageRecords(table);
  const partOf = (handle: string): string => `runner.${handle}`;
  const noted = (work: () => Promise<unknown>): Promise<unknown> =>
    work().catch((error: unknown) => onFault({ function: 'launch', build, error }));
  const started = (handle: string, platform: string, name: string, at: number): Promise<unknown> =>
    noted(async () => {
      if ((await usages.part(build, partOf(handle))) !== undefined) return;
      const [, stage, attempt] = /-(\d+)-(\d+)$/.exec(name) ?? [];
      const runner = { ...sizeOf(handle, platform, env), stage: Number(stage), attempt: Number(attempt), started: at };
      await usages.save(build, partOf(handle), { at, usage: {}, runner });
    });
  return {
    async start(platform, ticket, name) {
      const at = clock();
      const handle = await machines.start(platform, ticket, name);
      await started(handle, platform, name, at);
      return handle;
    },
    async find(platform, ticket, name) {
      const at = clock();
      const handle = await machines.find(platform, ticket, name);
      // Whoever started it may have died before the note.
      if (handle !== undefined) await started(handle, platform, name, at);
      return handle;
    },
    async stop(handle) {
      await machines.stop(handle);
      const ended = clock();
      await noted(async () => {
        const known = await usages.part(build, partOf(handle));
        if (known?.usage.runner === undefined || known.usage.runner.ended !== undefined) return;
        const at = Math.max(ended, known.usage.at + 1);
        await usages.save(build, partOf(handle), { ...known.usage, at, runner: { ...known.usage.runner, ended } }, known.version);
      });
    },
  };
}
