import { writeFileSync } from 'node:fs';
import { join, relative } from 'node:path';
import { expect, it } from 'vitest';
import { homeRoot, openHome } from '../../local/home.ts';
import { tempFolder } from '../support/temp.ts';

it('is where SLIPWAY_HOME says, seen from the current folder, else in the data folder of the user', async () => {
  await using folder = await tempFolder();
  // Overlayfs takes its layers by absolute paths.
  expect(homeRoot({ SLIPWAY_HOME: relative(process.cwd(), folder.path) })).toBe(folder.path);
  expect(homeRoot({ SLIPWAY_HOME: '', XDG_DATA_HOME: '/data', HOME: '/home/ann' })).toBe('/data/slipway');
  expect(homeRoot({ HOME: '/home/ann' })).toBe('/home/ann/.local/share/slipway');
});

it('says why it cannot be made, at once', async () => {
  await using folder = await tempFolder();
  const file = join(folder.path, 'file');
  writeFileSync(file, '');
  const opening = (SLIPWAY_HOME: string) => openHome({ env: { SLIPWAY_HOME }, now: Date.now });
  await expect(opening(file)).rejects.toMatchObject({
    code: 'STORE',
    message: `the home ${file} cannot be made: something else is there`,
  });
  await expect(opening(join(file, 'x'))).rejects.toMatchObject({
    message: expect.stringContaining('a part of its path is a file'),
  });
  if (process.platform === 'linux')
    await expect(opening('/proc/slipway')).rejects.toMatchObject({ message: expect.stringContaining('ENOENT') });
});
