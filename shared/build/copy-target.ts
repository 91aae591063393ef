// What of COPY and ADD says where the files go and what they become there. Part of the key as it is.
import type { Operation } from './plan.ts';

export type CopyTarget = Pick<Extract<Operation, { kind: 'copy' }>, 'destination' | 'chown' | 'chmod' | 'unpack' | 'link'>;

/** Members that are not given stay absent, so that a key does not depend on who left them out. */
export function copyTarget({ destination, unpack, chown, chmod, link }: CopyTarget): CopyTarget {
  return {
    destination,
    unpack,
    ...(chown === undefined ? {} : { chown }),
    ...(chmod === undefined ? {} : { chmod }),
    ...(link === undefined ? {} : { link }),
  };
}
