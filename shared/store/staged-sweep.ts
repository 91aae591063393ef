// Removes what dead processes left in the staging folder of DiskBlobs.
import { readdirSync, rmSync, statSync, utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { isId } from './staged-id.ts';

const day = 24 * 3600_000;
/** Files that nobody touched for so long (ms) belong to a process that died. */
const abandonedPut = day;
const abandonedUpload = 7 * day;
const interval = day;

const uploadOf = (name: string): string | undefined => {
  const id = name.replace(/\.json$/, '');
  return isId(id) ? id : undefined;
};

/** Does its work once a day for all processes together; `now` in ms since 1970. */
export function sweepStaged(folder: string, now: number): void {
  const age = (name: string): number | undefined => {
    const found = statSync(join(folder, name), { throwIfNoEntry: false });
    return found === undefined ? undefined : now - found.mtimeMs;
  };
  const marker = join(folder, '.swept');
  const last = age('.swept');
  if (last !== undefined && last < interval) return;
  // First, so that of many processes few do the work; twice is harmless.
  if (last === undefined) writeFileSync(marker, '');
  else utimesSync(marker, now / 1000, now / 1000);
  for (const name of readdirSync(folder)) {
    // A blob that is being dropped may yet have to come back.
    if (name === '.swept' || name.startsWith('drop-')) continue;
    const upload = uploadOf(name);
    // An upload's record is as old as its beginning; it stays as long as its bytes are young.
    const youngest = upload === undefined ? age(name) : Math.min(age(name) ?? Infinity, age(upload) ?? Infinity);
    if (youngest !== undefined && youngest > (upload === undefined ? abandonedPut : abandonedUpload)) {
      rmSync(join(folder, name), { force: true, recursive: true });
    }
  }
}
