// The bytes a command is given: a file, or standard input.
import { createReadStream, statSync } from 'node:fs';
import { resolve } from 'node:path';
import { errnoOf, SlipwayError } from '../shared/errors.ts';
import type { Io } from './io.ts';

const chunkSize = 1024 * 1024;

/** The file's bytes in large chunks. Not being there is told before anything else happens. */
export function fileBytes(io: Io, name: string): AsyncIterable<Uint8Array> {
  const path = resolve(io.cwd, name);
  try {
    if (statSync(path).isDirectory()) throw new SlipwayError('USAGE', `open ${name}: is a directory`);
  } catch (cause) {
    const errno = errnoOf(cause);
    if (errno === 'ENOENT') throw new SlipwayError('NOT_FOUND', `open ${name}: no such file or directory`, { cause });
    if (errno !== undefined) throw new SlipwayError('USAGE', `open ${name}: ${errno}`, { cause });
    throw cause;
  }
  return createReadStream(path, { highWaterMark: chunkSize });
}

export async function* stdinBytes(io: Io): AsyncGenerator<Uint8Array> {
  for await (const chunk of io.stdin as AsyncIterable<Uint8Array | string>) {
    yield typeof chunk === 'string' ? Buffer.from(chunk) : chunk;
  }
}
