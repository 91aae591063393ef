// Stores and services that break at chosen calls: before anything was done, or after everything was and only the answer is lost. Or the
// process dies there: then nothing that it does afterwards is done, neither its own clean-up nor a last word.
import { SlipwayError } from '../../shared/errors.ts';
import type { Blobs } from '../../shared/store/blobs.ts';
import type { Table } from '../../shared/store/table.ts';

export type Fault = 'before' | 'after' | 'death before' | 'death after';

/** One call, as a plan sees it. */
export interface FaultyCall {
  /** Counts writes from 1; of a read, how many writes there were before. */
  readonly write: number;
  /** Counts all calls from 1. */
  readonly call: number;
  /** E.g. `table.put`. */
  readonly name: string;
  readonly isWrite: boolean;
}

export interface Faults {
  writes: number;
  calls: number;
  /** Whether a call breaks, and how. */
  plan: (call: FaultyCall) => Fault | undefined;
  /** Faults so far. */
  thrown: number;
}

export const noFaults = (): Faults => ({ writes: 0, calls: 0, plan: () => undefined, thrown: 0 });

/** Counts anew, and breaks as `plan` says from here on. */
export function rearm(faults: Faults, plan: Faults['plan'] = () => undefined): void {
  Object.assign(faults, { writes: 0, calls: 0, thrown: 0, plan });
}

/** Breaks the write of this number. */
export const atWrite =
  (number: number, fault: Fault): Faults['plan'] =>
  ({ isWrite, write }) =>
    isWrite && write === number ? fault : undefined;

/** A process that may die: a function's call, say. */
export interface Process {
  dead: boolean;
}

export class ProcessDied extends Error {
  constructor() {
    super('the process died');
  }
}

const blobWrites = new Set(['put', 'begin', 'append', 'finish', 'delete', 'confirm']);
const tableWrites = new Set(['put', 'delete', 'transact']);

/** `target` as a process has it. Members in `inside` are objects of the same kind. */
export function breakable<T extends object>(
  target: T,
  kind: string,
  writes: ReadonlySet<string>,
  faults: Faults,
  process: Process,
  inside: ReadonlySet<string> = new Set(),
): T {
  return new Proxy(target, {
    get(inner, property) {
      const member = Reflect.get(inner, property, inner) as unknown;
      const name = String(property);
      if (inside.has(name) && typeof member === 'object' && member !== null)
        return breakable(member, `${kind}.${name}`, writes, faults, process);
      if (typeof member !== 'function') return member;
      const method = member.bind(inner) as (...args: unknown[]) => Promise<unknown>;
      return async (...args: unknown[]) => {
        if (process.dead) throw new ProcessDied();
        const isWrite = writes.has(name);
        if (isWrite) faults.writes += 1;
        faults.calls += 1;
        const call = { write: faults.writes, call: faults.calls, name: `${kind}.${name}`, isWrite };
        const fault = faults.plan(call);
        const fail = (): never => {
          faults.thrown += 1;
          if (fault?.startsWith('death')) {
            process.dead = true;
            throw new ProcessDied();
          }
          throw new SlipwayError('STORE', `call ${call.call} (${call.name}) broke ${fault} it was done`);
        };
        if (fault?.endsWith('before')) fail();
        const result = await method(...args);
        if (process.dead) throw new ProcessDied();
        if (fault?.endsWith('after')) fail();
        return result;
      };
    },
  });
}

export const breakableStores = (
  { blobs, table }: { readonly blobs: Blobs; readonly table: Table },
  faults: Faults,
  process: Process,
) => ({
  blobs: breakable(blobs, 'blobs', blobWrites, faults, process, new Set(['link'])),
  table: breakable(table, 'table', tableWrites, faults, process),
});
