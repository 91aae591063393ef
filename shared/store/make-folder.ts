// mkdir -p. Node's own (`recursive`) never comes back where a folder refuses to have children with ENOENT, as /proc does (seen in Node 24).
import { mkdirSync, statSync } from 'node:fs';
import { dirname } from 'node:path';
import { errnoOf } from '../errors.ts';

/** Makes the folder with all that are missing above it; a folder that is there already is fine. `mode` is for those that are made. */
export function makeFolder(path: string, mode = 0o777): void {
  try {
    mkdirSync(path, { mode });
    return;
  } catch (error) {
    const errno = errnoOf(error);
    if (errno === 'EEXIST' || errno === 'EROFS' || errno === 'EACCES' || errno === 'EPERM') {
      // A link to a folder counts, and a folder on a medium that cannot be written.
      if (statSync(path, { throwIfNoEntry: false })?.isDirectory()) return;
      throw error;
    }
    const parent = dirname(path);
    if (errno !== 'ENOENT' || parent === path || statSync(parent, { throwIfNoEntry: false }) !== undefined) throw error;
    makeFolder(parent, mode);
  }
  makeFolder(path, mode);
}
