// Runs one command in a root of test/support/roots.ts under an overlay that is thrown away, and tells what it said and changed.
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { RunOptions, RunResult, RunSpec, Sandbox } from '../../shared/sandbox/sandbox.ts';

export interface Ran extends RunResult {
  readonly stdout: string;
  readonly stderr: string;
  /** Everything in `upper`, relative, sorted. */
  readonly changed: readonly string[];
}

export interface Place extends Disposable {
  readonly upper: string;
  readonly work: string;
}

/** On memory where there is some: file-heavy tests are slow on some machines' disks. */
export const fastTemp = (): string => (existsSync('/dev/shm') ? '/dev/shm' : tmpdir());

export function place(): Place {
  const folder = mkdtempSync(join(fastTemp(), 'slipway-test-'));
  const [upper, work] = [join(folder, 'upper'), join(folder, 'work')];
  for (const path of [upper, work]) {
    mkdirSync(path);
    // It is the root that commands of any user see, whatever the umask here.
    chmodSync(path, 0o755);
  }
  return { upper, work, [Symbol.dispose]: () => rmSync(folder, { recursive: true, force: true }) };
}

export type Overrides = Partial<Omit<RunSpec, 'root' | 'args' | 'stdio'>> & {
  readonly lowers?: readonly string[];
  readonly stdin?: ReadableStream<Uint8Array>;
  readonly signal?: AbortSignal;
  readonly at?: Place;
  /** As of RunOptions. */
  readonly started?: RunOptions['started'];
};

export async function runIn(sandbox: Sandbox, lower: string, args: readonly string[], overrides: Overrides = {}): Promise<Ran> {
  const { lowers, stdin, signal, at, started, ...spec } = overrides;
  using own = at ? undefined : place();
  const { upper, work } = at ?? own!;
  const said = { stdout: '', stderr: '' };
  const result = await sandbox.run(
    {
      root: { kind: 'overlay', lowers: lowers ?? [lower], upper, work },
      args,
      env: ['PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin'],
      cwd: '/',
      user: { uid: 0, gid: 0, groups: [] },
      network: 'host',
      ...spec,
      stdio: {
        kind: 'pipe',
        ...(stdin && { stdin }),
        onOutput: (stream, chunk) => {
          said[stream] += Buffer.from(chunk).toString();
        },
      },
    },
    { ...(signal && { signal }), ...(started && { started }) },
  );
  const changed = readdirSync(upper, { recursive: true }).map(String).sort();
  return { ...result, ...said, changed };
}

/** `sh -c` in the root. */
export const shellIn = (sandbox: Sandbox, lower: string, script: string, overrides: Overrides = {}): Promise<Ran> =>
  runIn(sandbox, lower, ['sh', '-c', script], overrides);

/** Waits until `check` is true; never forever, and not less than a busy machine needs. */
export async function eventually(check: () => boolean, what: string): Promise<void> {
  for (let tries = 0; tries < 1600; tries++) {
    if (check()) return;
    await sleep(25);
  }
  throw new Error(`still not so after 40 s: ${what}`);
}
