// Values in templates as Go has them: what counts as true, how they are printed, and the functions over them.
import { SlipwayError } from '../shared/errors.ts';

export type Value = unknown;

/** The template is right, but not for this value. */
export const mismatch = (problem: string): SlipwayError => new SlipwayError('USAGE', `template parsing error: ${problem}`);

export const sortedEntries = (value: object): [string, Value][] => Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1));

export const truth = (value: Value): boolean => {
  if (typeof value === 'object' && value !== null) return Object.keys(value).length > 0;
  return Boolean(value);
};

/** As Go's fmt prints it: `[a b]`, `map[k:v]`. */
export function show(value: Value): string {
  if (value === undefined || value === null) return '<no value>';
  if (Array.isArray(value)) return `[${value.map(show).join(' ')}]`;
  if (typeof value === 'object')
    return `map[${sortedEntries(value)
      .map(([key, item]) => `${key}:${show(item)}`)
      .join(' ')}]`;
  return String(value);
}

const text = (value: Value, of: string): string => {
  if (typeof value !== 'string') throw mismatch(`${of}: ${show(value)} is not a string`);
  return value;
};
const list = (value: Value, of: string): readonly Value[] => {
  if (!Array.isArray(value)) throw mismatch(`${of}: ${show(value)} is not a list`);
  return value;
};

const compare = (a: Value, b: Value): number => {
  if (typeof a !== typeof b || (typeof a !== 'string' && typeof a !== 'number'))
    throw mismatch('incompatible types for comparison');
  return a === b ? 0 : (a as string) < (b as string) ? -1 : 1;
};

export const functions: Readonly<Record<string, (...args: Value[]) => Value>> = {
  json: (value) => JSON.stringify(value ?? null),
  index(value, ...keys) {
    return keys.reduce((inner: Value, key) => {
      if (inner === null || inner === undefined) throw mismatch('index of nil');
      if (Array.isArray(inner)) {
        const at = Number(key);
        if (!Number.isInteger(at) || at < 0 || at >= inner.length) throw mismatch(`index out of range: ${show(key)}`);
        return inner[at] as Value;
      }
      if (typeof inner !== 'object') throw mismatch(`can't index ${show(inner)}`);
      // A missing key of a map of strings is the empty string in Go.
      return Object.hasOwn(inner, String(key)) ? (inner as Record<string, Value>)[String(key)] : '';
    }, value);
  },
  len(value) {
    if (typeof value === 'string') return Buffer.byteLength(value);
    if (typeof value === 'object' && value !== null) return Object.keys(value).length;
    throw mismatch(`len of ${show(value)}`);
  },
  join: (items, separator) => list(items, 'join').map(show).join(text(separator, 'join')),
  split: (value, separator) => text(value, 'split').split(text(separator, 'split')),
  lower: (value) => text(value, 'lower').toLowerCase(),
  upper: (value) => text(value, 'upper').toUpperCase(),
  title: (value) => text(value, 'title').replace(/(?:^|\s)\S/g, (start) => start.toUpperCase()),
  println: (...values) => `${values.map(show).join(' ')}\n`,
  print: (...values) => values.map(show).join(''),
  printf(format, ...values) {
    let next = 0;
    return text(format, 'printf').replace(/%(%|[-+ 0-9.]*[a-zA-Z])/g, (all, verb: string) => {
      if (verb === '%') return '%';
      const value = values[next++];
      if (verb === 's' || verb === 'v') return show(value);
      if (verb === 'd') return String(Math.trunc(Number(value)));
      if (verb === 'q') return JSON.stringify(show(value));
      throw mismatch(`printf: ${all} is not supported`);
    });
  },
  eq: (first, ...others) => others.some((other) => other === first),
  ne: (a, b) => a !== b,
  lt: (a, b) => compare(a, b) < 0,
  le: (a, b) => compare(a, b) <= 0,
  gt: (a, b) => compare(a, b) > 0,
  ge: (a, b) => compare(a, b) >= 0,
  and: (...values) => values.find((value) => !truth(value)) ?? values.at(-1),
  or: (...values) => values.find(truth) ?? values.at(-1),
  not: (value) => !truth(value),
  truncate: (value, length) => Array.from(text(value, 'truncate')).slice(0, Number(length)).join(''),
  pad: (value, before, after) =>
    value === '' ? '' : ' '.repeat(Number(before)) + text(value, 'pad') + ' '.repeat(Number(after)),
};
