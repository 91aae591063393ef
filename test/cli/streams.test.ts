// What happens to a command whose output goes nowhere.
import { spawnSync } from 'node:child_process';
import { closeSync, existsSync, openSync } from 'node:fs';
import { join } from 'node:path';
import { Writable } from 'node:stream';
import { expect, it } from 'vitest';
import { type Io, warn, write } from '../../cli/io.ts';
import { runCli } from '../../cli/run-cli.ts';

const main = join(import.meta.dirname, '../../cli/main.ts');

const failing = (code: string) =>
  new Writable({ write: (_, __, done) => done(Object.assign(new Error(code), { code })) }).on('error', () => undefined);

it('a full disk behind standard output is an error, a reader that went away is none', async () => {
  await expect(write(failing('ENOSPC'), 'x')).rejects.toMatchObject({
    code: 'STORE',
    message: 'the output cannot be written: ENOSPC',
  });
  await expect(write(failing('EPIPE'), 'x')).resolves.toBeUndefined();
  await expect(warn({ stderr: failing('ENOSPC') } as unknown as Io, 'x')).resolves.toBeUndefined();
});

it('an error that cannot be printed still gives its exit code', async () => {
  const io = { stdout: failing('EIO'), stderr: failing('EIO'), env: {}, signal: new AbortController().signal } as unknown as Io;
  expect(await runCli(['version'], io)).toBe(1);
  expect(await runCli(['version', '--nope'], io)).toBe(125);
});

it.skipIf(!existsSync('/dev/full'))('says so in a line, without a stack', () => {
  const full = openSync('/dev/full', 'w');
  const { status, stderr } = spawnSync(process.execPath, [main, '--help'], { stdio: ['ignore', full, 'pipe'], encoding: 'utf8' });
  closeSync(full);
  expect({ status, stderr }).toEqual({ status: 1, stderr: 'Error: the output cannot be written: ENOSPC\n' });
});

it('flags before the command are refused as flags', async () => {
  const said: string[] = [];
  const stderr = new Writable({ write: (chunk, _, done) => done(void said.push(String(chunk))) });
  const io = { stderr, env: {} } as unknown as Io;
  expect([await runCli(['--json=1', 'images'], io), await runCli(['-xy'], io)]).toEqual([125, 125]);
  expect(said.join('')).toMatch(/^unknown flag: --json\n[\s\S]*unknown shorthand flag: 'x' in -xy\n/);
});
