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

it('answers 125 to an unknown flag, as docker does', async () => {
  const { code, err } = await cli(['version', '--nope']);
  expect(code).toBe(125);
  expect(err).toContain('unknown flag: --nope');
});

it('refuses an endpoint that it cannot use yet rather than building somewhere else', async () => {
  const { code, err } = await cli(['build', '.'], { SLIPWAY_ENDPOINT: 'https://example.com' });
  expect(code).toBe(1);
  expect(err).toContain('SLIPWAY_ENDPOINT');
});
