// The known ways out of a chroot and a pid namespace, in a root that has the tools for them. A file on the machine that no image has is
// what there is to find.
import { rmSync, writeFileSync } from 'node:fs';
import { beforeAll, describe, expect, test } from 'vitest';
import { utilLinuxSandbox } from '../../shared/sandbox/util-linux.ts';
import { debianRoot, whyNoRoot } from '../support/roots.ts';
import { runIn } from '../support/sandboxed.ts';

const why = whyNoRoot('debian');

describe.skipIf(why)(`ways out${why ? ` (${why})` : ''}`, { timeout: 60_000 }, () => {
  const sandbox = utilLinuxSandbox();
  const secret = `/var/tmp/slipway-secret-${process.pid}`;
  let root: string;
  beforeAll(async () => {
    root = await debianRoot();
  }, 240_000);
  const perl = async (script: string, uid = 0) => {
    writeFileSync(secret, 'hunter2');
    try {
      const user = { uid, gid: uid, groups: [] };
      const env = [`SECRET=${secret}`, `PID=${process.pid}`, 'PATH=/usr/bin:/bin'];
      return await runIn(sandbox, root, ['perl', '-e', script], { user, env, cwd: '/' });
    } finally {
      rmSync(secret);
    }
  };
  const find = 'print -e $ENV{SECRET} ? "OUT\\n" : "in\\n";';

  test('chroot deeper and climb', async () => {
    // The root stays above the working directory: `..` is not stopped by it.
    const script = `mkdir "/x"; opendir(D, "/"); chroot("/x") or die "chroot: $!"; chdir(D) or die "chdir: $!"; chdir("..") for 1..64; chroot(".") or die "again: $!"; ${find}`;
    expect(await perl(script)).toMatchObject({ stdout: 'in\n', stderr: '', exitCode: 0 });
  });

  test('chroot through every process that can be seen', async () => {
    const script = `for my $p (glob("/proc/[0-9]*")) { for my $d ("root", "cwd") { if (fork() == 0) { chroot("$p/$d") && chdir("/"); ${find} exit 0 } wait } }`;
    expect((await perl(script)).stdout).toMatch(/^(in\n)+$/);
  });

  test('climb from every open descriptor', async () => {
    const script = `for my $n (0..255) { next unless -d "/proc/self/fd/$n"; print "OUT $n\\n" if -e "/proc/self/fd/$n/../../../../../../..$ENV{SECRET}" }; print "done\\n"`;
    expect((await perl(script)).stdout).toBe('done\n');
  });

  test('trace or signal a process of the machine', async () => {
    // PTRACE_ATTACH is 16; 101 is ptrace on x86-64, 117 on arm64.
    const number = process.arch === 'arm64' ? 117 : 101;
    const script = `print kill(0, $ENV{PID}) ? "OUT\\n" : "in\\n"; print syscall(${number}, 16, $ENV{PID}+0, 0, 0) == 0 ? "OUT\\n" : "in\\n"`;
    expect((await perl(script)).stdout).toBe('in\nin\n');
  });

  test.each([0, 1000])('new namespaces as uid %i uncover nothing', async (uid) => {
    const uncover =
      'umount -l / ; umount /proc/keys; umount /etc/hosts; mount --move / /mnt; mount -t proc proc /proc; pivot_root / /mnt;';
    const script = `system("unshare -Urmpf sh -c '${uncover} ls $ENV{SECRET} && echo OUT; cat /proc/keys; for f in /proc/sys/kernel/core_pattern /proc/sysrq-trigger; do test -w \\$f && echo OUT; done; mount -t sysfs s /mnt && echo OUT; nsenter -m -t 1 ls $ENV{SECRET} && echo OUT' 2>/dev/null"); ${find}`;
    expect((await perl(script, uid)).stdout).toBe('in\n');
  });

  test('programs with rights of their own gain none beyond the bounding set', async () => {
    const script =
      'system("cp /bin/cat /tmp/c; chmod 4755 /tmp/c; su nobody -s /bin/sh -c \'/tmp/c /proc/self/status\' | grep -e CapEff -e CapBnd")';
    expect((await perl(script)).stdout).toBe('CapEff:\t00000000a80425fb\nCapBnd:\t00000000a80425fb\n');
  });
});
