// Hashes files with synchronous calls, which for many small files is four times faster than promises; hash-worker.ts runs it in threads.
import { hash as hashOnce } from 'node:crypto';
import { closeSync, constants, fstatSync, openSync, readSync } from 'node:fs';
import { errnoOf, SlipwayError } from '../errors.ts';
import type { FileState } from '../layer/entry.ts';
import { type Digest, Sha256 } from '../oci/digest.ts';
import { fsPath } from '../tar/name.ts';
import { sameState, stateAt, stateOf } from './stat-cache.ts';

export interface FileToHash {
  /** Where it is now. */
  readonly file: string;
  /** Its path in the context, for messages. */
  readonly path: string;
  /** Its state when the walk came by. */
  readonly state: FileState;
}

/** Many files at once, flat: as objects they would take more memory, in two threads, than all else that is known of them. */
export interface FilesToHash {
  /** Real path of the directory that the paths are below. */
  readonly root: string;
  readonly paths: readonly string[];
  /** Five a file, as in `stateNumbers`. */
  readonly states: Float64Array;
}

export const fileToHash = ({ root, paths, states }: FilesToHash, index: number): FileToHash => {
  const path = paths[index]!;
  return { file: `${root}/${path}`, path, state: stateAt(states, index) };
};

export interface HashedFile {
  readonly digest: Digest;
  /** The state that was hashed: that of the walk, or a later one when the file has changed since. */
  readonly state: FileState;
  /** Permission bits and mtime that go with `state`. */
  readonly mode: number;
}

const chunk = 1 << 20;
let shared: Buffer | undefined;

// A file that was swapped for a symlink is not followed, and one that was swapped for a FIFO does not make us wait.
const flags = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK;
const attempts = 3;

/** CONTEXT for the errno of a file that cannot be read, CONTEXT_CHANGED for one that vanished or changed its type meanwhile. */
export function unreadable(path: string, error: unknown): SlipwayError {
  const errno = errnoOf(error) ?? String(error);
  const shown = JSON.stringify(path);
  if (['ENOENT', 'ENOTDIR', 'ELOOP', 'ENXIO'].includes(errno)) {
    return new SlipwayError('CONTEXT_CHANGED', `${shown} changed while the context was read (${errno})`, {
      hint: 'Start the build again when nothing writes to the context any more.',
      details: { path },
      cause: error,
    });
  }
  const hints: Record<string, string> = {
    EACCES: 'Make it readable, or exclude it in .dockerignore.',
    EPERM: 'Make it readable, or exclude it in .dockerignore.',
    ENAMETOOLONG: 'Shorten the path, or exclude it in .dockerignore.',
  };
  const hint = hints[errno];
  return new SlipwayError('CONTEXT', `cannot read ${shown} of the context: ${errno}`, {
    ...(hint === undefined ? {} : { hint }),
    details: { path },
    cause: error,
  });
}

function digestOf(fd: number, size: number): Digest {
  shared ??= Buffer.allocUnsafeSlow(chunk);
  if (size < chunk) {
    // One byte more than is expected: a file that has grown shows at once.
    let length = 0;
    for (;;) {
      const n = readSync(fd, shared, length, chunk - length, length);
      length += n;
      if (n === 0 || length >= size) break;
    }
    return `sha256:${hashOnce('sha256', shared.subarray(0, length), 'hex')}`;
  }
  const hash = new Sha256();
  for (let position = 0; ; ) {
    const n = readSync(fd, shared, 0, chunk, position);
    if (n === 0) return hash.digest();
    hash.update(shared.subarray(0, n));
    position += n;
  }
}

/** The digest of a file, of one state that it had from before the first byte was read until after the last. */
export function hashFile({ file, path, state }: FileToHash): HashedFile {
  let fd: number;
  try {
    fd = openSync(fsPath(file), flags);
  } catch (error) {
    throw unreadable(path, error);
  }
  try {
    let expected = state;
    for (let attempt = 0; attempt < attempts; attempt++) {
      const digest = digestOf(fd, expected.size);
      const after = fstatSync(fd);
      if (!after.isFile()) break;
      if (sameState(after, expected)) return { digest, state: expected, mode: after.mode & 0o7777 };
      expected = stateOf(after);
    }
  } catch (error) {
    throw error instanceof SlipwayError ? error : unreadable(path, error);
  } finally {
    closeSync(fd);
  }
  throw new SlipwayError('CONTEXT_CHANGED', `${JSON.stringify(path)} keeps changing while it is read`, {
    hint: 'Start the build again when nothing writes to the context any more.',
    details: { path },
  });
}

/** Characters of a digest. */
export const digestTextLength = 'sha256:'.length + 64;

/** The digests of many files, flat for their way between threads. */
export interface HashedFiles {
  /** One after the other, as text. */
  readonly digests: Uint8Array;
  /** Those that were not as the walk had seen them, with their place. */
  readonly changed: readonly (readonly [index: number, file: HashedFile])[];
}

export function hashBatch(files: FilesToHash): HashedFiles {
  const digests = Buffer.allocUnsafeSlow(files.paths.length * digestTextLength);
  const changed: [number, HashedFile][] = [];
  for (let index = 0; index < files.paths.length; index++) {
    const request = fileToHash(files, index);
    const hashed = hashFile(request);
    digests.write(hashed.digest, index * digestTextLength, 'latin1');
    if (hashed.state !== request.state) changed.push([index, hashed]);
  }
  return { digests, changed };
}

export function digestAt({ digests }: HashedFiles, index: number): Digest {
  const bytes = Buffer.from(digests.buffer, digests.byteOffset, digests.length);
  return bytes.toString('latin1', index * digestTextLength, (index + 1) * digestTextLength) as Digest;
}
