import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { maxDockerfileBytes } from '../../shared/dockerfile/lines.ts';
import { parseDockerfile } from '../../shared/dockerfile/parse.ts';
import { SlipwayError, type SourceRange } from '../../shared/errors.ts';

const parse = (text: string) => parseDockerfile('Dockerfile', text);

/** Every word with its place, found by walking the tree. */
function words(node: unknown, found: { text: string; where: SourceRange }[] = []): typeof found {
  if (Array.isArray(node)) for (const item of node) words(item, found);
  else if (typeof node === 'object' && node !== null) {
    if ('text' in node && 'where' in node && typeof node.text === 'string') found.push(node as (typeof found)[number]);
    for (const member of Object.values(node)) words(member, found);
  }
  return found;
}

describe('places', () => {
  test('of words on one line are exact', () => {
    const text = [
      'FROM  --platform=linux/amd64   debian:12  AS  Name',
      '\tCOPY --chown=a:b  one  "two" /three/  ',
      'WORKDIR   /a b ',
      'EXPOSE 80   90/udp',
      'VOLUME [ "/v1" ,"/v2" ]',
    ].join('\n');
    const lines = text.split('\n');
    const found = words(parse(text).stages);
    expect(found.map(({ text: word }) => word).sort()).toEqual(
      ['debian:12', 'linux/amd64', 'Name', 'a:b', 'one', '"two"', '/three/', '/a b', '80', '90/udp', '/v1', '/v2'].sort(),
    );
    for (const { text: word, where } of found) {
      expect(where.start.line).toBe(where.end.line);
      const written = lines[where.start.line - 1]!.slice(where.start.column - 1, where.end.column);
      expect(written.replace(/^--\w+=/, '').replace(/^"(\/v\d)"$/, '$1')).toBe(word);
    }
  });

  test('go through continuation lines, comments and a byte order mark', () => {
    const [stage] = parse('\ufeffFROM x\n  COPY a \\\n# comment\n    bb \\\n\n /c').stages;
    const [copy] = stage!.instructions;
    expect(copy).toMatchObject({
      kind: 'copy',
      where: { start: { line: 2, column: 3 }, end: { line: 6, column: 3 } },
      sources: [
        { text: 'a', where: { start: { line: 2, column: 8 }, end: { line: 2, column: 8 } } },
        { text: 'bb', where: { start: { line: 4, column: 5 }, end: { line: 4, column: 6 } } },
      ],
      destination: { text: '/c', where: { start: { line: 6, column: 2 }, end: { line: 6, column: 3 } } },
    });
  });

  test('a word cut by a continuation is one word', () => {
    const [stage] = parse('FROM x\nUSER ab\\\ncd').stages;
    expect(stage!.instructions[0]).toMatchObject({
      word: { text: 'abcd', where: { start: { line: 2, column: 6 }, end: { line: 3, column: 2 } } },
    });
  });
});

describe('directives', () => {
  test('count only before everything else', () => {
    expect(parse('# Syntax = a/b:1 \n#check=skip=all\nFROM x').directives.map(({ name, value }) => [name, value])).toEqual([
      ['syntax', 'a/b:1'],
      ['check', 'skip=all'],
    ]);
    expect(parse('# a comment\n# escape=`\nFROM x').escapeChar).toBe('\\');
    expect(parse('\n# escape=`\nFROM x').escapeChar).toBe('\\');
    expect(parse('# unknown=1\n# escape=`\nFROM x').escapeChar).toBe('\\');
  });
});

describe('hostile input', () => {
  test('a file beyond the bound is refused before it is read', () => {
    const text = `FROM x\n#${'é'.repeat(maxDockerfileBytes / 2)}`;
    expect(() => parse(text)).toThrow(expect.objectContaining({ code: 'TOO_LARGE' }));
  });

  test.each([
    ['opened arrays', `CMD ${'['.repeat(1_000_000)}`],
    ['nested arrays', `CMD ${'['.repeat(500_000)}${']'.repeat(500_000)}`],
    ['ONBUILD in ONBUILD', 'ONBUILD '.repeat(100_000)],
    ['quotes', `LABEL a=${'"\''.repeat(200_000)}`],
    ['here-documents', `RUN ${'<<a '.repeat(100_000)}`],
    ['blanks inside a directive', `LABEL a${' '.repeat(1_000_000)}b`],
    ['carriage returns', `RUN ${'\r'.repeat(1_000_000)}x`],
    ['flags', `COPY ${'--exclude=a '.repeat(100_000)} a b`],
    ['a duration', `HEALTHCHECK --interval=${'1'.repeat(1_000_000)} CMD x`],
  ])('%s', (_, line) => {
    try {
      parse(`FROM x\n${line}\n`);
    } catch (error) {
      expect(error).toBeInstanceOf(SlipwayError);
    }
  });

  test('a directive with a long run of blanks', () => {
    expect(parse(`# syntax=a${' '.repeat(1_000_000)}b\nFROM x`).stages).toHaveLength(1);
  });
});

describe('law', () => {
  const piece = fc.constantFrom(
    ...[
      'FROM x\n',
      'FROM x AS y\n',
      'RUN ',
      'COPY ',
      'ADD ',
      'ENV ',
      'ARG ',
      'LABEL ',
      'ONBUILD ',
      'HEALTHCHECK ',
      'SHELL ',
      'EXPOSE ',
      'VOLUME ',
    ],
    ...[
      '\n',
      '\r\n',
      '\\\n',
      '# c\n',
      '# escape=`\n',
      '<<EOF',
      '<<-"E F"',
      '\nEOF\n',
      '["a",',
      '"b"]',
      ' ',
      '\t',
      '=',
      '--from=1 ',
      '--x',
      "'",
      '"',
      '\\',
    ],
    ...['a', '$b', '/c', 'é', '\0', 'NONE', 'CMD ', '[', '80/tcp', '--interval=1s '],
  );

  test('any text parses or fails with a SlipwayError that points into it', () => {
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 25 }), fc.boolean(), (pieces, from) => {
        const text = (from ? 'FROM base\n' : '') + pieces.join('');
        const lines = text.split('\n');
        const check = (where: SourceRange | undefined): void => {
          expect(where!.start.line).toBeGreaterThanOrEqual(1);
          expect(where!.end.line).toBeGreaterThanOrEqual(where!.start.line);
          expect(where!.end.line).toBeLessThanOrEqual(lines.length);
          expect(where!.start.column).toBeLessThanOrEqual(lines[where!.start.line - 1]!.length + 1);
        };
        try {
          for (const { where } of words(parse(text).stages)) check(where);
        } catch (error) {
          if (!(error instanceof SlipwayError)) throw error;
          check(error.where);
        }
      }),
      { numRuns: 3000 },
    );
  });
});
