import { PassThrough } from 'node:stream';
import { expect, it } from 'vitest';
import { helpText } from '../../cli/command.ts';
import { commands } from '../../cli/commands.ts';
import type { Io } from '../../cli/io.ts';
import { runCli } from '../../cli/run-cli.ts';

async function cli(argv: readonly string[], env: Record<string, string> = {}) {
  const stdout = new PassThrough();
  const stderr = new PassThrough();
  const io: Io = { stdin: new PassThrough(), stdout, stderr, env, cwd: '/', signal: new AbortController().signal, now: () => 0 };
  const code = await runCli(argv, io);
  return { code, out: String(stdout.read() ?? ''), err: String(stderr.read() ?? '') };
}

it('lists its commands without an argument and with --help', async () => {
  const { code, out } = await cli([]);
  expect(code).toBe(0);
  for (const name of Object.keys(commands)) expect(out).toContain(`  ${name} `);
  expect((await cli(['--help'])).out).toBe(out);
});

it('has help that matches the list for every command', async () => {
  for (const [name, listed] of Object.entries(commands)) {
    const { command } = await listed.load();
    expect(command.name).toBe(name);
    expect(command.summary).toBe(listed.summary);
    expect(helpText(command)).toContain(`Usage:  slipway ${name}`);
    expect((await cli([name, '--help'])).code).toBe(0);
    expect((await cli(['help', name])).out).toBe(helpText(command));
  }
});

it('names an unknown command and points at the help', async () => {
  const { code, err } = await cli(['frobnicate']);
  expect(code).toBe(1);
  expect(err).toContain('unknown command: slipway frobnicate');
  expect(err).toContain("Run 'slipway --help'");
});

it('says what the first word of several begins, with and without the spelling of docker', async () => {
  const { code, out, err } = await cli(['image', '--help']);
  expect({ code, err }).toEqual({ code: 0, err: '' });
  for (const line of ['  ls       List images', '  prune    Remove images without a name']) expect(out).toContain(`${line}\n`);
  expect((await cli(['help', 'image'])).out).toBe(out);
  expect((await cli(['context', '-h'])).out).toContain('  create   Name an endpoint\n');
  expect(await cli(['image'])).toMatchObject({
    code: 1,
    out: '',
    err: expect.stringContaining('history, import, inspect, load, ls, '),
  });
  expect((await cli(['system', 'df'])).err).toContain('unknown command: slipway system df; there is prune\n');
});

it('answers 125 to an unknown flag, as docker does', async () => {
  const { code, err } = await cli(['version', '--nope']);
  expect(code).toBe(125);
  expect(err).toContain('unknown flag: --nope');
});

it('refuses an endpoint or a context that is none rather than working somewhere else', async () => {
  const nowhere = { HOME: '/nonexistent' };
  const { code, err } = await cli(['images'], { ...nowhere, SLIPWAY_ENDPOINT: 'gopher://example.com' });
  expect(code).toBe(1);
  expect(err).toContain('"gopher://example.com" is not an endpoint');
  expect((await cli(['images'], { ...nowhere, SLIPWAY_CONTEXT: 'nosuch' })).err).toContain('there is no context "nosuch"');
  for (const chosen of [['--context', 'nosuch'], ['--context=nosuch'], ['-c', 'nosuch']])
    expect((await cli([...chosen, 'images'], nowhere)).err).toContain('there is no context "nosuch"');
  expect((await cli(['context'], nowhere)).err).toContain('create, inspect, ls, rm, show, use');
});

it.each(['pull', 'push'])('%s does not pass over a wish for signatures', async (verb) => {
  const { code, err } = await cli([verb, '--disable-content-trust=false', 'localhost:1/app'], { SLIPWAY_CONFIG: '/nonexistent' });
  expect(code).toBe(1);
  expect(err).toMatch(/^Error: --disable-content-trust=false: signatures are neither checked nor made\n/);
});
