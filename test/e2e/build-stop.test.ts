// Builds that are stopped, killed, run out of disk, or run beside each other: nothing is left running or mounted, and the next one works.
import { spawn } from 'node:child_process';
import { mkdir, open, readdir, rm, writeFile } from 'node:fs/promises';
import { type AddressInfo, createServer } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { busyboxImage, busyboxReference } from '../support/base-images.ts';
import { buildLab, complaint, expectNothingLeft, type Lab, processesWith, whyNoBuilds, whyNoUser } from '../support/build-lab.ts';
import { attempt, must } from '../support/command.ts';
import { slipwayCommand } from '../support/slipway.ts';

const why = await whyNoBuilds();
const whyUser = whyNoUser();
const from = `FROM ${busyboxReference}\n`;

async function until(check: () => boolean | Promise<boolean>, what: string | (() => string)): Promise<void> {
  for (let tries = 0; tries < 600; tries++) {
    if (await check()) return;
    await sleep(50);
  }
  throw new Error(`still not so after 30 s: ${typeof what === 'string' ? what : what()}`);
}

/** Starts a build, sends the signal when its log says `when`, and waits for its end. */
async function stopped(command: readonly string[], env: Record<string, string>, when: string, signal: NodeJS.Signals) {
  const [program = '', ...args] = command;
  const child = spawn(program, args, { env: { ...process.env, ...env }, stdio: ['ignore', 'ignore', 'pipe'] });
  let said = '';
  child.stderr.on('data', (chunk) => {
    said += String(chunk);
  });
  const closed = new Promise<number | string>((resolve) => child.once('exit', (code, by) => resolve(code ?? by ?? 'none')));
  await until(
    () => said.includes(when) || child.exitCode !== null,
    () => `"${when}" in: ${said}`,
  );
  child.kill(signal);
  const ended = await closed;
  // The other end of the pipe is in what it has started.
  await until(() => child.stderr.destroyed || child.stderr.readableEnded, 'the end of its log');
  return { ended, said };
}

describe.skipIf(why !== undefined && !process.env.CI)(`stopping builds${why ? ` (${why})` : ''}`, () => {
  let lab: Lab;
  let slow: string;
  beforeAll(async () => {
    lab = await buildLab();
    // `started` in the log, and not only in the step's name.
    slow = await lab.context('slow', { Dockerfile: `${from}RUN sleep 4321 & echo st""arted; sleep 4322` });
  });
  afterAll(() => lab?.[Symbol.asyncDispose]());
  const works = async () => {
    const { exitCode, stderr } = await lab.build(`${from}RUN echo $((${Date.now()})) > /x`);
    expect({ exitCode, stderr: exitCode === 0 ? '' : stderr }).toEqual({ exitCode: 0, stderr: '' });
    await until(async () => (await readdir(join(lab.home, 'run'))).length === 0, 'what killed builds left is swept');
    await expectNothingLeft(lab.home);
  };
  const command = (context: string) => [slipwayCommand, 'build', '--progress', 'plain', '-t', 'never', context];

  test.each(['SIGINT', 'SIGTERM'] as const)('%s in the middle of a RUN', async (signal) => {
    const { ended, said } = await stopped(command(slow), { SLIPWAY_HOME: lab.home }, ' started\n', signal);
    expect(ended).toBe(130);
    expect(said).toMatch(/#\d+ CANCELED\n\nCancelled\n$/);
    await expectNothingLeft(lab.home);
    expect((await lab.slipway(['inspect', 'never'])).exitCode).toBe(1);
  });

  test('SIGINT in the middle of a large COPY', async () => {
    const context = await lab.context('large', { Dockerfile: `${from}COPY big /` });
    await must(['dd', 'if=/dev/urandom', `of=${join(context, 'big')}`, 'bs=1M', 'count=512']);
    const { ended, said } = await stopped(command(context), { SLIPWAY_HOME: lab.home }, 'COPY big /', 'SIGINT');
    await rm(join(context, 'big'));
    expect(ended).toBe(130);
    expect(said).toContain('Cancelled\n');
    await expectNothingLeft(lab.home);
  });

  test('SIGINT while the context is read', async () => {
    const context = await lab.context('reading', { Dockerfile: `${from}COPY big /` });
    await must(['dd', 'if=/dev/urandom', `of=${join(context, 'big')}`, 'bs=1M', 'count=512']);
    const { ended } = await stopped(command(context), { SLIPWAY_HOME: lab.home }, 'load build context', 'SIGINT');
    await rm(join(context, 'big'));
    expect(ended).toBe(130);
    await expectNothingLeft(lab.home);
  });

  test('SIGKILL in the middle of a RUN: all of it dies, and the next build cleans up', async () => {
    const { ended } = await stopped(command(slow), { SLIPWAY_HOME: lab.home }, ' started\n', 'SIGKILL');
    expect(ended).toBe('SIGKILL');
    await until(() => processesWith(lab.home).length === 0, 'all processes are gone');
    // The step's folder, and the file that said that a command was at work.
    expect(await readdir(join(lab.home, 'run'))).toHaveLength(2);
    await works();
  });

  test.skipIf(whyUser !== undefined)(`as an ordinary user${whyUser ? ` (${whyUser})` : ''}`, async () => {
    await using user = await lab.user();
    const home = join(user.path, 'home');
    const as = ['setpriv', `--reuid=${user.name}`, `--regid=${user.name}`, '--init-groups', '--', slipwayCommand];
    const env = { SLIPWAY_HOME: home, HOME: `/home/${user.name}` };
    for (const signal of ['SIGINT', 'SIGTERM'] as const) {
      const { ended } = await stopped([...as, 'build', '--progress', 'plain', slow], env, ' started\n', signal);
      expect(ended).toBe(130);
      await until(() => processesWith(home).length === 0, 'all processes are gone');
      await expectNothingLeft(home);
    }
    await stopped([...as, 'build', '--progress', 'plain', slow], env, ' started\n', 'SIGKILL');
    await until(() => processesWith(home).length === 0, 'all processes are gone');
  });

  test('two different builds at once in one home, one of which fails', async () => {
    const [one, two, bad] = await Promise.all([
      lab.build(`${from}RUN sleep 0.3; echo 1 > /x`, ['-t', 'one']),
      lab.build(`${from}RUN sleep 0.3; echo 2 > /x`, ['-t', 'two']),
      lab.build(`${from}RUN sleep 0.1; exit 9`),
    ]);
    expect([one.exitCode, two.exitCode, bad.exitCode]).toEqual([0, 0, 1]);
    expect(await lab.cat('one', '/x')).toBe('1\n');
    expect(await lab.cat('two', '/x')).toBe('2\n');
    await expectNothingLeft(lab.home);
  });

  test('a file that changes while it is built', async () => {
    // The RUN says that it runs, by which time the context has been read, and ends when the file is another.
    let context = '';
    const server = createServer({ allowHalfOpen: true }, async (socket) => {
      await writeFile(join(context, 'big'), 'y'.repeat(100_000));
      socket.end();
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const { port } = server.address() as AddressInfo;
    const Dockerfile = `${from}RUN nc 127.0.0.1 ${port} </dev/null\nCOPY big /`;
    context = await lab.context('changing', { Dockerfile, big: 'x'.repeat(200_000) });
    const result = await lab.slipway(['build', '--progress', 'plain', context]);
    server.close();
    expect(result.exitCode).toBe(1);
    expect(complaint(result)).toMatch(/^Dockerfile:3\n[\s\S]*Error: big is shorter than the 200000 bytes it had/);
    await expectNothingLeft(lab.home);
  });

  test('a full disk', async () => {
    const small = join(lab.path, 'small');
    await mkdir(small);
    await must(['mount', '-t', 'tmpfs', '-o', 'size=24m', 'tmpfs', small]);
    try {
      const env = { SLIPWAY_HOME: join(small, 'home') };
      const home = (args: readonly string[], input = '') => attempt([slipwayCommand, ...args], { env, input, cwd: lab.path });
      expect((await home(['load', '-q', '-i', (await busyboxImage()).archive])).exitCode).toBe(0);
      const context = await lab.context('full');
      await must(['dd', 'if=/dev/urandom', `of=${join(context, 'big')}`, 'bs=1M', 'count=40']);
      for (const step of ['COPY big /', 'ADD big /', 'RUN dd if=/dev/urandom of=/x bs=1M count=40']) {
        const result = await home(['build', '--progress', 'plain', '-t', 'never', '-f-', context], `${from}${step}`);
        expect(result.exitCode).toBe(1);
        expect(result.stderr).toMatch(/[Nn]o space left|ENOSPC/);
        expect(complaint(result)).toMatch(/^Dockerfile:2\n/);
        await expectNothingLeft(env.SLIPWAY_HOME);
      }
      const filler = await open(join(small, 'filler'), 'w');
      await filler.write(Buffer.alloc(64 << 20)).catch(() => undefined);
      await filler.close();
      const full = await home(['build', '-t', 'never', '-f-', context], `${from}RUN touch /x`);
      expect(full.exitCode).toBe(1);
      expect(full.stderr).toMatch(/Error: no space left to write/);
      await rm(join(small, 'filler'));
      await rm(join(context, 'big'));
      // What was there before is there still, and works.
      expect((await home(['images', '-q'])).stdout.trim().split('\n')).toHaveLength(1);
      expect((await home(['build', '-q', '-f-', context], `${from}RUN touch /x`)).exitCode).toBe(0);
    } finally {
      await must(['umount', small]);
    }
  });
});
