import { describe, expect, it } from 'vitest';
import { defineCommand, helpText, parse, UsageError } from '../../cli/command.ts';

const command = defineCommand({
  name: 'try',
  summary: 'Tries',
  usage: '[OPTIONS] IMAGE [COMMAND] [ARG...]',
  options: {
    env: { type: 'string', short: 'e', multiple: true, value: 'NAME=VALUE', help: 'Set a variable' },
    interactive: { type: 'boolean', short: 'i', help: 'Keep stdin open' },
    tty: { type: 'boolean', short: 't', help: 'A terminal' },
    name: { type: 'string', help: 'A name' },
    kept: { type: 'string', keepsEmpty: true, help: 'A value that may be empty' },
    'no-trunc': { type: 'boolean', help: 'Whole' },
    secret: { type: 'string', hidden: true, help: '' },
  },
  args: { min: 1, max: 3 },
  run: async () => 0,
});
const running = { ...command, stopAtFirstArgument: true, args: { min: 1 } };

describe('parsing a command line', () => {
  it('takes flags before and after arguments, grouped, joined and spelled out', () => {
    const { args, options } = parse(command, ['-it', 'image', '-eA=1', '--env', 'B=2', '--env=C=3', '--name', 'x']);
    expect(args).toEqual(['image']);
    expect(options).toMatchObject({ interactive: true, tty: true, env: ['A=1', 'B=2', 'C=3'], name: 'x' });
  });

  it('reads --flag=false and --flag=true of a boolean', () => {
    expect(parse(command, ['--no-trunc=false', 'image']).options['no-trunc']).toBe(false);
    expect(parse(command, ['--no-trunc=true', 'image']).options['no-trunc']).toBe(true);
  });

  it('reads a boolean as docker does, in short too, and the last one counts', () => {
    expect(parse(command, ['-i=false', '-t=1', 'image']).options).toMatchObject({ interactive: false, tty: true });
    expect(parse(command, ['--tty=false', '-it', 'image']).options).toMatchObject({ interactive: true, tty: true });
  });

  it('takes the word after a flag for its value whatever it begins with', () => {
    const { args, options } = parse(command, ['-e', '-A=1', '--env', '--', '--name', '--tty=true', '-e=B', '--env=', 'image']);
    expect(args).toEqual(['image']);
    expect(options).toMatchObject({ env: ['-A=1', '--', 'B', ''], name: '--tty=true' });
    expect(options.tty).toBeUndefined();
  });

  it('takes an empty value for none, where the command does not ask for it', () => {
    const { options } = parse(command, ['--name', '', '--kept=', '-e', '', 'image']);
    expect(options).toMatchObject({ env: [''], kept: '' });
    expect(options.name).toBeUndefined();
    expect(parse(command, ['--name=a', '--name=', 'image']).options.name).toBeUndefined();
  });

  it('leaves what follows -- alone', () => {
    const { args, options } = parse(command, ['-i', '--', '--tty=true', '-x', '--']);
    expect(args).toEqual(['--tty=true', '-x', '--']);
    expect(options.tty).toBeUndefined();
  });

  it('gives an empty list for a repeatable flag that was not given', () => {
    expect(parse(command, ['image']).options.env).toEqual([]);
  });

  it.each([
    [['-it', '-e', 'A=1', 'image', 'ls', '-l', '--name', 'y']],
    [['-ite', 'A=1', 'image', 'ls', '-l', '--name', 'y']],
    [['-it', '--env=A=1', 'image', 'ls', '-l', '--name', 'y']],
    [['-it', '--env', 'A=1', '--', 'image', 'ls', '-l', '--name', 'y']],
  ])('stops at the first argument where the command wants it: %j', (argv) => {
    const { args, options } = parse(running, argv);
    expect(args).toEqual(['image', 'ls', '-l', '--name', 'y']);
    expect(options.env).toEqual(['A=1']);
    expect(options.name).toBeUndefined();
  });

  it.each([
    [['--nope', 'image'], 'unknown flag: --nope'],
    [['--__proto__=x', 'image'], 'unknown flag: --__proto__'],
    [['-ix', 'image'], "unknown shorthand flag: 'x' in -ix"],
    [['image', '--name'], 'flag needs an argument: --name'],
    [['image', '-ie'], "flag needs an argument: 'e' in -ie"],
    [['--interactive=maybe'], 'invalid argument "maybe" for "-i, --interactive" flag: true or false is expected'],
    [[], "'slipway try' requires at least 1 argument"],
    [['a', 'b', 'c', 'd'], "'slipway try' requires at most 3 arguments"],
  ])('says what is wrong with %j', (argv, message) => {
    expect(() => parse(command, argv)).toThrow(UsageError);
    expect(() => parse(command, argv)).toThrow(message);
  });

  it('asks for no arguments when help is wanted', () => {
    expect(parse(command, ['--help']).help).toBe(true);
  });

  it('shows every option but the hidden ones in its help', () => {
    const text = helpText(command);
    expect(text).toContain('-e, --env NAME=VALUE');
    expect(text).toContain('    --no-trunc');
    expect(text).not.toContain('secret');
  });
});
