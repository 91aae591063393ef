import { describe, expect, test } from 'vitest';
import { containerCommand, containerEnv, envFromFile, envFromFlag } from '../../shared/container/command.ts';

const shell = (line: string) => ['/bin/sh', '-c', line];

describe('entrypoint and command', () => {
  test.each<[string, string[] | undefined, string[] | undefined, string[], string | undefined, string[]]>([
    ['F83 words after the image replace CMD', undefined, ['bash'], ['sleep', '10'], undefined, ['sleep', '10']],
    ['F84 CMD shell form', undefined, shell('sleep 10'), [], undefined, shell('sleep 10')],
    ['F84 CMD exec form', undefined, ['sleep', '10'], [], undefined, ['sleep', '10']],
    ['F84 one word with a blank stays one', undefined, ['sleep 10'], [], undefined, ['sleep 10']],
    ['F85 ENTRYPOINT with an argument', ['sleep'], undefined, ['10'], undefined, ['sleep', '10']],
    ['F85 ENTRYPOINT without', ['sleep'], undefined, [], undefined, ['sleep']],
    ['F86 ENTRYPOINT and CMD', ['sleep'], ['10'], [], undefined, ['sleep', '10']],
    ['F86 ENTRYPOINT and words', ['sleep'], ['10'], ['15'], undefined, ['sleep', '15']],
    ['F87 --entrypoint with words', ['sleep'], ['10'], ['10'], 'sleep2.0', ['sleep2.0', '10']],
    ['F87 --entrypoint drops CMD', ['sleep'], ['10'], [], 'sleep2.0', ['sleep2.0']],
    ['F87 --entrypoint is one word', undefined, undefined, [], 'sleep 2', ['sleep 2']],
    ['F87 --entrypoint "" clears it', ['sleep'], ['10'], ['ls'], '', ['ls']],
    ['F88 ENTRYPOINT shell: CMD is ignored by sh', shell('ep'), ['a'], [], undefined, [...shell('ep'), 'a']],
    ['F88 ENTRYPOINT exec, CMD shell', ['ep'], shell('c'), [], undefined, ['ep', ...shell('c')]],
  ])('%s', (_, Entrypoint, Cmd, args, entrypoint, expected) => {
    const config = { ...(Entrypoint && { Entrypoint }), ...(Cmd && { Cmd }) };
    expect(containerCommand(config, { args, ...(entrypoint !== undefined && { entrypoint }) })).toEqual(expected);
  });

  test.each<[string, string[], string[], string | undefined]>([
    ['F88 neither', [], [], undefined],
    ['F87 --entrypoint "" drops CMD as well', ['ep'], ['cmd'], ''],
    ['an empty word', [''], [], undefined],
  ])('nothing to start: %s', (_, Entrypoint, Cmd, entrypoint) => {
    expect(() => containerCommand({ Entrypoint, Cmd }, { args: [], ...(entrypoint !== undefined && { entrypoint }) })).toThrow(
      expect.objectContaining({ code: 'RUN_ENGINE', message: 'no command specified', exit: 125 }),
    );
  });
});

test('the environment: defaults, image, asked for, home; a later one wins in its place', () => {
  const facts = { hostname: 'h', terminal: true, home: '/root' };
  expect(containerEnv(['A=1', 'PATH=/x', 'B=2'], ['A=3', 'C='], facts)).toEqual([
    ...['PATH=/x', 'HOSTNAME=h', 'TERM=xterm', 'A=3', 'B=2', 'C=', 'HOME=/root'],
  ]);
  expect(containerEnv(['HOME=/h'], [], { ...facts, terminal: false })).not.toContain('HOME=/root');
});

test('environment files', () => {
  const text = '\ufeff# comment\n\nA=1\r\n  B = not this \nMINE\nABSENT\nQ="kept" # all\n';
  expect(() => envFromFile(text, 'f', {})).toThrow(/f, line 4/);
  expect(envFromFile(text.replace('  B = not this ', 'B= '), 'f', { MINE: 'm' })).toEqual([
    'A=1',
    'B= ',
    'MINE=m',
    'Q="kept" # all',
  ]);
  expect(() => envFromFlag('=x', {})).toThrow(/invalid environment variable/);
});
