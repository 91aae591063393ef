// Docker's build checks: names, addresses, and the collector that knows which are switched off (`# check=skip=...;error=true`).
import { SlipwayError, type SourceRange } from '../errors.ts';
import { dockerfileError, shown } from './failure.ts';
import type { Directive } from './lines.ts';

/** Same names as Docker's, so that configurations carry over; the two after the gap are ours. */
export const rules = {
  ConsistentInstructionCasing: 'consistent-instruction-casing',
  DuplicateStageName: 'duplicate-stage-name',
  ExposeInvalidFormat: 'expose-invalid-format',
  ExposeProtoCasing: 'expose-proto-casing',
  FromAsCasing: 'from-as-casing',
  FromPlatformFlagConstDisallowed: 'from-platform-flag-const-disallowed',
  InvalidBaseImagePlatform: 'invalid-base-image-platform',
  InvalidDefaultArgInFrom: 'invalid-default-arg-in-from',
  InvalidDefinitionDescription: 'invalid-definition-description',
  JSONArgsRecommended: 'json-args-recommended',
  LegacyKeyValueFormat: 'legacy-key-value-format',
  MaintainerDeprecated: 'maintainer-deprecated',
  MultipleInstructionsDisallowed: 'multiple-instructions-disallowed',
  NoEmptyContinuation: 'no-empty-continuation',
  RedundantTargetPlatform: 'redundant-target-platform',
  ReservedStageName: 'reserved-stage-name',
  SecretsUsedInArgOrEnv: 'secrets-used-in-arg-or-env',
  StageNameCasing: 'stage-name-casing',
  UndefinedArgInFrom: 'undefined-arg-in-from',
  UndefinedVar: 'undefined-var',
  WorkdirRelativePath: 'workdir-relative-path',

  UnconsumedBuildArgs: undefined,
  UnknownSyntax: undefined,
} as const satisfies Record<string, string | undefined>;

export type Rule = keyof typeof rules;

/** Off unless `experimental=` names them. */
const experimental: ReadonlySet<string> = new Set<Rule>(['InvalidDefinitionDescription']);

const ourUrls: Readonly<Partial<Record<Rule, string>>> = {
  UnconsumedBuildArgs: 'https://docs.docker.com/reference/dockerfile/#arg',
  UnknownSyntax: 'https://docs.docker.com/reference/dockerfile/#syntax',
};

export const ruleUrl = (rule: Rule): string => ourUrls[rule] ?? `https://docs.docker.com/go/dockerfile/rule/${rules[rule]}/`;

/** The shape of `Warning` in build/plan.ts, which imports nothing from here. */
export interface Finding {
  readonly rule: Rule;
  readonly message: string;
  readonly where: SourceRange;
  readonly url: string;
}

export interface CheckOptions {
  readonly skip: 'all' | ReadonlySet<string>;
  readonly experimental: 'all' | ReadonlySet<string>;
  /** Findings fail the build. */
  readonly error: boolean;
}

const has = (set: 'all' | ReadonlySet<string>, rule: string): boolean => set === 'all' || set.has(rule);

/** Reads the value of a `check` directive. @throws SlipwayError DOCKERFILE at `where`. */
export function parseCheckOptions(text: string, where: SourceRange): CheckOptions {
  let options: CheckOptions = { skip: new Set(), experimental: new Set(), error: false };
  for (const part of text.split(';')) {
    const equals = part.indexOf('=');
    const key = part.slice(0, Math.max(equals, 0)).trim();
    const value = part.slice(equals + 1).trim();
    const list = value === 'all' ? 'all' : new Set(value.split(',').map((rule) => rule.trim()));
    if (key === 'skip') options = { ...options, skip: list };
    else if (key === 'experimental') options = { ...options, experimental: list };
    else if (key === 'error' && /^(?:1|t|T|TRUE|true|True|0|f|F|FALSE|false|False)$/.test(value))
      options = { ...options, error: /^[1tT]/.test(value) };
    else throw dockerfileError(`invalid check option "${shown(part)}"`, where, 'check=skip=Rule1,Rule2;error=true');
  }
  return options;
}

/** More findings than this are not kept: the file may be hostile. */
const maxFindings = 1000;

/** Collects findings, leaving out what the file asks to leave out. */
export class Findings {
  readonly list: Finding[] = [];
  readonly #options: CheckOptions;

  constructor(directives: readonly Directive[]) {
    const check = directives.find(({ name }) => name === 'check');
    this.#options = parseCheckOptions(check?.value ?? 'error=false', check?.where ?? nowhere);
  }

  /** Nothing more is kept: what would only be computed for a message need not be. */
  get full(): boolean {
    return this.list.length >= maxFindings;
  }

  /** `comments` are those before the instruction: `# check=skip=Rule` there silences the rule for it alone. */
  report(rule: Rule, message: string, where: SourceRange, comments: readonly string[] = []): void {
    if (this.full) return;
    const local = comments.map((comment) => localOptions(comment, where)).find((options) => options !== undefined);
    const on = (options: CheckOptions): boolean => has(options.experimental, rule);
    const off = (options: CheckOptions): boolean => has(options.skip, rule);
    if (experimental.has(rule)) {
      if (!on(this.#options) && !(local && on(local))) return;
    } else if (off(this.#options) || (local && off(local))) return;
    this.list.push({ rule, message, where, url: ruleUrl(rule) });
  }

  /** @throws SlipwayError DOCKERFILE when the file asks findings to be errors and there are some. */
  enforce(): void {
    const [first] = this.list;
    if (!this.#options.error || first === undefined) return;
    const names = [...new Set(this.list.map(({ rule }) => rule))].sort();
    throw new SlipwayError('DOCKERFILE', `lint violation found for rules: ${names.join(', ')}`, {
      where: first.where,
      hint: `first: ${first.message}`,
      details: { warnings: this.list },
    });
  }
}

const nowhere: SourceRange = { file: '', start: { line: 1, column: 1 }, end: { line: 1, column: 1 } };

function localOptions(comment: string, where: SourceRange): CheckOptions | undefined {
  const match = /^check\s*=\s*(\S+)/i.exec(comment);
  if (match === null) return undefined;
  try {
    return parseCheckOptions(match[1]!, where);
  } catch (error) {
    // a comment in the middle of a file may be prose; BuildKit lets it be, too
    if (error instanceof SlipwayError) return undefined;
    throw error;
  }
}
