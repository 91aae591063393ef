// The context: a list of files with their digests. It is all that a build needs to decide which steps hit; contents are fetched by
// digest, through Bodies, only for layers that are really written.
//
// What is kept: uid and gid are 0:0 as in Docker's transfer; mode with setuid, setgid and sticky; mtime in whole seconds; symlinks as
// links; other names of a hard link as files of their own; FIFOs and devices as such, sockets not at all. Extended attributes are not
// kept: Node cannot read them, and a process per file (or one `getfattr -R` per build) costs more than a whole warm build. Docker keeps
// security.capability and user attributes here; a Dockerfile that needs one sets it with RUN setcap.
//
// `digest` says whether two contexts hold the same files. Modification times are no part of it, as they are no part of any COPY key
// (F68): touching a file changes nothing. They do travel in the encoded list, because layers carry them.
import { createHash } from 'node:crypto';
import { SlipwayError } from '../errors.ts';
import type { Entry, EntryType } from '../layer/entry.ts';
import { type Digest, isDigest } from '../oci/digest.ts';

/** Compares by UTF-8 bytes, which differs from JavaScript's order only where surrogates meet U+E000 to U+FFFF. */
export function compareBytes(a: string, b: string): number {
  const length = Math.min(a.length, b.length);
  for (let i = 0; i < length; i++) {
    const x = a.charCodeAt(i);
    const y = b.charCodeAt(i);
    if (x === y) continue;
    if (x >= 0xd800 && y >= 0xd800) {
      const astralX = x < 0xe000;
      if (astralX !== y < 0xe000) return astralX ? 1 : -1;
    }
    return x - y;
  }
  return a.length - b.length;
}
