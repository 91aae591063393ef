// The checks that need no more than the parsed file. Those that need a base image's config or build arguments are in build/.
import type { From, StageInstruction } from './instructions.ts';
import type { Dockerfile } from './parse.ts';
import { type Finding, Findings } from './rules.ts';

/** Findings of all static checks, of every stage. */
export function lintDockerfile(dockerfile: Dockerfile): readonly Finding[] {
  const findings = new Findings(dockerfile.directives);
  lintFile(dockerfile, findings);
  for (const { instructions } of dockerfile.stages) lintStage(instructions, findings);
  return findings.list;
}

/** The checks of the file as a whole. A build reports these even of stages it does not need, as docker does. */
export function lintFile(dockerfile: Dockerfile, findings: Findings): void {
  for (const where of dockerfile.emptyContinuations) findings.report('NoEmptyContinuation', 'Empty continuation line', where);
  for (const { from, instructions } of dockerfile.stages) {
    stageHeader(from, findings);
    for (const { kind, where, comments } of instructions)
      if (kind === 'maintainer')
        findings.report('MaintainerDeprecated', 'Maintainer instruction is deprecated in favor of using label', where, comments);
  }
  stageNames(dockerfile, findings);
  casing(dockerfile, findings);
  descriptions(dockerfile, findings);
}

const isLower = (text: string): boolean => text === text.toLowerCase();
const isUpper = (text: string): boolean => text === text.toUpperCase();

function stageHeader({ as, keyword, where, comments }: From, findings: Findings): void {
  if (as === undefined) return;
  if (!isLower(as.name.text))
    findings.report('StageNameCasing', `Stage name '${as.name.text}' should be lowercase`, where, comments);
  const matches = isLower(keyword) ? isLower(as.keyword) : isUpper(keyword) ? isUpper(as.keyword) : true;
  if (!matches)
    findings.report('FromAsCasing', `'${as.keyword}' and '${keyword}' keywords' casing do not match`, where, comments);
}

const secret = /(?:_|^)(?:apikey|auth|credential|credentials|key|password|pword|passwd|secret|token)(?:_|$)/i;
const harmless = /(?:_|^)(?:public|file|version)(?:_|$)/i;

function secrets(keyword: string, at: Pick<From, 'where' | 'comments'>, names: readonly string[], findings: Findings): void {
  for (const name of names)
    if (secret.test(name) && !harmless.test(name))
      findings.report(
        'SecretsUsedInArgOrEnv',
        `Do not use ARG or ENV instructions for sensitive data (${keyword} ${JSON.stringify(name)})`,
        at.where,
        at.comments,
      );
}

function oneInstruction(instruction: StageInstruction, findings: Findings): void {
  const { kind, where, comments } = instruction;
  if (kind === 'env' || kind === 'label') {
    const name = kind.toUpperCase();
    for (const pair of instruction.pairs)
      if (pair.legacy)
        findings.report(
          'LegacyKeyValueFormat',
          `"${name} key=value" should be used instead of legacy "${name} key value" format`,
          where,
          comments,
        );
    if (kind === 'env')
      secrets(
        'ENV',
        instruction,
        instruction.pairs.map(({ key }) => key),
        findings,
      );
  }
  if (kind === 'arg')
    secrets(
      'ARG',
      instruction,
      instruction.args.map(({ name }) => name),
      findings,
    );
}

/** The checks of the instructions of one stage, ONBUILD triggers of its base first. */
export function lintStage(instructions: readonly StageInstruction[], findings: Findings): void {
  for (const instruction of instructions) oneInstruction(instruction, findings);
  onlyOnce(instructions, findings);
}

function onlyOnce(instructions: readonly StageInstruction[], findings: Findings): void {
  const seen = new Map<string, StageInstruction>();
  for (const instruction of instructions) {
    const { kind } = instruction;
    if (kind !== 'cmd' && kind !== 'entrypoint' && kind !== 'healthcheck') continue;
    const earlier = seen.get(kind);
    // the earlier one is reported, because it is the one that has no effect
    if (earlier !== undefined)
      findings.report(
        'MultipleInstructionsDisallowed',
        `Multiple ${kind.toUpperCase()} instructions should not be used in the same stage because only the last one will be used`,
        earlier.where,
        earlier.comments,
      );
    seen.set(kind, instruction);
  }
}

function stageNames(dockerfile: Dockerfile, findings: Findings): void {
  const seen = new Set<string>();
  for (const { from } of dockerfile.stages) {
    const { name, where, comments } = from;
    if (name === undefined) continue;
    if (name === 'scratch' || name === 'context')
      findings.report(
        'ReservedStageName',
        `Stage name should not use the same name as reserved stage "${name}"`,
        where,
        comments,
      );
    if (seen.has(name))
      findings.report('DuplicateStageName', `Duplicate stage name "${name}", stage names should be unique`, where, comments);
    seen.add(name);
  }
}

function casing(dockerfile: Dockerfile, findings: Findings): void {
  const all = dockerfile.stages.flatMap(({ from, instructions }) => [from, ...instructions]);
  let balance = 0;
  for (const { keyword } of all) balance += isLower(keyword) ? 1 : isUpper(keyword) ? -1 : 0;
  const [fits, majority] = balance > 0 ? [isLower, 'lowercase'] : [isUpper, 'uppercase'];
  for (const { keyword, where, comments } of all)
    if (!fits(keyword))
      findings.report(
        'ConsistentInstructionCasing',
        `Command '${keyword}' should match the case of the command majority (${majority})`,
        where,
        comments,
      );
}

function descriptions(dockerfile: Dockerfile, findings: Findings): void {
  const check = (what: string, names: readonly string[], at: Pick<From, 'where' | 'comments'>): void => {
    const last = at.comments.at(-1);
    if (last === undefined || names.length === 0 || names.includes(last.split(' ')[0]!)) return;
    const example = names.length > 1 ? '<arg_key>' : names[0]!;
    findings.report(
      'InvalidDefinitionDescription',
      `Comment for ${what} should follow the format: \`# ${example} <description>\``,
      at.where,
      at.comments,
    );
  };
  for (const { from, instructions } of dockerfile.stages) {
    if (from.name !== undefined) check('FROM', [from.name], from);
    for (const instruction of instructions)
      if (instruction.kind === 'arg')
        check(
          'ARG',
          instruction.args.map(({ name }) => name),
          instruction,
        );
  }
  for (const arg of dockerfile.metaArgs)
    check(
      'ARG',
      arg.args.map(({ name }) => name),
      arg,
    );
}
