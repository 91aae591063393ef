// Runs the command line in this process, with a home of its own.
import { Readable, Writable } from 'node:stream';
import type { Io } from '../../cli/io.ts';
import { runCli } from '../../cli/run-cli.ts';

export interface CliOptions {
  readonly home: string;
  readonly cwd?: string;
  readonly stdin?: Uint8Array | string;
  readonly env?: Readonly<Record<string, string>>;
  /** Milliseconds since 1970. */
  readonly now?: number;
  /** Standard output says that it is a terminal. */
  readonly terminal?: boolean;
  /** Fires on Ctrl-C. */
  readonly signal?: AbortSignal;
}

export interface CliResult {
  readonly code: number;
  readonly out: string;
  readonly bytes: Buffer;
  readonly err: string;
}

export async function cli(argv: readonly string[], options: CliOptions): Promise<CliResult> {
  const collect = () => {
    const chunks: Buffer[] = [];
    const stream = new Writable({
      write(chunk, _, done) {
        chunks.push(Buffer.from(chunk));
        done();
      },
    });
    return { stream, bytes: () => Buffer.concat(chunks) };
  };
  const out = collect();
  const err = collect();
  const { now } = options;
  const io: Io = {
    stdin: Readable.from(options.stdin === undefined ? [] : [Buffer.from(options.stdin)]),
    stdout: options.terminal ? Object.assign(out.stream, { isTTY: true }) : out.stream,
    stderr: err.stream,
    env: { ...options.env, SLIPWAY_HOME: options.home },
    cwd: options.cwd ?? options.home,
    signal: options.signal ?? new AbortController().signal,
    now: now === undefined ? Date.now : () => now,
  };
  const code = await runCli(argv, io);
  return { code, out: String(out.bytes()), bytes: out.bytes(), err: String(err.bytes()) };
}
