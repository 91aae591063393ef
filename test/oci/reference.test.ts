import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { isCode } from '../../shared/errors.ts';
import { canonical, familiar, parseReference, parseTarget, withDefaultTag } from '../../shared/oci/reference.ts';

const hex = '0123456789abcdef'.repeat(4);
const digest = `sha256:${hex}`;

describe('what a reference means', () => {
  const cases: readonly [text: string, host: string, path: string, repository: string, tag?: string, digest?: string][] = [
    ['ubuntu', 'docker.io', 'library/ubuntu', 'ubuntu'],
    ['ubuntu:18.04', 'docker.io', 'library/ubuntu', 'ubuntu', '18.04'],
    ['ubuntu:5000', 'docker.io', 'library/ubuntu', 'ubuntu', '5000'],
    ['a/b', 'docker.io', 'a/b', 'a/b'],
    ['a/b/c:t', 'docker.io', 'a/b/c', 'a/b/c', 't'],
    ['docker.io/httpd', 'docker.io', 'library/httpd', 'httpd'],
    ['index.docker.io/httpd', 'docker.io', 'library/httpd', 'httpd'],
    ['docker.io/library/httpd', 'docker.io', 'library/httpd', 'httpd'],
    ['docker.io/library/a/b', 'docker.io', 'library/a/b', 'library/a/b'],
    ['library/httpd', 'docker.io', 'library/httpd', 'httpd'],
    ['gcr.io/httpd', 'gcr.io', 'httpd', 'gcr.io/httpd'],
    ['gcr.io/httpd/httpd:latest', 'gcr.io', 'httpd/httpd', 'gcr.io/httpd/httpd', 'latest'],
    ['localhost/app', 'localhost', 'app', 'localhost/app'],
    ['localhost:5000/app:1', 'localhost:5000', 'app', 'localhost:5000/app', '1'],
    ['registry:5000/app', 'registry:5000', 'app', 'registry:5000/app'],
    ['[2001:db8::1]:5000/app:x', '[2001:db8::1]:5000', 'app', '[2001:db8::1]:5000/app', 'x'],
    ['UPPER/app', 'UPPER', 'app', 'UPPER/app'],
    [`app@${digest}`, 'docker.io', 'library/app', 'app', undefined, digest],
    [`app:t@${digest}`, 'docker.io', 'library/app', 'app', 't', digest],
    ['x/a--b__c.d_e', 'docker.io', 'x/a--b__c.d_e', 'x/a--b__c.d_e'],
    [`x${'/y'.repeat(10)}`, 'docker.io', `x${'/y'.repeat(10)}`, `x${'/y'.repeat(10)}`],
  ];
  it.each(cases)('%s', (text, host, path, repository, tag, wanted) => {
    const found = parseReference(text);
    expect(found).toEqual({ host, path, repository, ...(tag && { tag }), ...(wanted && { digest: wanted }) });
    expect(parseReference(canonical(found))).toEqual(found);
    expect(parseReference(familiar(found))).toEqual(found);
  });

  it('a tag is latest only when there is neither tag nor digest', () => {
    expect(familiar(withDefaultTag(parseReference('app')))).toBe('app:latest');
    expect(familiar(withDefaultTag(parseReference(`app@${digest}`)))).toBe(`app@${digest}`);
    expect(canonical(withDefaultTag(parseReference('app')))).toBe('docker.io/library/app:latest');
  });
});

describe('what is refused, in docker’s words', () => {
  it.each([
    ['Ubuntu', 'invalid reference format: repository name (library/Ubuntu) must be lowercase'],
    ['docker.io/a/B:t', 'invalid reference format: repository name (a/B) must be lowercase'],
    ['', 'repository name must have at least one component'],
    [hex, `invalid repository name (${hex}), cannot specify 64-byte hexadecimal strings`],
    ['a:', 'invalid reference format'],
    ['a::b', 'invalid reference format'],
    ['a:b:c', 'invalid reference format'],
    [':tag', 'invalid reference format'],
    ['/a', 'invalid reference format'],
    ['a//b', 'invalid reference format'],
    ['a/', 'invalid reference format'],
    ['-a', 'invalid reference format'],
    ['a-', 'invalid reference format'],
    ['a___b', 'invalid reference format'],
    ['a..b', 'invalid reference format'],
    ['../etc/passwd', 'invalid reference format'],
    ['a/../b', 'invalid reference format'],
    ['a b', 'invalid reference format'],
    ['a\n', 'invalid reference format'],
    ['a\0b', 'invalid reference format'],
    ['https://a.example/b', 'invalid reference format'],
    ['exa mple.com/a', 'invalid reference format'],
    ['-x.com/a', 'invalid reference format'],
    [`a:${'t'.repeat(129)}`, 'invalid reference format'],
    ['a:.t', 'invalid reference format'],
    ['a:t\n', 'invalid reference format'],
    ['a@sha256:abc', 'is not a digest'],
    [`a@${digest}@${digest}`, 'is not a digest'],
    [`${'a'.repeat(256)}/b`, 'must not be more than 255 characters'],
  ])('%j', (text, message) => {
    expect(() => parseReference(text)).toThrow(message);
  });

  it('scratch and digests as the name of something new', () => {
    expect(() => parseTarget('scratch')).toThrow("'scratch' is a reserved name");
    expect(() => parseTarget('scratch:x')).toThrow("'scratch' is a reserved name");
    expect(parseTarget('example.com/scratch').tag).toBe('latest');
    expect(() => parseTarget(`a@${digest}`)).toThrow('refusing to create a tag with a digest reference');
  });
});

const word = fc.stringMatching(/^[a-z0-9]{1,8}$/);
const path = fc.array(
  fc.tuple(word, fc.constantFrom('.', '_', '__', '-', '---'), word).map((parts) => parts.join('')),
  { minLength: 1, maxLength: 4 },
);

it('any name that is made by the grammar is read back from both of its forms', () => {
  fc.assert(
    fc.property(
      fc.option(fc.constantFrom('example.com', 'localhost', 'localhost:5000', '10.0.0.1:80', '[::1]')),
      path,
      fc.option(fc.stringMatching(/^[A-Za-z0-9_][A-Za-z0-9_.-]{0,20}$/)),
      fc.boolean(),
      (host, parts, tag, pinned) => {
        const text = [...(host ? [host] : []), ...parts].join('/') + (tag ? `:${tag}` : '') + (pinned ? `@${digest}` : '');
        // A first component with a dot is a host.
        const found = parseReference(text);
        expect(parseReference(canonical(found))).toEqual(found);
        expect(parseReference(familiar(found))).toEqual(found);
      },
    ),
  );
});

it('any text either is a reference or is refused with a code', () => {
  fc.assert(
    fc.property(fc.string({ unit: 'binary' }), (text) => {
      try {
        const found = parseReference(text);
        expect(found.path).toMatch(/^[a-z0-9]/);
        expect(found.path.split('/')).not.toContain('..');
      } catch (error) {
        // Not toMatchObject: on errors it takes 30 ms a time.
        if (!isCode(error, 'INVALID_REFERENCE', 'INVALID_DIGEST')) throw error;
      }
    }),
  );
});
