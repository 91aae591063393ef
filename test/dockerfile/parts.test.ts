import { expect, test } from 'vitest';
import { formatDuration, parseDuration } from '../../shared/dockerfile/duration.ts';
import { lintDockerfile } from '../../shared/dockerfile/lint.ts';
import { parseDockerfile } from '../../shared/dockerfile/parse.ts';
import { parseCheckOptions, ruleUrl } from '../../shared/dockerfile/rules.ts';
import { isSignal } from '../../shared/dockerfile/signals.ts';
import { distance, nearest } from '../../shared/dockerfile/suggest.ts';

test.each([
  ['0', 0, '0s'],
  ['5s', 5e9, '5s'],
  ['1m30s', 9e10, '1m30s'],
  ['1.5h', 54e11, '1h30m0s'],
  ['2h', 72e11, '2h0m0s'],
  ['500ms', 5e8, '500ms'],
  ['1.5ms', 1.5e6, '1.5ms'],
  ['20us', 2e4, '20µs'],
  ['7ns', 7, '7ns'],
  ['-3s', -3e9, '-3s'],
  ['.5s', 5e8, '500ms'],
])('duration %s', (text, nanoseconds, printed) => {
  expect(parseDuration(text)).toBe(nanoseconds);
  expect(formatDuration(nanoseconds)).toBe(printed);
});

test.each(['', '5', '5 s', 's', '1d', '1h-', '9999999999h', '1'.repeat(200)])('no duration: %s', (text) => {
  expect(parseDuration(text)).toBeUndefined();
});

test('signals', () => {
  for (const good of ['SIGTERM', 'term', '9', 'SIGRTMIN+3', 'RTMAX-1', 'SIGRTMIN', '64'])
    expect([good, isSignal(good)]).toEqual([good, true]);
  for (const bad of ['', '0', '65', '-1', 'SIG', 'SIGTERN', 'RTMIN+16', '9x', 'constructor'])
    expect([bad, isSignal(bad)]).toEqual([bad, false]);
});

test('suggestions are within two edits, and never the word itself', () => {
  expect(distance('kitten', 'sitting', 9)).toBe(3);
  expect(nearest('RUNN', ['RUN', 'ENV'])).toBe('RUN');
  expect(nearest('runn', ['RUN'], false)).toBe('run');
  expect(nearest('RUN', ['RUN', 'RUNN'])).toBeUndefined();
  expect(nearest('elsewhere', ['RUN'])).toBeUndefined();
});

test('check options', () => {
  const where = { file: 'f', start: { line: 1, column: 1 }, end: { line: 1, column: 1 } };
  expect(parseCheckOptions('skip=A, B;error=true;experimental=all', where)).toEqual({
    skip: new Set(['A', 'B']),
    experimental: 'all',
    error: true,
  });
  for (const bad of ['skip', 'x=1', 'error=maybe', ''])
    expect(() => parseCheckOptions(bad, where)).toThrow(expect.objectContaining({ code: 'DOCKERFILE', where }));
});

test('rules have the addresses of their pages', () => {
  expect(ruleUrl('LegacyKeyValueFormat')).toBe('https://docs.docker.com/go/dockerfile/rule/legacy-key-value-format/');
  expect(ruleUrl('JSONArgsRecommended')).toBe('https://docs.docker.com/go/dockerfile/rule/json-args-recommended/');
});

test('the static checks alone cover every stage', () => {
  const file = parseDockerfile('Dockerfile', 'FROM a AS X\nENV k v\nFROM b\nMAINTAINER m\nENV secret_key=1\n');
  expect(lintDockerfile(file).map(({ rule, where }) => [rule, where.start.line])).toEqual([
    ['StageNameCasing', 1],
    ['MaintainerDeprecated', 4],
    ['LegacyKeyValueFormat', 2],
    ['SecretsUsedInArgOrEnv', 5],
  ]);
});
