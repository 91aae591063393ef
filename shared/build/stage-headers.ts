// The FROM lines: their ARGs, platforms and bases, before any image is looked up.
import { dockerfileError, unsupported } from '../dockerfile/failure.ts';
import type { Dockerfile, Stage } from '../dockerfile/parse.ts';
import type { Findings } from '../dockerfile/rules.ts';
import type { Word } from '../dockerfile/source.ts';
import { didYouMean, nearest } from '../dockerfile/suggest.ts';
import { type Expanded, expand } from '../dockerfile/words.ts';
import { isCode, SlipwayError } from '../errors.ts';
import { formatPlatform, type Platform, parsePlatform, samePlatform } from '../oci/platform.ts';
import { parseReference } from '../oci/reference.ts';
import type { PlanBudget } from './plan-budget.ts';

export type HeaderBase =
  | { readonly kind: 'scratch' }
  | { readonly kind: 'image'; readonly name: string }
  | { readonly kind: 'stage'; readonly stage: number };

export interface StageHeader {
  readonly stage: Stage;
  readonly base: HeaderBase;
  /** Raised when the stage is needed: a stage that is not may ask for what we cannot do. */
  readonly refusal?: SlipwayError;
}

export interface HeaderInput {
  readonly dockerfile: Dockerfile;
  readonly buildArgs: Readonly<Record<string, string>>;
  readonly platform: Platform;
  /** Values of the platform ARGs, build arguments not yet applied. */
  readonly predefined: ReadonlyMap<string, string>;
  readonly findings: Findings;
  readonly budget: PlanBudget;
}

export interface Headers {
  readonly headers: readonly StageHeader[];
  /** The platform ARGs and the ARGs before the first FROM: what FROM sees, and what a bare ARG in a stage takes its value from. */
  readonly globals: ReadonlyMap<string, string>;
}

/** @throws SlipwayError DOCKERFILE */
export function readHeaders(input: HeaderInput): Headers {
  const { dockerfile, buildArgs } = input;
  const start = new Map(input.predefined);
  for (const name of start.keys()) if (Object.hasOwn(buildArgs, name)) start.set(name, buildArgs[name]!);
  defaultBases(input, start);
  const globals = metaArgs(input, start, buildArgs);
  const declared = new Set([...globals.keys(), ...dockerfile.metaArgs.flatMap(({ args }) => args.map(({ name }) => name))]);
  const byName = new Map<string, number>();
  const headers: StageHeader[] = [];
  for (const stage of dockerfile.stages) {
    headers.push(header(input, stage, globals, declared, byName));
    if (stage.from.name !== undefined) byName.set(stage.from.name, stage.index);
  }
  return { headers, globals };
}

function metaArgs(
  input: HeaderInput,
  start: ReadonlyMap<string, string>,
  buildArgs: HeaderInput['buildArgs'],
): Map<string, string> {
  const { dockerfile, budget } = input;
  const values = new Map(start);
  for (const { args } of dockerfile.metaArgs) {
    for (const { name, value, where } of args) {
      if (Object.hasOwn(buildArgs, name)) values.set(name, buildArgs[name]!);
      else if (value !== undefined) {
        const { text } = expand(value, { lookup: (key) => values.get(key), escapeChar: dockerfile.escapeChar, where });
        budget.charge(text.length, where);
        values.set(name, text);
      }
    }
  }
  return values;
}

/** InvalidDefaultArgInFrom: the defaults alone ought to give a usable FROM. */
function defaultBases(input: HeaderInput, start: ReadonlyMap<string, string>): void {
  const { dockerfile, findings } = input;
  const values = metaArgs(input, start, {});
  for (const { from } of dockerfile.stages) {
    const { text } = expand(from.image.text, {
      lookup: (key) => values.get(key),
      escapeChar: dockerfile.escapeChar,
      where: from.image.where,
    });
    if (text === from.image.text || imageProblem(text) === undefined) continue;
    const message = `Default value for ARG ${from.image.text} results in empty or invalid base image name`;
    findings.report('InvalidDefaultArgInFrom', message, from.where, from.comments);
  }
}

function header(
  input: HeaderInput,
  stage: Stage,
  globals: ReadonlyMap<string, string>,
  declared: ReadonlySet<string>,
  byName: ReadonlyMap<string, number>,
): StageHeader {
  const { image, platform, where, comments } = stage.from;
  const inFrom = (word: Word): Expanded => {
    const { escapeChar } = input.dockerfile;
    const result = expand(word.text, { lookup: (key) => globals.get(key), escapeChar, where: word.where });
    for (const name of result.unmatched) {
      if (input.findings.full || declared.has(name)) continue;
      const message = `FROM argument '${name}' is not declared${didYouMean(name, declared)}`;
      input.findings.report('UndefinedArgInFrom', message, where, comments);
    }
    return result;
  };
  const refusal = platform && refusedPlatform(input, stage, inFrom(platform), globals);
  const name = inFrom(image).text;
  input.budget.charge(name.length, where);
  if (name === '') {
    const hint = 'give the ARG a default before the first FROM, or pass it with --build-arg';
    throw dockerfileError(`base name (${image.text}) should not be blank`, image.where, hint);
  }
  const base = baseOf(name, byName);
  if (base.kind === 'image') {
    const problem = imageProblem(name);
    if (problem !== undefined) {
      const stageName = nearest(name, byName.keys());
      const hint =
        stageName === undefined ? 'a base is an image, an earlier stage, or scratch' : `did you mean the stage ${stageName}?`;
      throw dockerfileError(`failed to parse stage name ${JSON.stringify(name)}: ${problem.message}`, image.where, hint);
    }
  }
  return { stage, base, ...(refusal && { refusal }) };
}

function baseOf(name: string, byName: ReadonlyMap<string, number>): HeaderBase {
  if (name === 'scratch') return { kind: 'scratch' };
  const stage = byName.get(name.toLowerCase());
  return stage === undefined ? { kind: 'image', name } : { kind: 'stage', stage };
}

function refusedPlatform(
  { platform, findings }: HeaderInput,
  { from }: Stage,
  expanded: Expanded,
  globals: ReadonlyMap<string, string>,
): SlipwayError | undefined {
  const word = from.platform!;
  const { text, matched, unmatched } = expanded;
  if (text === '') {
    const [unset = ''] = unmatched;
    throw dockerfileError(`empty platform value from expression ${word.text}${didYouMean(unset, globals.keys())}`, word.where);
  }
  const asked = platformOf(text, word, platform);
  const onlyTarget = matched.size === 1 && matched.has('TARGETPLATFORM') && unmatched.size === 0;
  if (onlyTarget && text === globals.get('TARGETPLATFORM')) {
    const message = `Setting platform to predefined ${word.text} in FROM is redundant as this is the default behavior`;
    findings.report('RedundantTargetPlatform', message, from.where, from.comments);
  }
  const constant = matched.size === 0 && unmatched.size === 0;
  if (constant && !from.name?.includes(asked.os) && !from.name?.includes(asked.architecture))
    findings.report(
      'FromPlatformFlagConstDisallowed',
      `FROM --platform flag should not use constant value "${text}"`,
      from.where,
      from.comments,
    );
  if (samePlatform(asked, platform)) return undefined;
  return unsupported(
    `FROM --platform=${formatPlatform(asked)} in a build for ${formatPlatform(platform)}`,
    word.where,
    'all stages of a build have its platform',
  );
}

function platformOf(text: string, word: Word, build: Platform): Platform {
  try {
    return parsePlatform(text, build);
  } catch (error) {
    if (!isCode(error, 'INVALID_PLATFORM')) throw error;
    throw dockerfileError(`failed to parse platform ${word.text}: ${error.message}`, word.where, error.hint);
  }
}

/** What is wrong with the name of an image, or undefined. */
export function imageProblem(name: string): SlipwayError | undefined {
  try {
    parseReference(name);
    return undefined;
  } catch (error) {
    if (!(error instanceof SlipwayError)) throw error;
    // whoever reports it has named it already
    return new SlipwayError(error.code, error.message.replace(`: ${JSON.stringify(name)}`, ''));
  }
}
