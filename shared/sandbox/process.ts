// Starts the outer script, carries its streams, hears its report and holds its lifeline.
import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, constants, existsSync, openSync, readdirSync, readFileSync } from 'node:fs';
import { Socket } from 'node:net';
import { constants as os } from 'node:os';
import { join } from 'node:path';
import { Readable, type Writable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import type { ReadableStream as WebReadable } from 'node:stream/web';
import { errnoOf, SlipwayError, throwIfCancelled } from '../errors.ts';
import type { RunResult, RunSpec } from './sandbox.ts';

export interface Script {
  readonly command: string;
  readonly args: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  /** The run's folder, where the script makes its named pipes. */
  readonly run: string;
  readonly stdio: RunSpec['stdio'];
  /** How all of stderr begins when the command could not be started, and what it then says, if it does. */
  readonly startFailure: { readonly prefix: string; readonly read: (text: string) => StartFailure | undefined };
  readonly signal: AbortSignal | undefined;
  readonly started: ((send: (signal: NodeJS.Signals) => void) => void) | undefined;
}

export interface StartFailure {
  readonly code: 126 | 127;
  readonly message: string;
}

/** Ends when everything the script started is dead, whatever happened. */
export async function runScript(script: Script): Promise<RunResult> {
  throwIfCancelled(script.signal);
  const { stdio } = script;
  const stream = stdio.kind === 'terminal' ? 'inherit' : 'ignore';
  const covers = coverInherited(5);
  const child = spawn(script.command, script.args, {
    env: script.env,
    cwd: '/',
    // A session of its own, without a terminal: Ctrl-C is for Slipway to pass on. script(1) makes one for a terminal.
    detached: stdio.kind === 'pipe',
    stdio: [stream, stream, stream, 'pipe', 'pipe', ...covers],
  });
  const exited = new Promise<number>((resolve, reject) => {
    child.once('error', (cause) =>
      reject(new SlipwayError('SANDBOX', `cannot start ${script.command}: ${cause.message}`, { cause })),
    );
    child.once('exit', (code, signal) => resolve(code ?? 128 + (signal ? os.signals[signal] : 0)));
  });
  const lifeline = child.stdio[3] as Writable;
  // The reading end goes with the process; writing to it then is no news.
  lifeline.on('error', () => undefined);
  const cut = () => lifeline.destroy();
  script.signal?.addEventListener('abort', cut, { once: true });

  let streams: Streams | undefined;
  let failure: unknown;
  const failed = (cause: unknown) => {
    failure ??= cause;
    cut();
  };
  const report = hear(child.stdio[4] as Readable, (word) => {
    // Once the lifeline is cut the script is dying, and its folder goes with it.
    if (lifeline.destroyed) return;
    try {
      if (word === 'streams' && stdio.kind === 'pipe') streams = openStreams(script, stdio, failed);
      if (word === 'ready') {
        streams?.start();
        script.started?.((name) => signalFirst(child, name));
      }
    } catch (cause) {
      failed(cause);
    }
  });
  try {
    const exitCode = await exited;
    const { said, ready, late } = await report;
    // unshare(1) takes the signal that ended the command to itself, fails with SIGKILL (util-linux 2.38 for one), says so and ends with 1.
    // It is how the kernel ends what needs too much memory.
    const code = exitCode === 1 && late.some((line) => /^(?:\S*\/)?unshare: /.test(line)) ? 128 + os.signals.SIGKILL : exitCode;
    const held = await streams?.done(ready);
    throwIfCancelled(script.signal);
    if (failure !== undefined) throw failure;
    if (!ready) throw setUpFailed(said, code);
    return held === undefined ? { exitCode: code } : { exitCode: held.code, notStarted: held.message };
  } finally {
    script.signal?.removeEventListener('abort', cut);
    if (!lifeline.destroyed) lifeline.end('done\n');
    streams?.close();
  }
}

/** Reads the report line by line until it is closed. Its words are the scripts' own; anything else is an error's text. */
async function hear(report: Readable, on: (word: 'streams' | 'ready') => void) {
  let text = '';
  let ready = false;
  const said: string[] = [];
  /** What was said since. */
  const late: string[] = [];
  for await (const chunk of report) {
    text += String(chunk);
    for (let end = text.indexOf('\n'); end >= 0; end = text.indexOf('\n')) {
      const line = text.slice(0, end);
      text = text.slice(end + 1);
      if (line === 'ready') ready = true;
      if (line === 'streams' || line === 'ready') on(line);
      else (ready ? late : said).push(line);
    }
  }
  if (text !== '') (ready ? late : said).push(text);
  return { said, ready, late };
}

function setUpFailed(said: readonly string[], code: number): SlipwayError {
  const overlayDone = said.includes('root');
  const text = said.filter((line) => !['root', 'amiss'].includes(line) && !/^\s+dmesg\(1\)/.test(line)).join('; ');
  const about = text === '' ? `the helpers ended with code ${code} and no word` : text;
  if (!overlayDone) {
    return new SlipwayError('SANDBOX_UNAVAILABLE', `cannot set up a root filesystem for the command: ${about}`, {
      hint: 'The data folder must be on a filesystem that overlayfs can write to (ext4, xfs, btrfs, tmpfs; not overlay, NFS or FUSE): set SLIPWAY_HOME to one. `slipway doctor` tells more.',
    });
  }
  if (said.includes('amiss')) {
    return new SlipwayError('STEP_FAILED', `cannot set up the command's surroundings: ${about}`, {
      hint: 'The base image or an earlier step left it so.',
    });
  }
  return new SlipwayError('SANDBOX', `cannot set up the command's surroundings: ${about}`, {
    hint: '`slipway doctor` shows what this machine lacks.',
  });
}

let covering: readonly ('ignore' | number)[] | undefined;

/**
 * Descriptors that Slipway itself was started with and would hand on without a word (`slipway build 9<secret`): /dev/null takes their
 * numbers in the child. What Node opens is closed on exec; so what is not so marked came from outside, and is known from the start.
 */
function coverInherited(from: number): readonly ('ignore' | number)[] {
  if (covering) return covering;
  const open: number[] = [];
  for (const name of readdirSync('/proc/self/fdinfo')) {
    const fd = Number(name);
    if (fd < from) continue;
    try {
      const flags = /^flags:\s+([0-7]+)$/m.exec(readFileSync(`/proc/self/fdinfo/${fd}`, 'latin1'));
      if (flags && (Number.parseInt(flags[1]!, 8) & closeOnExec) === 0) open.push(fd);
    } catch (error) {
      // The one by which the folder was read is closed by now.
      if (errnoOf(error) !== 'ENOENT') throw error;
    }
  }
  const nothing = open.length > 0 ? openSync('/dev/null', constants.O_RDWR) : -1;
  covering = Array.from({ length: Math.max(from - 1, ...open) + 1 - from }, (_, index) =>
    open.includes(from + index) ? nothing : 'ignore',
  );
  return covering;
}

/** O_CLOEXEC of Linux; Node has no constant for it. */
const closeOnExec = 0o2000000;

interface Streams {
  start(): void;
  /** Resolves when all output is delivered; with what was said instead of a start. */
  done(ready: boolean): Promise<StartFailure | undefined>;
  close(): void;
}

/** Opens the reading ends before anyone writes, so that the script's own opening does not wait, and reads once it has opened them. */
function openStreams(
  script: Script,
  stdio: Extract<RunSpec['stdio'], { kind: 'pipe' }>,
  failed: (cause: unknown) => void,
): Streams {
  const open = (name: string, flags: number) => openSync(join(script.run, name), flags | constants.O_NONBLOCK);
  const outputs = (['stdout', 'stderr'] as const).map((name) => ({
    name,
    fd: open(name, constants.O_RDONLY),
    sock: undefined as Socket | undefined,
  }));
  // Both ways, because opening only to write fails until there is a reader; closing it is the end of the command's input all the same.
  const input = stdio.stdin && { fd: open('stdin', constants.O_RDWR), sock: undefined as Socket | undefined };
  let held: StartFailure | undefined;
  const stop = new AbortController();
  let turn: Promise<void> = Promise.resolve();
  const deliver = (name: 'stdout' | 'stderr', chunk: Uint8Array): Promise<void> => {
    // One at a time over both streams; the reader waits, the pipe fills, the process waits.
    turn = turn.then(() => stdio.onOutput(name, chunk));
    return turn;
  };
  const { prefix, read } = script.startFailure;
  let pumps: Promise<void> = Promise.resolve();
  return {
    start() {
      const pump = async (name: 'stdout' | 'stderr', fd: number, output: { sock: Socket | undefined }) => {
        const sock = new Socket({ fd, readable: true, writable: false });
        output.sock = sock;
        // The message of a failed start comes in pieces; it is all there is on stderr, or it was the command's own words.
        let waiting = name === 'stderr' ? '' : undefined;
        for await (const chunk of sock) {
          if (waiting !== undefined) {
            waiting += chunk.toString('latin1');
            if (prefix.startsWith(waiting) || (waiting.startsWith(prefix) && waiting.length < 8192)) continue;
            await deliver(name, Buffer.from(waiting, 'latin1'));
            waiting = undefined;
          } else await deliver(name, chunk);
        }
        if (waiting === undefined) return;
        const text = Buffer.from(waiting, 'latin1');
        held = text.length === 0 ? undefined : read(text.toString());
        if (held === undefined && text.length > 0) await deliver(name, text);
      };
      if (input && stdio.stdin) {
        input.sock = new Socket({ fd: input.fd, readable: false, writable: true });
        pipeline(Readable.fromWeb(stdio.stdin as WebReadable), input.sock, { signal: stop.signal }).catch((cause: unknown) => {
          // A command may end without having read all of it.
          if (!stop.signal.aborted) failed(cause);
        });
      }
      pumps = Promise.all(outputs.map((output) => pump(output.name, output.fd, output))).then(
        () => undefined,
        (cause: unknown) => {
          failed(cause);
          for (const { sock } of outputs) sock?.destroy();
        },
      );
    },
    async done(ready) {
      if (ready) await pumps;
      stop.abort();
      return held;
    },
    close() {
      stop.abort();
      for (const { sock, fd } of input ? [input, ...outputs] : outputs) {
        if (sock) sock.destroy();
        else closeSync(fd);
      }
    },
  };
}

/** The command is process 1 of a pid namespace, a child of `unshare`, which is the script itself or a child of script(1). */
function signalFirst(child: ChildProcess, signal: NodeJS.Signals): void {
  if (child.pid === undefined || child.exitCode !== null || child.signalCode !== null) return;
  const below = childrenOf(child.pid);
  for (const pid of [...below, ...below.flatMap(childrenOf)]) {
    if (!/^NSpid:.*\t1$/m.test(readProcess(`/proc/${pid}/status`))) continue;
    try {
      process.kill(pid, signal);
    } catch (error) {
      if (errnoOf(error) !== 'ESRCH') throw error;
    }
    return;
  }
}

/** Of all its threads. */
function childrenOf(pid: number): number[] {
  const list = (thread: string) => readProcess(`/proc/${pid}/task/${thread}/children`);
  const threads = existsSync(`/proc/${pid}/task`) ? readdirSync(`/proc/${pid}/task`) : [];
  return threads
    .flatMap((thread) => list(thread).split(' '))
    .filter((word) => word !== '')
    .map(Number);
}

/** Empty when the process has ended meanwhile. */
function readProcess(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    if (errnoOf(error) === 'ENOENT' || errnoOf(error) === 'ESRCH') return '';
    throw error;
  }
}
