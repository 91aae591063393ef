// cli/slipway, the shell script that starts Node: what its user wrote is for Slipway, every word of it.
import { copyFileSync, mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { expect, it } from 'vitest';
import { attempt } from '../support/command.ts';
import { tempFolder } from '../support/temp.ts';

it('no word is taken by Node for itself, wherever it stands', async () => {
  await using folder = await tempFolder();
  const [launcher, node] = [join(folder.path, 'cli/slipway'), join(folder.path, 'node_modules/node/bin/node')];
  for (const path of [launcher, node, join(folder.path, 'dist/x')]) mkdirSync(dirname(path), { recursive: true });
  copyFileSync(join(import.meta.dirname, '../../cli/slipway'), launcher);
  symlinkSync(process.execPath, node);
  writeFileSync(join(folder.path, 'dist/main.js'), 'console.log(JSON.stringify([process.argv.slice(2), process.env.FROM_FILE]))');
  const file = join(folder.path, 'env');
  writeFileSync(file, 'FROM_FILE=node\n');
  const words = ['run', '--env-file', file, '--env-file=/nowhere', '--', 'image', '--env-file', '/nowhere', '--inspect', ''];
  const { exitCode, stdout, stderr } = await attempt([launcher, ...words]);
  expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: '' });
  expect(JSON.parse(stdout)).toEqual([words, null]);
});
