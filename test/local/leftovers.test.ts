import { spawnSync } from 'node:child_process';
import { mkdirSync, readdirSync, readFileSync, utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { ownedName, sweepDead } from '../../local/leftovers.ts';
import { tempFolder } from '../support/temp.ts';

const nameOfDead = (): string => {
  // A process that has ended; its number is not given again at once.
  const { pid } = spawnSync('true');
  const [boot, namespace] = ownedName('x').split('.');
  return `${boot}.${namespace}.${pid}.1.dead`;
};

it.skipIf(process.platform !== 'linux')('removes what dead processes left, and nothing of the living', async () => {
  await using folder = await tempFolder();
  const make = (name: string, age = 0) => {
    const path = join(folder.path, name);
    mkdirSync(join(path, 'deep'), { recursive: true });
    writeFileSync(join(path, 'deep/file'), 'x');
    if (age > 0) utimesSync(path, Date.now() / 1000 - age, Date.now() / 1000 - age);
    return name;
  };
  const mine = make(ownedName('mine'));
  const dead = make(nameOfDead());
  const [boot, namespace, pid] = mine.split('.');
  // This process's number, but of one that began at another time.
  const reused = make(`${boot}.${namespace}.${pid}.1.x`);
  const elsewhere = make(`${boot}.1.${pid}.1.x`);
  const elsewhereOld = make(`${boot}.1.2.1.x`, 8 * 86_400);
  const old = make('0123456789abcdef', 8 * 86_400);
  const young = make('fedcba9876543210');
  await sweepDead(folder.path);
  const left = readdirSync(folder.path);
  expect(left.sort()).toEqual([mine, elsewhere, young].sort());
  for (const gone of [dead, reused, elsewhereOld, old]) expect(left).not.toContain(gone);
  expect(readFileSync(join(folder.path, mine, 'deep/file'), 'utf8')).toBe('x');
});

it.skipIf(process.platform !== 'linux')('looks at names with its prefixes only', async () => {
  await using folder = await tempFolder();
  for (const name of [`new-${nameOfDead()}`, nameOfDead(), 'a-layer']) mkdirSync(join(folder.path, name));
  await sweepDead(folder.path, ['new-', 'old-']);
  expect(readdirSync(folder.path)).toHaveLength(2);
});

it('does nothing where there is no folder', async () => {
  await using folder = await tempFolder();
  await expect(sweepDead(join(folder.path, 'none'))).resolves.toBeUndefined();
});
