import { lstatSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { makeFolder } from '../../shared/store/make-folder.ts';
import { tempFolder } from '../support/temp.ts';

it('makes what is missing, with its mode, and takes what is there', async () => {
  await using folder = await tempFolder();
  const deep = join(folder.path, 'a/b/c');
  makeFolder(deep, 0o700);
  for (const path of ['a', 'a/b', 'a/b/c']) expect(statSync(join(folder.path, path)).mode & 0o777).toBe(0o700);
  makeFolder(deep);
  makeFolder(`${deep}/d/`);
  symlinkSync('a', join(folder.path, 'link'));
  makeFolder(join(folder.path, 'link'));
  makeFolder(join(folder.path, 'link/e'));
  expect(lstatSync(join(folder.path, 'a/e')).isDirectory()).toBe(true);
});

it('fails where there is a file, or a link to nothing, in the way', async () => {
  await using folder = await tempFolder();
  writeFileSync(join(folder.path, 'file'), '');
  symlinkSync('nowhere', join(folder.path, 'dangling'));
  expect(() => makeFolder(join(folder.path, 'file'))).toThrow('EEXIST');
  expect(() => makeFolder(join(folder.path, 'file/x'))).toThrow('ENOTDIR');
  expect(() => makeFolder(join(folder.path, 'dangling'))).toThrow('EEXIST');
  expect(() => makeFolder(join(folder.path, 'dangling/x'))).toThrow('EEXIST');
});

it.skipIf(process.platform !== 'linux')('comes back where no folder can be made', () => {
  expect(() => makeFolder('/proc/slipway')).toThrow('ENOENT');
  expect(() => makeFolder('/proc/slipway/deep/er')).toThrow('ENOENT');
});
