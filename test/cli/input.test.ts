// Files that a command is to read and cannot: the message is the reason.
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
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
