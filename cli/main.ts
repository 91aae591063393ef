// The command line: finds the command, opens the home, prints errors, maps them to exit codes. Everything else is in commands/.
import { enableCompileCache } from 'node:module';

// Before anything large is loaded: takes some 20 ms off each later start. (The bundle's dist/main.js has done it already.)
enableCompileCache();

const stop = new AbortController();
let interrupted: number | undefined;
for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
  process.on(name, () => {
    // The second Ctrl-C does not wait for a clean stop. What a step left is gone with its namespaces all the same. In a user namespace
    // the first comes twice at once, from the terminal and from the process that waits outside.
    if (interrupted !== undefined) {
      if (performance.now() - interrupted > 250) process.exit(130);
      return;
    }
    interrupted = performance.now();
    stop.abort(name);
  });
}
/** Made at the first use: a millisecond each, and a quiet build needs one of three. */
const streams = {
  get stdin() {
    return process.stdin;
  },
  get stdout() {
    if (process.stdout.listenerCount('error') === 0) process.stdout.on('error', goneAway);
    return process.stdout;
  },
  get stderr() {
    if (process.stderr.listenerCount('error') === 0) process.stderr.on('error', nobodyListens);
    return process.stderr;
  },
};

/** The reader of our output had enough: `slipway images | head -1`. Of anything else whoever wrote is told (`write` in io.ts). */
function goneAway(error: NodeJS.ErrnoException): void {
  if (error.code === 'EPIPE') process.exit(0);
}

/** So had the reader of what we say meanwhile, `slipway build . 2>&1 | head -1`: as with other programs that is the end, but a clean one. */
function nobodyListens(error: NodeJS.ErrnoException): void {
  if (error.code === 'EPIPE') stop.abort('SIGPIPE');
}

/** With `--` for the reason that `cli/slipway` gives. */
const self = [process.execPath, ...process.execArgv, '--', ...process.argv.slice(1)];

/** Longer than anything that is closed properly takes to close. */
const grace = 2000;

async function main(): Promise<void> {
  const { runCli } = await import('./run-cli.ts');
  const world = { env: process.env, cwd: process.cwd(), signal: stop.signal, now: Date.now, self };
  process.exitCode = await runCli(
    process.argv.slice(2),
    Object.defineProperties(world, Object.getOwnPropertyDescriptors(streams)) as typeof world & typeof streams,
  );
  // Not process.exit(): it joins V8's threads while one of them may be waiting for this one to collect garbage, and hangs (seen once,
  // in a concurrent Maglev compilation). The loop runs dry by itself; only if something was left open is it cut short.
  setTimeout(() => process.exit(), grace).unref();
}

void main();
