// The world of one command, made for a test: output is kept, nothing is a terminal.
import { PassThrough, Writable } from 'node:stream';
import type { Io } from '../../cli/io.ts';

export interface MemoryIo extends Io {
  readonly out: () => string;
  readonly err: () => string;
}

function sink(): { readonly stream: Writable; readonly text: () => string } {
  const chunks: Buffer[] = [];
  const stream = new Writable({
    write(chunk: Buffer, _, done) {
      chunks.push(Buffer.from(chunk));
      done();
    },
  });
  return { stream, text: () => Buffer.concat(chunks).toString('utf8') };
}

export function memoryIo(
  env: Readonly<Record<string, string | undefined>>,
  extra: { readonly signal?: AbortSignal; readonly input?: string } = {},
): MemoryIo {
  const stdout = sink();
  const stderr = sink();
  const stdin = new PassThrough();
  stdin.end(extra.input ?? '');
  return {
    stdin,
    stdout: stdout.stream,
    stderr: stderr.stream,
    env,
    cwd: '/',
    signal: extra.signal ?? new AbortController().signal,
    now: () => Date.now(),
    out: stdout.text,
    err: stderr.text,
  };
}
