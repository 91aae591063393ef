// The `--name[=value]` flags of an instruction, checked against what the instruction knows.
import type { SourceRange } from '../errors.ts';
import { parseError } from './failure.ts';
import { type LogicalLine, rangeOf, type Word } from './source.ts';
import type { RawFlag } from './split-command.ts';
import { didYouMean } from './suggest.ts';

export type FlagKind = 'bool' | 'string' | 'strings';

export interface Flag {
  /** The value; its place is the whole flag's. */
  readonly value: Word;
  readonly where: SourceRange;
}

export class Flags {
  readonly #values: ReadonlyMap<string, readonly Word[]>;

  constructor(values: ReadonlyMap<string, readonly Word[]>) {
    this.#values = values;
  }

  word(name: string): Word | undefined {
    return this.#values.get(name)?.at(-1);
  }

  words(name: string): readonly Word[] {
    return this.#values.get(name) ?? [];
  }

  /** Undefined when the flag was not given. */
  bool(name: string): boolean | undefined {
    const word = this.word(name);
    return word === undefined ? undefined : word.text === 'true';
  }
}

/** @throws SlipwayError DOCKERFILE at the flag: unknown, given twice, without a value. */
export function readFlags(line: LogicalLine, raw: readonly RawFlag[], known: Readonly<Record<string, FlagKind>>): Flags {
  const values = new Map<string, Word[]>();
  for (const { text, start, end } of raw) {
    const where = rangeOf(line, start, end);
    const equals = text.indexOf('=');
    const spelled = equals < 0 ? text : text.slice(0, equals);
    const name = spelled.slice(2);
    const kind = Object.hasOwn(known, name) ? known[name] : undefined;
    if (kind === undefined) throw parseError(`unknown flag: ${spelled}${didYouMean(name, Object.keys(known))}`, where);
    const given = values.get(name);
    if (given !== undefined && kind !== 'strings') throw parseError(`duplicate flag specified: ${spelled}`, where);
    let value = equals < 0 ? '' : text.slice(equals + 1);
    if (kind === 'bool') {
      if (equals >= 0 && value === '') throw parseError(`missing a value on flag: ${spelled}`, where);
      value = value.toLowerCase() || 'true';
      if (value !== 'true' && value !== 'false')
        throw parseError(`expecting boolean value for flag ${spelled}, not: ${text.slice(equals + 1)}`, where);
    } else if (equals < 0) throw parseError(`missing a value on flag: ${spelled}`, where);
    if (given === undefined) values.set(name, [{ text: value, where }]);
    else given.push({ text: value, where });
  }
  return new Flags(values);
}
