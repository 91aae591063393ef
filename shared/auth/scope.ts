// What somebody may do, as registries say it: `repository:team/app:pull,push` (distribution docs/content/spec/auth/scope.md).
import { isRepositoryPath } from '../oci/reference.ts';

/** Of a repository. `*` in a request asks for all of them. */
export const actions = ['pull', 'push', 'delete'] as const;
export type Action = (typeof actions)[number];

export type Scope =
  | { readonly kind: 'repository'; readonly name: string; readonly actions: readonly Action[] }
  /** The list of all repositories, and search. */
  | { readonly kind: 'catalog' };

const catalogScope = 'registry:catalog:';
/** One token covers so many repositories: far above what a push with mounts asks for. */
export const scopeLimit = 50;

/**
 * The scopes that a request names, malformed and unknown ones left out, as the token specification asks: what a server does not
 * understand it does not grant. Several scopes of one repository become one.
 */
export function parseScopes(texts: readonly string[]): readonly Scope[] {
  const repositories = new Map<string, Set<Action>>();
  let catalog = false;
  for (const text of texts.flatMap((one) => one.split(' '))) {
    if (text.startsWith(catalogScope)) {
      catalog = true;
      continue;
    }
    // `repository(plugin):name:actions`: a class says nothing to us.
    const match = /^repository(?:\([a-z0-9]+\))?:([^:]+):([a-z*,]+)$/.exec(text);
    const name = match?.[1];
    if (name === undefined || !isRepositoryPath(name)) continue;
    const asked = match?.[2]?.split(',') ?? [];
    const wanted = asked.includes('*') ? actions : actions.filter((action) => asked.includes(action));
    if (wanted.length === 0) continue;
    const known = repositories.get(name) ?? new Set();
    for (const action of wanted) known.add(action);
    if (repositories.has(name) || repositories.size < scopeLimit) repositories.set(name, known);
  }
  return [
    ...Array.from(
      repositories,
      ([name, set]): Scope => ({ kind: 'repository', name, actions: actions.filter((a) => set.has(a)) }),
    ),
    ...(catalog ? [{ kind: 'catalog' } as const] : []),
  ];
}

export const formatScope = (scope: Scope): string =>
  scope.kind === 'catalog' ? `${catalogScope}*` : `repository:${scope.name}:${scope.actions.join(',')}`;

/** Whether what was granted covers one action. */
export function covers(
  granted: readonly Scope[],
  wanted: { readonly name: string; readonly action: Action } | 'catalog',
): boolean {
  return granted.some((scope) =>
    wanted === 'catalog'
      ? scope.kind === 'catalog'
      : scope.kind === 'repository' && scope.name === wanted.name && scope.actions.includes(wanted.action),
  );
}
