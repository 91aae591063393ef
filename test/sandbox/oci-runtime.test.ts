import { execFileSync } from 'node:child_process';
import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';
import { isCode } from '../../shared/errors.ts';
import { chooseSandbox } from '../../shared/sandbox/choose.ts';
import { ociSandbox } from '../../shared/sandbox/oci-runtime.ts';
import { hybridCgroups } from '../../shared/sandbox/probe.ts';
import { busyboxRoot, whyNoRoot } from '../support/roots.ts';
import { eventually, type Overrides, place, runIn, shellIn } from '../support/sandboxed.ts';

test('the sandbox is chosen by SLIPWAY_SANDBOX', async () => {
  expect((await chooseSandbox({})).name).toBe('util-linux');
  expect((await chooseSandbox({ SLIPWAY_SANDBOX: 'runc' })).name).toBe('runc');
  await expect(chooseSandbox({ SLIPWAY_SANDBOX: 'chroot' })).rejects.toMatchObject({ code: 'USAGE' });
});

const why = whyNoRoot('busybox') ?? (existsSync('/usr/sbin/runc') || process.env.CI ? undefined : 'needs runc');

describe.skipIf(why)(`runc${why ? ` (${why})` : ''}`, { timeout: 60_000 }, () => {
  const sandbox = ociSandbox('runc');
  let root: string;
  const run = (args: readonly string[], overrides?: Overrides) => runIn(sandbox, root, args, overrides);
  const sh = (script: string, overrides?: Overrides) => shellIn(sandbox, root, script, overrides);
  beforeAll(async () => {
    root = await busyboxRoot();
  }, 120_000);

  test('output, code, change set, and no stubs in it', async () => {
    const result = await sh('echo out; echo err >&2; echo x >/new; rm /etc/group; cat /etc/resolv.conf >/dev/null; exit 7');
    expect(result).toEqual({ exitCode: 7, stdout: 'out\n', stderr: 'err\n', changed: ['etc', 'etc/group', 'new'] });
  });

  test.each([
    ['nosuch', 127, 'exec: "nosuch": executable file not found in $PATH'],
    ['/nosuch', 127, 'exec: "/nosuch": stat /nosuch: no such file or directory'],
    ['/etc/passwd', 126, 'exec: "/etc/passwd": permission denied'],
  ])('%s cannot start: %i', async (command, exitCode, notStarted) => {
    expect(await run([command])).toMatchObject({ exitCode, notStarted, stdout: '', stderr: '' });
  });

  test("docker's capabilities, user, environment, streams", async () => {
    const script =
      'grep -e CapBnd -e CapEff -e Seccomp: /proc/self/status; id -u; id -G; echo $LD_PRELOAD; echo e >/dev/stderr; cat; pwd';
    const result = await sh(script, {
      user: { uid: 1000, gid: 1001, groups: [50] },
      env: ['PATH=/bin', 'LD_PRELOAD=./x'],
      stdin: new Blob(['in\n']).stream(),
      cwd: '/made',
    });
    expect(result.stdout).toBe(
      'CapEff:\t0000000000000000\nCapBnd:\t00000000a80425fb\nSeccomp:\t2\n1000\n1001 50\n./x\nin\n/made\n',
    );
    expect(result.stderr).toBe('e\n');
  });

  test.each(['unshare -Ur true', 'mount -t tmpfs x /tmp', 'cat /proc/keys | grep .', 'echo x >/proc/sys/kernel/hostname'])(
    'not allowed: %s',
    async (line) => {
      expect((await sh(`{ ${line}; } 2>/dev/null && echo BAD`)).stdout).toBe('');
    },
  );

  test('mounts and no network', async () => {
    using at = place();
    writeFileSync(join(at.upper, '../file'), 'content');
    const mounts = [
      { kind: 'bind', source: join(at.upper, '../file'), target: '/one', readonly: true },
      { kind: 'tmpfs', target: '/t', size: 65536 },
    ] as const;
    const result = await sh(
      'cat /one; echo x >/one; touch /t/x; ip -o link | grep -c "[<,]UP"; ping -c1 -w1 127.0.0.1 >/dev/null && echo up',
      { mounts, network: 'none' },
    );
    expect(result.stdout).toBe('content1\nup\n');
    expect(result.stderr).toMatch(/Read-only/);
  });

  test('cancelled: dead, and no container left', async () => {
    const stop = new AbortController();
    const mark = `runc-${process.pid}`;
    const all = () => execFileSync('ps', ['axww', '-o', 'args'], { encoding: 'utf8' });
    const running = sh(`trap "" TERM; sleep 996; echo ${mark}`, { signal: stop.signal });
    await eventually(() => new RegExp(`^sh -c trap.*${mark}`, 'm').test(all()), 'the command runs');
    stop.abort();
    await expect(running).rejects.toSatisfy((error) => isCode(error, 'CANCELLED'));
    expect(all()).not.toContain(mark);
  });
});

test.skipIf(!existsSync('/usr/bin/crun') || !hybridCgroups() || process.getuid?.() !== 0)(
  'an old crun on hybrid control groups is refused with the reason',
  async () => {
    await expect(runIn(ociSandbox('crun'), '/', ['true'])).rejects.toMatchObject({
      code: 'SANDBOX_UNAVAILABLE',
      message: expect.stringContaining('hybrid'),
    });
  },
);
