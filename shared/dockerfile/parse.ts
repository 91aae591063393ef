// Text to Dockerfile: directives, the ARGs before the first FROM, and stages of typed instructions. Nothing is expanded or resolved.
import { SlipwayError } from '../errors.ts';
import { dockerfileError, parseError, problemOf } from './failure.ts';
import type { Arg, From, StageInstruction } from './instructions.ts';
import { type Lines, readLines } from './lines.ts';
import { inStage, isFrom, parseInstruction } from './parse-instruction.ts';

export interface Stage {
  readonly index: number;
  readonly from: From;
  readonly instructions: readonly StageInstruction[];
}

export interface Dockerfile extends Omit<Lines, 'lines'> {
  readonly file: string;
  /** ARGs before the first FROM. */
  readonly metaArgs: readonly Arg[];
  readonly stages: readonly Stage[];
}

/**
 * Parses a Dockerfile. `file` is its name in messages.
 * @throws SlipwayError DOCKERFILE with the place of the first mistake, TOO_LARGE beyond `maxDockerfileBytes`.
 */
export function parseDockerfile(file: string, text: string): Dockerfile {
  const start = { file, start: { line: 1, column: 1 }, end: { line: 1, column: 1 } };
  if (text.length === 0) throw dockerfileError('the Dockerfile cannot be empty', start);
  const { lines, ...rest } = readLines(file, text);
  if (lines.length === 0) throw dockerfileError('file with no instructions', start, 'begin with FROM');
  const metaArgs: Arg[] = [];
  const stages: { index: number; from: From; instructions: StageInstruction[] }[] = [];
  for (const line of lines) {
    const instruction = parseInstruction(line, rest.escapeChar);
    const stage = stages.at(-1);
    if (isFrom(instruction)) stages.push({ index: stages.length, from: instruction, instructions: [] });
    else if (stage !== undefined) stage.instructions.push(instruction);
    else if (instruction.kind === 'arg') metaArgs.push(instruction);
    else
      throw parseError(
        `no build stage in current context: ${instruction.keyword} stands before the first FROM`,
        instruction.where,
        'only ARG may come before the first FROM',
      );
  }
  if (stages.length === 0) throw dockerfileError('dockerfile contains no stages to build', start, 'begin with FROM');
  return { file, ...rest, metaArgs, stages };
}

/**
 * Parses one ONBUILD trigger of an image's config. Its places are those of the FROM that names the image.
 * @throws SlipwayError DOCKERFILE at `from` when the trigger cannot be read or is not allowed.
 */
export function parseTrigger(trigger: string, from: From): StageInstruction {
  const where = from.where;
  const name = 'ONBUILD trigger';
  const shown = JSON.stringify(trigger.slice(0, 200));
  try {
    const { lines } = readLines(name, trigger);
    const [line] = lines;
    if (line === undefined || lines.length !== 1) throw dockerfileError('onbuild trigger should be a single expression', where);
    const instruction = parseInstruction(line, '\\');
    if (!inStage(instruction) || instruction.kind === 'onbuild' || instruction.kind === 'maintainer')
      throw dockerfileError(`${instruction.keyword} isn't allowed as an ONBUILD trigger`, where);
    return relocated(instruction, where);
  } catch (error) {
    if (!(error instanceof SlipwayError)) throw error;
    throw dockerfileError(`ONBUILD trigger ${shown} of ${from.image.text}: ${problemOf(error)}`, where, error.hint);
  }
}

/** The same instruction with every place in it replaced: a trigger has no line in this file. */
function relocated<T>(value: T, where: From['where']): T {
  if (Array.isArray(value)) return value.map((item) => relocated(item, where)) as T;
  if (typeof value !== 'object' || value === null) return value;
  const entries = Object.entries(value).map(([key, member]) => [key, key === 'where' ? where : relocated(member, where)]);
  return Object.fromEntries(entries) as T;
}
