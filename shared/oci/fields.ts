// Reading members of untrusted JSON documents: every error names the document and the member, as in `manifest.layers[2].digest`.
import { isUtf8 } from 'node:buffer';
import { SlipwayError } from '../errors.ts';

export type Members = Readonly<Record<string, unknown>>;

export const invalid = (where: string, problem: string, cause?: unknown): SlipwayError =>
  new SlipwayError('INVALID_DOCUMENT', `${where}: ${problem}`, cause === undefined ? {} : { cause });

const kindOf = (value: unknown): string => {
  if (value === null) return 'null';
  if (Array.isArray(value)) return 'an array';
  return typeof value === 'object' ? 'an object' : `a ${typeof value}`;
};

/** The JSON value in `bytes`: UTF-8 (checked), at most `limit` bytes. TOO_LARGE or INVALID_DOCUMENT. */
export function parseJson(bytes: Uint8Array, where: string, limit: number): unknown {
  if (bytes.length > limit) {
    throw new SlipwayError('TOO_LARGE', `${where}: ${bytes.length} bytes are more than the limit of ${limit}`, {
      details: { size: bytes.length, limit },
    });
  }
  try {
    if (!isUtf8(bytes)) throw new TypeError('it is not UTF-8');
    const text = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('utf8');
    return JSON.parse(text.startsWith('\ufeff') ? text.slice(1) : text);
  } catch (cause) {
    throw invalid(where, `not a JSON document (${cause instanceof Error ? cause.message : String(cause)})`, cause);
  }
}

export function asObject(value: unknown, where: string): Members {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw invalid(where, value === undefined ? 'missing' : `must be an object, not ${kindOf(value)}`);
  }
  return value as Members;
}

export function asArray(value: unknown, where: string): readonly unknown[] {
  if (!Array.isArray(value)) throw invalid(where, value === undefined ? 'missing' : `must be an array, not ${kindOf(value)}`);
  return value;
}

export function asString(value: unknown, where: string): string {
  if (typeof value !== 'string') throw invalid(where, value === undefined ? 'missing' : `must be a string, not ${kindOf(value)}`);
  return value;
}

/** A whole number from 0 to 2^53 - 1: sizes and counts. */
export function asCount(value: unknown, where: string): number {
  if (typeof value !== 'number' || !Number.isSafeInteger(value) || value < 0) {
    throw invalid(where, value === undefined ? 'missing' : `must be a whole number of at least 0, not ${JSON.stringify(value)}`);
  }
  return value;
}

export function asInteger(value: unknown, where: string): number {
  if (typeof value !== 'number' || !Number.isInteger(value)) throw invalid(where, `must be a whole number, not ${kindOf(value)}`);
  return value;
}

export function asBoolean(value: unknown, where: string): boolean {
  if (typeof value !== 'boolean') throw invalid(where, `must be true or false, not ${kindOf(value)}`);
  return value;
}

export const asStrings = (value: unknown, where: string): readonly string[] =>
  asArray(value, where).map((item, i) => asString(item, `${where}[${i}]`));

export function asStringMap(value: unknown, where: string): Readonly<Record<string, string>> {
  const map = asObject(value, where);
  for (const [name, item] of Object.entries(map)) asString(item, `${where}[${JSON.stringify(name)}]`);
  return map as Readonly<Record<string, string>>;
}

/** Go writes `null` for an empty member as readily as it leaves it out: both are absence. */
export const given = (value: unknown): boolean => value !== undefined && value !== null;

/** `read` of a member that may be absent. */
export function optional<T>(value: unknown, where: string, read: (value: unknown, where: string) => T): T | undefined {
  return given(value) ? read(value, where) : undefined;
}

/** The object without its members that are `null` or `undefined`, everything else kept in place. */
export const withoutNulls = (value: Members): Members =>
  Object.fromEntries(Object.entries(value).filter(([, item]) => given(item)));
