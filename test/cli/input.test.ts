// What a command is to read: files that it cannot, and input that does not come.
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { setTimeout as wait } from 'node:timers/promises';
import { expect, it } from 'vitest';
import { runCli } from '../../cli/run-cli.ts';
import { errnoOf, SlipwayError } from '../../shared/errors.ts';
import { cli } from '../support/cli.ts';
import { tempFolder } from '../support/temp.ts';

it('a code of ours is not the name of a system error', () => {
  expect(errnoOf(new SlipwayError('USAGE', 'x'))).toBeUndefined();
  expect(errnoOf(Object.assign(new Error('x'), { code: 'ENOENT' }))).toBe('ENOENT');
});

it('says that a folder is no archive, and which line of a file of variables is wrong', async () => {
  await using folder = await tempFolder();
  const options = { home: join(folder.path, 'home'), cwd: folder.path };
  mkdirSync(join(folder.path, 'dir'));
  writeFileSync(join(folder.path, 'env'), 'A=1\n=2\n');
  expect((await cli(['load', '-i', 'dir'], options)).err).toBe('Error: open dir: is a directory\n');
  expect((await cli(['import', 'dir'], options)).err).toBe('Error: open dir: is a directory\n');
  const { code, err } = await cli(['run', '--env-file', 'env', 'image'], options);
  expect(code).toBe(125);
  expect(err).toMatch(/^Error: bad variable name in env, line 2: ""\n/);
});

it.each([
  [['image', 'prune']],
  [['load']],
  [['import', '-', 'name']],
  [['build', '-q', '-']],
  [['build', '-q', '-f', '-', '.']],
  [['serve', '--username', 'a', '--password-stdin']],
  [['login', '--password-stdin', 'http://127.0.0.1:9']],
])('Ctrl-C ends the wait for input that does not come: %j', async (words) => {
  await using folder = await tempFolder();
  const stop = new AbortController();
  const [stdin, stdout, stderr] = [new PassThrough(), new PassThrough(), new PassThrough()];
  const env = { SLIPWAY_HOME: join(folder.path, 'home'), SLIPWAY_CONFIG: folder.path };
  const ended = runCli(words, { stdin, stdout, stderr, env, cwd: folder.path, signal: stop.signal, now: Date.now });
  // Somebody reads it now; before, nothing would be waited for.
  while (stdin.listenerCount('readable') === 0) await wait(1);
  stop.abort('SIGINT');
  expect(await ended).toBe(130);
  expect(String(stderr.read())).toBe('Cancelled\n');
});
