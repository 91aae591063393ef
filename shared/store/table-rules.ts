// What every Table driver checks before it works, so that a caller meets the same limits at home as in an account.
import { SlipwayError } from '../errors.ts';
import type { Json, Key, Query, TableRecord, Write } from './table.ts';

/** Bytes of UTF-8 in each half of a key. */
export const keyLimit = 1024;
/** Bytes of a value's JSON. */
export const valueLimit = 300 * 1024;
/** Writes in one transaction. */
export const transactionLimit = 100;
/** Bytes in one transaction, keys reckoned at their longest (DynamoDB: 4 MB). */
export const transactionBytes = 4_000_000;

const usage = (message: string): SlipwayError => new SlipwayError('USAGE', message);

export function checkKey(key: Key): void {
  for (const half of ['partition', 'sort'] as const) {
    const text = key[half];
    const bytes = Buffer.byteLength(text);
    if (bytes < 1 || bytes > keyLimit) throw usage(`table key: ${half} has ${bytes} bytes; it must have 1 to ${keyLimit}`);
    // Lone surrogates have no UTF-8, so two different keys would become one.
    if (!text.isWellFormed()) throw usage(`table key: ${half} ${JSON.stringify(text)} is not well-formed Unicode`);
  }
}

/** The JSON text that is stored; TOO_LARGE beyond the limit. */
export function encodeValue(key: Key, value: Json): string {
  const text = JSON.stringify(value);
  if (text === undefined) throw usage(`table record ${key.partition} ${key.sort}: the value is not JSON`);
  const size = Buffer.byteLength(text);
  if (size > valueLimit) {
    throw new SlipwayError('TOO_LARGE', `table record ${key.partition} ${key.sort}: ${size} bytes; at most ${valueLimit} fit`, {
      hint: 'Keep large content as a blob and its digest in the record.',
      details: { size, limit: valueLimit },
    });
  }
  return text;
}

/** Whole seconds, rounded up: a record lives at least as long as asked. */
export function checkExpiry(expires: number | undefined): number | undefined {
  if (expires === undefined) return undefined;
  if (!Number.isFinite(expires) || expires < 0) throw usage(`expires: ${expires} is not a time in seconds since 1970`);
  return Math.ceil(expires);
}

export function checkQuery(partition: string, query: Query): void {
  checkKey({ partition, sort: 'x' });
  if (!Number.isSafeInteger(query.limit) || query.limit < 1) {
    throw usage(`query: limit ${query.limit} is not a positive whole number`);
  }
  for (const name of ['prefix', 'after'] as const) {
    const text = query[name];
    if (text === undefined) continue;
    if (!text.isWellFormed()) throw usage(`query: ${name} is not well-formed Unicode`);
    if (Buffer.byteLength(text) > keyLimit) throw usage(`query: ${name} has more than ${keyLimit} bytes`);
  }
}

export function checkWrites(writes: readonly Write[]): void {
  if (writes.length > transactionLimit) {
    throw usage(`transaction: ${writes.length} writes; at most ${transactionLimit} go in one`);
  }
  const seen = new Set<string>();
  for (const { key } of writes) {
    checkKey(key);
    const name = JSON.stringify([key.partition, key.sort]);
    if (seen.has(name)) throw usage(`transaction: two writes for ${key.partition} ${key.sort}`);
    seen.add(name);
  }
  checkTogether(writes);
}

function checkTogether(writes: readonly Write[]): void {
  // Fewer cannot reach the limit, whatever they hold.
  if (writes.length * (valueLimit + 2 * keyLimit) <= transactionBytes) return;
  let size = 0;
  for (const write of writes) {
    if (write.kind === 'put') size += Buffer.byteLength(encodeValue(write.key, write.value)) + 2 * keyLimit;
  }
  if (size > transactionBytes) {
    throw new SlipwayError(
      'TOO_LARGE',
      `transaction: about ${size} bytes in ${writes.length} writes; at most ${transactionBytes} fit`,
      {
        details: { size, limit: transactionBytes },
      },
    );
  }
}

/** The smallest string above every string that starts with `prefix`, in UTF-8 byte order; undefined when there is none. */
export function upperBound(prefix: string): string | undefined {
  const points = Array.from(prefix, (character) => character.codePointAt(0)!);
  for (let last = points.pop(); last !== undefined; last = points.pop()) {
    if (last === 0x10ffff) continue;
    // Byte order is code point order, and surrogates are no code points of their own.
    const next = last === 0xd7ff ? 0xe000 : last + 1;
    return String.fromCodePoint(...points, next);
  }
  return undefined;
}

/** UTF-8 byte order; JavaScript's own `<` is UTF-16 order, which differs beyond U+FFFF. */
export const compareBytes = (a: string, b: string): number => Buffer.compare(Buffer.from(a), Buffer.from(b));

export function conflict(key: Key, current: TableRecord | undefined): SlipwayError {
  return new SlipwayError('STORE_CONFLICT', `table record ${key.partition} ${key.sort} was changed by another writer`, {
    hint: 'Read it again and decide anew.',
    details: { key: { partition: key.partition, sort: key.sort }, current },
  });
}
