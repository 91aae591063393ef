// The bytes a command is given: a file, or standard input.
import { createReadStream, statSync } from 'node:fs';
import { resolve } from 'node:path';
import type { Readable } from 'node:stream';
import { errnoOf, SlipwayError, throwIfCancelled } from '../shared/errors.ts';
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

/** CANCELLED as soon as the signal fires: nothing need come any more where somebody is asked, or a pipe is kept open. */
export async function* stdinBytes({ stdin, signal }: Io): AsyncGenerator<Uint8Array> {
  throwIfCancelled(signal);
  const stream = stdin as Readable;
  const cancel = () => void stream.destroy(new SlipwayError('CANCELLED', 'cancelled', { cause: signal.reason }));
  signal.addEventListener('abort', cancel, { once: true });
  try {
    for await (const chunk of stream as AsyncIterable<Uint8Array | string>) {
      yield typeof chunk === 'string' ? Buffer.from(chunk) : chunk;
    }
  } finally {
    signal.removeEventListener('abort', cancel);
  }
}

/** All of it, to its end. */
export async function stdinText(io: Io): Promise<string> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of stdinBytes(io)) chunks.push(chunk);
  return Buffer.concat(chunks).toString('utf8');
}
