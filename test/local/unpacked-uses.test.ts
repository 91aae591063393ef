import { spawnSync } from 'node:child_process';
import { readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { ownedName } from '../../local/leftovers.ts';
import { UnpackedUses } from '../../local/unpacked-uses.ts';
import { tempFolder } from '../support/temp.ts';

it.skipIf(process.platform !== 'linux')('shows other processes what this one works with, until it ends', async () => {
  await using folder = await tempFolder();
  const one = new UnpackedUses(folder.path, 'one');
  const other = new UnpackedUses(folder.path, 'other');
  expect(other.isHeld('layer')).toBe(false);
  one.hold('layer');
  one.hold('layer.form');
  one.hold('layer');
  for (const name of ['layer', 'layer.form']) expect([one.isHeld(name), other.isHeld(name)]).toEqual([true, true]);
  expect(other.isHeld('laye')).toBe(false);
  one[Symbol.dispose]();
  expect(other.isHeld('layer')).toBe(false);
  expect(readdirSync(folder.path)).toEqual([]);
});

it.skipIf(process.platform !== 'linux')('does not count what a killed process left', async () => {
  await using folder = await tempFolder();
  const { pid } = spawnSync('true');
  const [boot, namespace] = ownedName('x').split('.');
  writeFileSync(join(folder.path, `using-${boot}.${namespace}.${pid}.1.dead`), 'layer\n');
  expect(new UnpackedUses(folder.path, 'x').isHeld('layer')).toBe(false);
  writeFileSync(join(folder.path, `using-${ownedName('alive')}`), 'layer\n');
  expect(new UnpackedUses(folder.path, 'x').isHeld('layer')).toBe(true);
});

it('says which file cannot be written, as an error of the store', async () => {
  await using folder = await tempFolder();
  writeFileSync(join(folder.path, 'file'), '');
  const uses = new UnpackedUses(join(folder.path, 'file'), 'x');
  expect(() => uses.hold('layer')).toThrow(expect.objectContaining({ code: 'STORE' }));
  expect(uses[Symbol.dispose]()).toBeUndefined();
});
