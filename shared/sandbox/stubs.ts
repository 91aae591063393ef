// Mountpoints that had to be made where a command's changes are kept (a root without them, a link that led elsewhere) go away again.
import { lstatSync, readFileSync, rmdirSync, unlinkSync } from 'node:fs';
import { join } from 'node:path';
import { errnoOf } from '../errors.ts';

/**
 * `list` names what was made, each absolute inside the root and ended by NUL, in the order it was made; absent when nothing was.
 * A stub that the command has put something in, or something else in place of, stays: then it is a change of the command's.
 * The tree is hostile by now: no link in it is followed.
 */
export function removeStubs(list: string, base: string): void {
  for (const path of read(list).split('\0').reverse()) {
    if (path === '' || !onlyDirectoriesAbove(base, path)) continue;
    const place = join(base, path);
    try {
      const found = lstatSync(place);
      if (found.isDirectory()) rmdirSync(place);
      else if (found.isFile() && found.size === 0) unlinkSync(place);
    } catch (error) {
      if (!['ENOENT', 'ENOTEMPTY', 'EEXIST'].includes(errnoOf(error) ?? '')) throw error;
    }
  }
}

function onlyDirectoriesAbove(base: string, path: string): boolean {
  let place = base;
  for (const name of path.split('/').slice(1, -1)) {
    place = join(place, name);
    if (!lstatSync(place, { throwIfNoEntry: false })?.isDirectory()) return false;
  }
  return true;
}

function read(list: string): string {
  try {
    return readFileSync(list, 'utf8');
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return '';
    throw error;
  }
}
