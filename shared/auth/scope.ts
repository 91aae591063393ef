// What somebody may do, as registries say it: `repository:team/app:pull,push` (distribution docs/content/spec/auth/scope.md), and in the
// same words what the control API asks for: `project:default:view,build,manage`.
import { isProject } from '../context/project.ts';
import { isRepositoryPath } from '../oci/reference.ts';

/** Of a repository. `*` in a request asks for all of them. */
export const actions = ['pull', 'push', 'delete'] as const;
export type Action = (typeof actions)[number];

/**
 * Of a project. `view`: see its builds. `build`: send contexts, start builds, and see and cancel one's own. `manage`: cancel anybody's.
 */
export const projectActions = ['view', 'build', 'manage'] as const;
export type ProjectAction = (typeof projectActions)[number];

export type Scope =
  | { readonly kind: 'repository'; readonly name: string; readonly actions: readonly Action[] }
  | { readonly kind: 'project'; readonly name: string; readonly actions: readonly ProjectAction[] }
  /** The list of all repositories, and search. */
  | { readonly kind: 'catalog' };

/** One thing that somebody wants to do. */
export type Wanted =
  | { readonly name: string; readonly action: Action }
  | { readonly project: string; readonly action: ProjectAction }
  | 'catalog';

const catalogScope = 'registry:catalog:';
/** One token covers so many repositories and projects: far above what a push with mounts asks for. */
export const scopeLimit = 50;

/**
 * The scopes that a request names, malformed and unknown ones left out, as the token specification asks: what a server does not
 * understand it does not grant. Several scopes of one repository or project become one.
 */
export function parseScopes(texts: readonly string[]): readonly Scope[] {
  const found = new Map<
    string,
    { readonly kind: 'repository' | 'project'; readonly name: string; readonly actions: Set<string> }
  >();
  let catalog = false;
  for (const text of texts.flatMap((one) => one.split(' '))) {
    if (text.startsWith(catalogScope)) {
      catalog = true;
      continue;
    }
    // `repository(plugin):name:actions`: a class says nothing to us.
    const [, type, name, list = ''] = /^(repository|project)(?:\([a-z0-9]+\))?:(.+):([a-z*,]+)$/.exec(text) ?? [];
    const kind = type === 'project' ? type : 'repository';
    if (name === undefined || !(kind === 'project' ? isProject(name) : isRepositoryName(name))) continue;
    const asked = list.split(',');
    const known: readonly string[] = kind === 'project' ? projectActions : actions;
    const wanted = asked.includes('*') ? known : known.filter((action) => asked.includes(action));
    if (wanted.length === 0) continue;
    const key = `${kind}:${name}`;
    const scope = found.get(key) ?? { kind, name, actions: new Set() };
    for (const action of wanted) scope.actions.add(action);
    if (found.has(key) || found.size < scopeLimit) found.set(key, scope);
  }
  return [
    ...Array.from(
      found.values(),
      ({ kind, name, actions: set }): Scope =>
        kind === 'project'
          ? { kind, name, actions: projectActions.filter((a) => set.has(a)) }
          : { kind, name, actions: actions.filter((a) => set.has(a)) },
    ),
    ...(catalog ? [{ kind: 'catalog' } as const] : []),
  ];
}

/** A repository as the catalog knows it: one that came from another registry has its host, and perhaps a port, before the path. */
const isRepositoryName = (name: string): boolean => isRepositoryPath(name.replace(/^[a-z0-9.-]+:\d{1,5}\//, ''));

export const formatScope = (scope: Scope): string =>
  scope.kind === 'catalog' ? `${catalogScope}*` : `${scope.kind}:${scope.name}:${scope.actions.join(',')}`;

/** The scope to ask for. */
export const formatWanted = (wanted: Wanted): string =>
  wanted === 'catalog'
    ? `${catalogScope}*`
    : 'project' in wanted
      ? `project:${wanted.project}:${wanted.action}`
      : // Who may push reads what it pushes onto; clients ask for both.
        `repository:${wanted.name}:${wanted.action === 'push' ? 'pull,push' : wanted.action}`;

/** Whether what was granted covers one action. */
export function covers(granted: readonly Scope[], wanted: Wanted): boolean {
  return granted.some((scope) => {
    if (wanted === 'catalog') return scope.kind === 'catalog';
    if ('project' in wanted)
      return scope.kind === 'project' && scope.name === wanted.project && scope.actions.includes(wanted.action);
    return scope.kind === 'repository' && scope.name === wanted.name && scope.actions.includes(wanted.action);
  });
}
