// Blobs and Table that break at chosen writes: before anything was stored, or after everything was and only the answer is lost. And ones
// that merely count.
import { SlipwayError } from '../../shared/errors.ts';
import type { Blobs } from '../../shared/store/blobs.ts';
import type { Table } from '../../shared/store/table.ts';

export interface Faults {
  /** Writes so far, of both ports. */
  writes: number;
  /** Whether the write of this number (from 1) fails, and when. */
  plan: (write: number) => 'before' | 'after' | undefined;
  /** Faults so far. */
  thrown: number;
}

export const noFaults = (): Faults => ({ writes: 0, plan: () => undefined, thrown: 0 });

const blobWrites: ReadonlySet<string | symbol> = new Set(['put', 'begin', 'append', 'finish', 'delete']);
const tableWrites: ReadonlySet<string | symbol> = new Set(['put', 'delete', 'transact']);

function faulty<T extends object>(target: T, writes: ReadonlySet<string | symbol>, faults: Faults): T {
  return new Proxy(target, {
    get(inner, name) {
      const member = Reflect.get(inner, name, inner) as unknown;
      if (typeof member !== 'function') return member;
      const method = member.bind(inner) as (...args: unknown[]) => Promise<unknown>;
      if (!writes.has(name)) return method;
      return async (...args: unknown[]) => {
        faults.writes += 1;
        const number = faults.writes;
        const when = faults.plan(number);
        const fail = (): never => {
          faults.thrown += 1;
          throw new SlipwayError('STORE', `write ${number} (${String(name)}) broke ${when} it was done`);
        };
        if (when === 'before') fail();
        const result = await method(...args);
        if (when === 'after') fail();
        return result;
      };
    },
  });
}

export const withFaults =
  (faults: Faults) =>
  ({ blobs, table }: { readonly blobs: Blobs; readonly table: Table }) => ({
    blobs: faulty(blobs, blobWrites, faults),
    table: faulty(table, tableWrites, faults),
  });
