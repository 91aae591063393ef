// What an account may do: grants, each a pattern of repositories or projects and the actions on them. A token carries what was asked for and is
// granted, never more.
import { SlipwayError } from '../errors.ts';
import { type Action, actions, type ProjectAction, projectActions, type Scope } from './scope.ts';

export interface RepositoryGrant {
  /** A repository, or a pattern: `*` stands for anything within one part of the path, `**` for any number of parts. */
  readonly repositories: string;
  readonly actions: readonly Action[];
}
export interface ProjectGrant {
  /** A project, or a pattern with `*` for anything. */
  readonly projects: string;
  readonly actions: readonly ProjectAction[];
}
export type Grant = RepositoryGrant | ProjectGrant;

/** All repositories, and their list, and all projects. */
export const everything: readonly Grant[] = [
  { repositories: '**', actions },
  { projects: '*', actions: projectActions },
];

/** Throws USAGE for a grant that means nothing, naming what is wrong. */
export function checkGrant(grant: Grant): Grant {
  const known: readonly string[] = 'projects' in grant ? projectActions : actions;
  if ('projects' in grant) checkProjectPattern(grant.projects);
  else checkPattern(grant.repositories);
  if (grant.actions.length === 0 || grant.actions.some((action) => !known.includes(action))) {
    throw new SlipwayError('USAGE', `a grant names actions out of ${known.join(', ')}, not ${JSON.stringify(grant.actions)}`);
  }
  return grant;
}

const projectPattern = /^[A-Za-z0-9*][A-Za-z0-9._*-]{0,127}$/;

function checkProjectPattern(pattern: string): void {
  if (projectPattern.test(pattern) && !pattern.includes('**')) return;
  throw new SlipwayError('USAGE', `${JSON.stringify(pattern.slice(0, patternLimit))} is not a pattern of projects`, {
    hint: 'Write a project such as web, web-* for those whose names begin so, or * for all.',
  });
}

const patternShape = /^(?:\*\*|[a-z0-9._*-]+)(?:\/(?:\*\*|[a-z0-9._*-]+))*$/;
const patternLimit = 255;

/** Throws USAGE, naming what is wrong. Patterns come from people: a slip must not grant what nobody meant. */
export function checkPattern(pattern: string): string {
  const parts = pattern.split('/');
  if (
    pattern.length > patternLimit ||
    !patternShape.test(pattern) ||
    parts.some((part) => part !== '**' && part.includes('**'))
  ) {
    throw new SlipwayError('USAGE', `${JSON.stringify(pattern.slice(0, patternLimit))} is not a pattern of repositories`, {
      hint: 'Write a repository such as team/app, team/* for those directly in team, or team/** for all below it.',
    });
  }
  return pattern;
}

/** Whether a repository is among those a pattern names. `team/**` does not name `team` itself. */
export function matchesPattern(pattern: string, name: string): boolean {
  return matchParts(pattern.split('/'), 0, name.split('/'), 0);
}

function matchParts(pattern: readonly string[], p: number, name: readonly string[], n: number): boolean {
  const part = pattern[p];
  if (part === undefined) return n === name.length;
  if (part === '**') {
    // At least one part, so that `**` at the end means "something below". Patterns are short: no memory of failures is needed.
    for (let taken = n + 1; taken <= name.length; taken++) if (matchParts(pattern, p + 1, name, taken)) return true;
    return false;
  }
  const word = name[n];
  return word !== undefined && matchWord(part, word) && matchParts(pattern, p + 1, name, n + 1);
}

/** `*` within one word, in time linear in both (no expression is built out of somebody's pattern). */
function matchWord(pattern: string, word: string): boolean {
  const [first = '', ...rest] = pattern.split('*');
  if (rest.length === 0) return pattern === word;
  const last = rest.pop() as string;
  if (!word.startsWith(first) || word.length < first.length + last.length || !word.endsWith(last)) return false;
  let at = first.length;
  const end = word.length - last.length;
  for (const piece of rest) {
    const found = word.indexOf(piece, at);
    if (found < 0 || found + piece.length > end) return false;
    at = found + piece.length;
  }
  return true;
}

/** What of the asked is granted: the intersection, scope by scope. */
export function narrow(asked: readonly Scope[], grants: readonly Grant[]): readonly Scope[] {
  return asked.flatMap((scope): Scope[] => {
    // The list names repositories of everybody, so only who may pull all of them sees it.
    if (scope.kind === 'catalog') {
      return grants.some((grant) => 'repositories' in grant && grant.repositories === '**' && grant.actions.includes('pull'))
        ? [scope]
        : [];
    }
    if (scope.kind === 'project') {
      const allowed = scope.actions.filter((action) =>
        grants.some((grant) => 'projects' in grant && grant.actions.includes(action) && matchWord(grant.projects, scope.name)),
      );
      return allowed.length === 0 ? [] : [{ ...scope, actions: allowed }];
    }
    const allowed = scope.actions.filter((action) =>
      grants.some(
        (grant) => 'repositories' in grant && grant.actions.includes(action) && matchesPattern(grant.repositories, scope.name),
      ),
    );
    return allowed.length === 0 ? [] : [{ ...scope, actions: allowed }];
  });
}
