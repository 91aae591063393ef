import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { checkGrant, checkPattern, everything, type Grant, matchesPattern, narrow } from '../../shared/auth/grants.ts';
import { covers, formatScope, parseScopes } from '../../shared/auth/scope.ts';

describe('scopes', () => {
  test('are read as the token specification writes them', () => {
    expect(parseScopes(['repository:team/app:pull,push', 'registry:catalog:*'])).toEqual([
      { kind: 'repository', name: 'team/app', actions: ['pull', 'push'] },
      { kind: 'catalog' },
    ]);
    expect(parseScopes(['repository:a:pull repository:b:*', 'repository:a:delete']).map(formatScope)).toEqual([
      'repository:a:pull,delete',
      'repository:b:pull,push,delete',
    ]);
    expect(parseScopes(['repository(plugin):a:pull']).map(formatScope)).toEqual(['repository:a:pull']);
    // The grammar has a host, which may have a port: images of other registries are known by such names.
    const elsewhere = ['repository:registry.example/app:pull', 'repository:localhost:5000/team/app:pull,push'];
    expect(parseScopes(elsewhere).map(formatScope)).toEqual(elsewhere);
  });

  test('that are malformed or unknown ask for nothing', () => {
    for (const odd of [
      '',
      'repository',
      'repository:a',
      'repository:A:pull',
      'repository:../x:pull',
      'repository:a:admin',
      'x:y:z',
    ])
      expect(parseScopes([odd]), odd).toEqual([]);
    expect(parseScopes([Array.from({ length: 200 }, (_, i) => `repository:r${i}:pull`).join(' ')])).toHaveLength(50);
  });
});

describe('scopes of projects', () => {
  test('are read beside those of repositories, and do not pass for them', () => {
    const scopes = parseScopes(['project:web:build,push repository:web:pull,build project:web:view', 'project:A.b-1:*']);
    expect(scopes.map(formatScope)).toEqual(['project:web:view,build', 'repository:web:pull', 'project:A.b-1:view,build,manage']);
    for (const odd of [
      'project:a/b:build',
      'project::build',
      'project:-a:build',
      'project:a:pull',
      `project:${'x'.repeat(129)}:build`,
    ])
      expect(parseScopes([odd]), odd).toEqual([]);
    expect(covers(scopes, { project: 'web', action: 'build' })).toBe(true);
    expect(covers(scopes, { project: 'web', action: 'manage' })).toBe(false);
    expect(covers(parseScopes(['repository:web:*']), { project: 'web', action: 'build' })).toBe(false);
    expect(covers(parseScopes(['project:web:*']), { name: 'web', action: 'pull' })).toBe(false);
  });

  test('are granted by patterns of projects only', () => {
    const asked = parseScopes(['project:web:*', 'project:web-2:build', 'project:api:build', 'repository:web:pull']);
    expect(narrow(asked, [{ projects: 'web*', actions: ['view', 'build'] }]).map(formatScope)).toEqual([
      'project:web:view,build',
      'project:web-2:build',
    ]);
    expect(narrow(asked, [{ repositories: '**', actions: ['pull'] }]).map(formatScope)).toEqual(['repository:web:pull']);
    expect(narrow(asked, everything)).toEqual(asked);
  });

  test('are refused where a grant would mean nothing', () => {
    for (const grant of [
      { projects: '', actions: ['build'] },
      { projects: '**', actions: ['build'] },
      { projects: 'a/b', actions: ['build'] },
      { projects: 'a', actions: [] },
      { projects: 'a', actions: ['pull'] },
      { repositories: 'a', actions: ['build'] },
    ] as unknown as Grant[])
      expect(() => checkGrant(grant)).toThrow(expect.objectContaining({ code: 'USAGE' }));
  });
});

describe('patterns', () => {
  test.each([
    ['team/app', 'team/app', true],
    ['team/app', 'team/app2', false],
    ['team/app', 'team', false],
    ['team/*', 'team/app', true],
    ['team/*', 'team/app/x', false],
    ['team/*', 'team', false],
    ['team/**', 'team/app/x', true],
    ['team/**', 'team', false],
    ['team/**', 'teams/app', false],
    ['**', 'a', true],
    ['**', 'a/b/c', true],
    ['*', 'a/b', false],
    ['**/base', 'a/b/base', true],
    ['**/base', 'base', false],
    ['team/app-*', 'team/app-web', true],
    ['team/app-*', 'team/app', false],
    ['a*b*c', 'axbxc', true],
    ['a*b*c', 'abc', true],
    ['a*b*c', 'acb', false],
    ['ab*ba', 'aba', false],
  ])('%s and %s: %s', (pattern, name, matches) => {
    expect(matchesPattern(checkPattern(pattern), name)).toBe(matches);
  });

  test.each(['', '/', 'team/', '/team', 'Team', 'te**am', 'a b', 'a/../b?', 'x'.repeat(300), '***'])('%s is none', (pattern) => {
    expect(() => checkPattern(pattern)).toThrow(expect.objectContaining({ code: 'USAGE' }));
  });
});

describe('what is granted', () => {
  const grants: readonly Grant[] = [
    { repositories: 'team/**', actions: ['pull', 'push'] },
    { repositories: 'team/app', actions: ['delete'] },
  ];

  test('is what was asked for and allowed, from all grants together', () => {
    const asked = parseScopes(['repository:team/app:pull,push,delete', 'repository:team/web:*', 'repository:other:pull']);
    expect(narrow(asked, grants).map(formatScope)).toEqual([
      'repository:team/app:pull,push,delete',
      'repository:team/web:pull,push',
    ]);
  });

  test('is the list of repositories only for who may pull all of them', () => {
    const asked = parseScopes(['registry:catalog:*']);
    expect(narrow(asked, grants)).toEqual([]);
    expect(narrow(asked, [{ repositories: '**', actions: ['push'] }])).toEqual([]);
    expect(narrow(asked, [{ repositories: '**', actions: ['pull'] }])).toEqual([{ kind: 'catalog' }]);
  });

  test('is never more than either', () => {
    const action = fc.constantFrom('pull' as const, 'push' as const, 'delete' as const);
    const acts = fc.uniqueArray(action, { minLength: 1 });
    const name = fc.constantFrom('a', 'b', 'a/b', 'a/b/c', 'b/c');
    const pattern = fc.constantFrom('a', '*', '**', 'a/*', 'a/**', '*/b');
    const scope = fc.record({ kind: fc.constant('repository' as const), name, actions: acts });
    fc.assert(
      fc.property(
        fc.array(scope),
        fc.array(fc.record({ repositories: pattern, actions: acts })),
        name,
        action,
        (asked, given, n, a) => {
          const allowed = given.some((g) => g.actions.includes(a) && matchesPattern(g.repositories, n));
          const wanted = { name: n, action: a };
          expect(covers(narrow(asked, given), wanted)).toBe(covers(asked, wanted) && allowed);
        },
      ),
    );
  });
});
