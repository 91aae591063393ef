// What a command may touch of the world outside: passed in, so that tests run commands in process.
import { errnoOf, SlipwayError } from '../shared/errors.ts';

export interface Io {
  readonly stdin: NodeJS.ReadStream | NodeJS.ReadableStream;
  readonly stdout: NodeJS.WriteStream | NodeJS.WritableStream;
  readonly stderr: NodeJS.WriteStream | NodeJS.WritableStream;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly cwd: string;
  /** Fires on the first Ctrl-C or SIGTERM. */
  readonly signal: AbortSignal;
  /** Milliseconds since 1970. */
  readonly now: () => number;
  /** The words that start this very command again; absent where it cannot be (tests). */
  readonly self?: readonly string[];
}

export const isTerminal = (stream: unknown): boolean =>
  typeof stream === 'object' && stream !== null && 'isTTY' in stream && stream.isTTY === true;

/** Writes and waits when the other side is slow. A reader that went away (EPIPE) is no error: `slipway images | head -1`. */
export function write(stream: NodeJS.WritableStream, text: string | Uint8Array): Promise<void> {
  return new Promise((resolve, reject) => {
    stream.write(text, (error) => {
      const errno = errnoOf(error);
      if (!error || errno === 'EPIPE') resolve();
      else reject(new SlipwayError('STORE', `the output cannot be written: ${errno ?? error.message}`, { cause: error }));
    });
  });
}

export const print = (io: Io, line: string): Promise<void> => write(io.stdout, `${line}\n`);
/** Never fails: where this cannot be said, that cannot be said either. */
export const warn = (io: Io, line: string): Promise<void> => write(io.stderr, `${line}\n`).catch(() => undefined);
