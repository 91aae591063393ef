// Marks on blob files (see FadingBlobs), without a lock and for any number of processes. The mark is the sticky bit, which Linux gives no
// meaning on a file and whose only reader is this; the time of the mark is the file's mtime.
//
// No call removes a file on condition of its mode, so who drops a blob moves it aside first, to its *limbo*, and looks at it there:
//
//   ask:   take the mark off the file, whatever it is called now; look for it by its name; missing? link it back from its limbo
//   drop:  move the file to its limbo; does it still have the mark? yes: remove it; no: link it back
//
// Either the drop sees that the mark is gone and links the file back, or who asked finds neither name and is told that there is no blob.
// A drop that dies in between leaves the file in limbo, where every later question, and the next sweep, finds it.
import {
  chmodSync,
  closeSync,
  fchmodSync,
  fstatSync,
  futimesSync,
  linkSync,
  openSync,
  renameSync,
  rmSync,
  type Stats,
  statSync,
  unlinkSync,
  utimesSync,
} from 'node:fs';
import { errnoOf } from '../errors.ts';

const mark = 0o1000;
const permissions = 0o777;

/** When a mark was made: whole milliseconds, as clocks have them. */
export const markedAt = (stats: Stats): number => Math.round(stats.mtimeMs);

export const isMarked = (stats: Stats): boolean => (stats.mode & mark) !== 0;

/** The file's stats, its mark taken off; `undefined` when it is not there. */
export function askFor(file: string, limbo: string): Stats | undefined {
  for (;;) {
    const found = statSync(file, { throwIfNoEntry: false });
    if (found === undefined) {
      if (!linkBack(limbo, file)) return undefined;
    } else if (!isMarked(found)) {
      return found;
    } else {
      unmark(file);
    }
  }
}

/** Links the file back from its limbo. False when it is not there either. */
function linkBack(limbo: string, file: string): boolean {
  try {
    linkSync(limbo, file);
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return false;
    if (errnoOf(error) !== 'EEXIST') throw error;
  }
  return true;
}

function unmark(file: string): void {
  let fd: number;
  try {
    fd = openSync(file, 'r');
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return;
    throw error;
  }
  try {
    const now = Date.now() / 1000;
    // On the open file, because its name may change at any moment.
    futimesSync(fd, now, now);
    fchmodSync(fd, fstatSync(fd).mode & permissions);
  } finally {
    closeSync(fd);
  }
}

/** Since when (milliseconds since 1970) it has been marked, from `now` on if it was not. Absence is `undefined`. */
export function fadeFile(file: string, now: number): number | undefined {
  try {
    const found = statSync(file);
    if (isMarked(found)) return markedAt(found);
    utimesSync(file, now / 1000, now / 1000);
    chmodSync(file, mark | (found.mode & permissions));
    return markedAt(statSync(file));
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return undefined;
    throw error;
  }
}

/** Removes the file if it still has the mark of `since`. True when it did. One process at a time. */
export function dropFile(file: string, limbo: string, since: number): boolean {
  const found = statSync(file, { throwIfNoEntry: false });
  if (found === undefined || !isMarked(found) || markedAt(found) !== since) return false;
  // Of an earlier drop that was undone. rename(2) does nothing between two names of one file.
  rmSync(limbo, { force: true });
  try {
    renameSync(file, limbo);
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return false;
    throw error;
  }
  return settleLimbo(limbo, file);
}

/** Ends what a drop began. True when the file is gone for good. */
export function settleLimbo(limbo: string, file: string): boolean {
  const found = statSync(limbo, { throwIfNoEntry: false });
  if (found === undefined) return false;
  const gone = isMarked(found);
  if (!gone) linkBack(limbo, file);
  try {
    unlinkSync(limbo);
  } catch (error) {
    if (errnoOf(error) !== 'ENOENT') throw error;
  }
  // Linked back by somebody who has yet to take the mark off.
  return gone && statSync(file, { throwIfNoEntry: false }) === undefined;
}
