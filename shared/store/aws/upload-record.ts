// The Table record of a resumable upload on S3, and the hash state in it.
import { createSHA256, type IHasher } from 'hash-wasm';
import { SlipwayError } from '../../errors.ts';
import { uploadKeys } from '../keys.ts';
import type { Json, Table } from '../table.ts';
import type { Multipart, Signal } from './bucket.ts';
import { optionsOf } from './shelf.ts';

export interface Open {
  /** Bytes received and kept, in parts and tail. */
  readonly offset: number;
  /** Saved SHA-256 state after `offset` bytes, base64. */
  readonly hash: string;
  /** First part number that nobody has reserved. */
  readonly next: number;
  /** Numbers of the parts that count, as ranges [first, last]; numbers that were reserved in vain are missing. */
  readonly parts: readonly (readonly [number, number])[];
  readonly multipart?: Multipart;
  readonly tail?: { readonly key: string; readonly size: number };
  /** Seconds since 1970; fixed when the upload begins. */
  readonly expires: number;
}

/** An upload and the version of the record it was read from or last written as. */
export interface Held {
  readonly id: string;
  readonly version: string;
  readonly open: Open;
}

/** The record of one part. */
export interface Part {
  readonly etag: string;
}

export const partOf = (value: Json): Part => value as unknown as Part;

export const stateValue = (open: Open): Json => ({ open: open as unknown as Json });

/** Writes the state over `held.version`; STORE_CONFLICT when that is no longer the one there. Answers the new version. */
export const writeState = (table: Table, { id, version, open }: Held, signal: Signal): Promise<string> =>
  table.put(
    uploadKeys.state(id),
    stateValue(open),
    { condition: { ifVersion: version }, expires: open.expires },
    optionsOf(signal),
  );

/** `parts` with one more number behind the others. */
export function withPart(parts: Open['parts'], number: number): Open['parts'] {
  const last = parts.at(-1);
  return last?.[1] === number - 1 ? [...parts.slice(0, -1), [last[0], number]] : [...parts, [number, number]];
}

export const savedHash = (hasher: IHasher): string => Buffer.from(hasher.save()).toString('base64');

export const freshHash = async (): Promise<string> => savedHash((await createSHA256()).init());

/** UPLOAD_UNKNOWN when another release of the hash wrote it: the parts of an unfinished upload cannot be read, so it is lost. */
export async function restoredHash(id: string, state: string): Promise<IHasher> {
  const hasher = await createSHA256();
  try {
    return hasher.load(Buffer.from(state, 'base64'));
  } catch (cause) {
    throw new SlipwayError('UPLOAD_UNKNOWN', `upload ${id} was begun by another release and cannot go on`, {
      hint: 'Begin a new one.',
      cause,
    });
  }
}
