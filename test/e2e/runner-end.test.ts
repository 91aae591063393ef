// How runners end: told to, cut off, or too small. On machines of their own, through the real program.
import { randomInt } from 'node:crypto';
import { createReadStream, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { beforeAll, expect, test } from 'vitest';
import { bundleProgram } from '../../infra/program-bundle.ts';
import { loadArchive } from '../../shared/archive/load.ts';
import { type AccountHome, accountHome, drive, eventsOf, requestOf, startBuild } from '../support/account-home.ts';
import { busyboxImage, busyboxReference } from '../support/base-images.ts';
import type { FakeMicrovm, FakeRunner, FakeRunnerOptions } from '../support/fake-microvm.ts';
import { type FakeServices, fakeServices } from '../support/fake-runner-services.ts';
import { type JobHost, jobHost } from '../support/job-host.ts';
import { whyNoMemoryLimit } from '../support/machine.ts';
import { whyNoRoot } from '../support/roots.ts';
import { eventually } from '../support/sandboxed.ts';

const why = whyNoRoot('busybox');
const long = 180_000;

let program: string;
beforeAll(() => {
  program = mkdtempSync(join(tmpdir(), 'slw-runner-'));
  bundleProgram('runner', program);
  return () => rmSync(program, { recursive: true, force: true });
}, long);

interface Scene {
  readonly home: AccountHome;
  readonly host: JobHost;
  readonly services: FakeServices;
  readonly runner: FakeRunner;
  /** What the state machine would wait for: undefined, or why it waits in vain. */
  readonly end: Promise<string | undefined>;
  readonly build: string;
}

/** A build whose last step is this RUN, on a runner, until `during` is through; then the state machine goes on. Answers the build. */
async function withRun(run: string, platform: string, during: (scene: Scene) => Promise<void>, options: FakeRunnerOptions = {}) {
  await using home = await accountHome();
  await using host = await jobHost(home);
  await using services = await fakeServices(program, options);
  await loadArchive(home.fresh(), createReadStream((await busyboxImage()).archive));
  const id = await startBuild(home, requestOf(`FROM ${busyboxReference}\nRUN ${run}\n`));
  const build = await drive(home, id, async (_, stage) => {
    const launcher = host.launcher(services.machines);
    const { handle } = await launcher.start(id, stage, platform, 'waiter');
    const runner = services.runner(handle)!;
    const end = host.wait('waiter', long).then(
      () => undefined,
      (error: Error) => error.message,
    );
    try {
      await during({ home, host, services, runner, end, build: id });
      const failed = await end;
      if (failed !== undefined) throw new Error(failed);
    } finally {
      await launcher.stop(id, stage);
    }
  });
  const log = (await eventsOf(home, id)).flatMap((e) => (e.type === 'log' ? [e.text] : [])).join('');
  return { build, log };
}

/** Processes of the whole machine, namespaces included, that have this word in their command line. */
const running = (word: string): number[] =>
  readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
    .filter((pid) => {
      try {
        return readFileSync(`/proc/${pid}/cmdline`, 'latin1').includes(word);
      } catch {
        // It has ended.
        return false;
      }
    });

const childrenOf = (pid: number): number[] =>
  readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim().split(' ').filter(Boolean).map(Number);

/** Bytes of memory that a process had at most. */
const peakOf = (pid: number): number =>
  // One that is over has no memory.
  Number(/^VmHWM:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? 0) * 1024;

/** A command that goes on for ever with a part of it that wants to outlive everything, and what its processes are known by. */
function endless(): { readonly run: string; readonly word: string } {
  // Seconds that no other command line has in it.
  const word = String(3_000_000_000 + randomInt(1_000_000_000));
  return { word, run: `(trap '' TERM HUP INT; setsid sleep ${word}) & sleep ${word}` };
}

/** What there is of networks, rules and mounts on the runner's machine. */
const leftovers = (runner: FakeRunner): Promise<string> =>
  runner.machine.output("ip -o link | sed 's/^[0-9]*: //'; iptables-save | grep -c SLIPWAY; cut -d' ' -f5- /proc/self/mountinfo");

test.skipIf(why)(
  'a build that is cancelled ends its RUN within a heartbeat, with all it started, and leaves nothing',
  async () => {
    const { run, word } = endless();
    const { build } = await withRun(run, 'linux/arm64', async ({ home, runner, end, build: id }) => {
      await eventually(() => running(`sleep\0${word}`).length === 2, 'the RUN runs');
      await home.fresh().records.requestCancel(id);
      expect(await end).toMatch(/^CANCELLED/);
      expect(running(`sleep\0${word}`)).toEqual([]);
      // Who waited for its end knows the word, too.
      await eventually(() => running(word).length === 0, 'the helpers are gone');
      const left = await leftovers(runner);
      expect(left).not.toMatch(/slipway|overlay \//);
      expect(left).toMatch(/^0$/m);
      expect(await (runner as FakeMicrovm).hook('terminate')).toBe(200);
      expect(await runner.ended).toBe(0);
    });
    expect(build.state).toBe('cancelled');
  },
  long,
);

test.skipIf(why).each([
  ['the hook of a MicroVM’s end', 'linux/arm64', (runner: FakeRunner) => (runner as FakeMicrovm).hook('terminate')],
  ['SIGTERM to a MicroVM’s program', 'linux/arm64', (runner: FakeRunner) => runner.signal('SIGTERM')],
  ['StopBuild', 'linux/amd64', (runner: FakeRunner) => runner.signal('SIGTERM')],
])(
  '%s in the middle of a RUN ends everything, and the home is told',
  async (_, platform, stop) => {
    const { run, word } = endless();
    const { build } = await withRun(run, platform, async ({ runner, end }) => {
      await eventually(() => running(`sleep\0${word}`).length === 2, 'the RUN runs');
      await stop(runner);
      expect(await end).toMatch(/^CANCELLED/);
      await runner.ended;
      expect(running(word)).toEqual([]);
      expect(await leftovers(runner)).not.toMatch(/slipway|overlay \//);
    });
    expect(build.state).toBe('failed');
  },
  long,
);

test.skipIf(why)(
  'a program that is killed takes its RUN with it',
  async () => {
    const { run, word } = endless();
    await withRun(run, 'linux/arm64', async ({ runner }) => {
      await eventually(() => running(`sleep\0${word}`).length === 2, 'the RUN runs');
      await runner.kill();
      await eventually(() => running(word).length === 0, 'the RUN is gone');
      throw new Error('lost');
    });
  },
  long,
);

test.skipIf(why)(
  'a runner whose home is gone ends its RUN and itself',
  async () => {
    const { run, word } = endless();
    await withRun(
      run,
      'linux/amd64',
      async ({ host, runner }) => {
        await eventually(() => running(`sleep\0${word}`).length === 2, 'the RUN runs');
        host.hook = () => 0;
        expect(await runner.ended).toBe(1);
        expect(running(word)).toEqual([]);
        expect(runner.said()).toContain('"job":"lost"');
        expect(runner.said()).toContain('the home has not answered for');
        throw new Error('lost');
      },
      { env: { SLIPWAY_RUNNER_PATIENCE: '1500' } },
    );
  },
  long,
);

test.skipIf(why)(
  'a MicroVM that nobody ends after its job ends itself',
  async () => {
    await withRun(
      'true',
      'linux/arm64',
      async ({ runner, end }) => {
        expect(await end).toBeUndefined();
        expect(await runner.ended).toBe(0);
      },
      { env: { SLIPWAY_RUNNER_LINGER: '300' } },
    );
  },
  long,
);

test.skipIf(why)(
  'a flood of output is waited for, not collected',
  async () => {
    const line = 'a line of a hundred characters, more or less, as programs print them when nobody is there to read them\n';
    const lines = 400_000;
    let peak = 0;
    const { build, log } = await withRun(
      `yes '${line.trim()}' | head -n ${lines}; echo the end`,
      'linux/arm64',
      async ({ host, runner, end }) => {
        // The process that executes the job is a child of the one that answers hooks; each of its questions is an occasion to look.
        host.hook = () => {
          peak = Math.max(peak, ...childrenOf(runner.pid).map(peakOf));
          return undefined;
        };
        expect(await end).toBeUndefined();
      },
    );
    expect(build.failure).toBeUndefined();
    expect(log.startsWith(line)).toBe(true);
    expect(log).toMatch(/output clipped[^\n]*\n(.*\n)*the end\n$/);
    expect(log.length).toBeGreaterThan(8e6);
    expect(peak).toBeGreaterThan(0);
    expect(peak).toBeLessThan(300e6);
  },
  long,
);

test.skipIf(why)(
  'a RUN that fills the disk fails with what to do, and so does a layer that does not fit',
  async () => {
    const words = { hint: expect.stringMatching(/microvmMemory.*computeType/) };
    const fills = await withRun('dd if=/dev/zero of=/big bs=1M count=500', 'linux/arm64', async ({ end }) => void (await end), {
      disk: '64m',
    });
    expect(fills.log).toContain('No space left on device');
    expect(fills.build).toMatchObject({
      state: 'failed',
      failure: { code: 'STEP_FAILED', hint: expect.stringContaining("The runner's disk is full (67 MB)") },
    });
    expect(fills.build.failure).toMatchObject(words);
    const keeps = await withRun('head -c 40000000 /dev/urandom >/big', 'linux/arm64', async ({ end }) => void (await end), {
      disk: '64m',
    });
    expect(keeps.build).toMatchObject({
      state: 'failed',
      failure: { code: 'DISK_FULL', message: expect.stringMatching(/^the disk of the runner is full/) },
    });
    expect(keeps.build.failure).toMatchObject(words);
  },
  long,
);

test.skipIf(why || whyNoMemoryLimit())(
  'a RUN that takes all memory fails with what to do, and its runner lives to say so',
  async () => {
    const { build } = await withRun(
      'tail /dev/zero',
      'linux/arm64',
      async ({ end }) => {
        expect(await end).toMatch(/^STEP_FAILED/);
      },
      { memory: 400e6 },
    );
    expect(build).toMatchObject({
      state: 'failed',
      failure: {
        code: 'STEP_FAILED',
        hint: expect.stringMatching(/^The runner ran out of memory .*the kernel killed a process.*microvmMemory/),
      },
    });
  },
  long,
);
