import { execFileSync, spawn } from 'node:child_process';
import {
  closeSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { isCode } from '../../shared/errors.ts';
import { kernelAtLeast } from '../../shared/sandbox/machine.ts';
import { utilLinuxSandbox } from '../../shared/sandbox/util-linux.ts';
import { busyboxRoot, whyNoRoot } from '../support/roots.ts';
import { eventually, fastTemp, type Overrides, place, runIn, shellIn } from '../support/sandboxed.ts';

const why = whyNoRoot('busybox');

describe.skipIf(why)(`util-linux sandbox${why ? ` (${why})` : ''}`, { timeout: 60_000 }, () => {
  const sandbox = utilLinuxSandbox();
  let root: string;
  const mountsBefore = readFileSync('/proc/self/mountinfo', 'utf8');
  const run = (args: readonly string[], overrides?: Overrides) => runIn(sandbox, root, args, overrides);
  const sh = (script: string, overrides?: Overrides) => shellIn(sandbox, root, script, overrides);

  beforeAll(async () => {
    root = await busyboxRoot();
  }, 120_000);

  afterAll(() => {
    const ours = (text: string) => text.split('\n').filter((line) => line.includes('slipway-run-'));
    expect(ours(readFileSync('/proc/self/mountinfo', 'utf8'))).toEqual(ours(mountsBefore));
  });

  describe('the command', () => {
    test('its output, its code, nothing else', async () => {
      expect(await sh('echo out; echo err >&2; exit 7')).toEqual({ exitCode: 7, stdout: 'out\n', stderr: 'err\n', changed: [] });
    });

    test.each([
      ['nosuch', 127, 'exec: "nosuch": executable file not found in $PATH'],
      ['/nosuch', 127, 'exec: "/nosuch": stat /nosuch: no such file or directory'],
      ['/etc/passwd', 126, 'exec: "/etc/passwd": permission denied'],
      ['/etc', 126, 'exec: "/etc": permission denied'],
    ])('%s cannot start: %i', async (command, exitCode, notStarted) => {
      expect(await run([command])).toMatchObject({ exitCode, notStarted, stdout: '', stderr: '' });
    });

    test("a command's own 127 is no failed start", async () => {
      const result = await sh('echo "slipway: failed to execute x: y" >&2; echo more >&2; nosuch');
      expect(result).toMatchObject({ exitCode: 127, stderr: expect.stringContaining('slipway: failed to execute x: y\nmore\n') });
      expect(result.notStarted).toBeUndefined();
    });

    test("cannot change the machine's own devices, but use them", async () => {
      const before = statSync('/dev/full');
      const { stdout } = await sh(
        'for d in null zero full random urandom tty; do chmod 600 /dev/$d; chown 5 /dev/$d; touch -d @1000 /dev/$d; done; echo x >/dev/null && head -c 3 /dev/zero | wc -c',
      );
      expect(stdout).toBe('3\n');
      const { mode, uid, mtimeMs } = statSync('/dev/full');
      expect({ mode, uid, mtimeMs }).toEqual({ mode: before.mode, uid: before.uid, mtimeMs: before.mtimeMs });
    });

    test('a signal that ends it is 128 + n', async () => {
      // Process 1 is deaf to its own signals, so the kernel's: out of a stack of its own.
      const result = await run(['sh', '-c', 'sh -c "kill -TERM \\$\\$"; exit $?']);
      expect(result.exitCode).toBe(143);
    });

    test('process 1, with just its environment, in its directory, as its user', async () => {
      const result = await sh(
        'echo $$; tr "\\0" "\\n" </proc/self/environ; pwd; id -u; id -g; id -G; umask; cat /proc/self/status | grep ^Cap',
        {
          env: ['PATH=/bin', `Q=a 'b' "c" $d \\ e`, 'E='],
          cwd: '/srv/deep/er',
          user: { uid: 1000, gid: 1001, groups: [50, 60] },
        },
      );
      expect(result.stdout.split('\n').filter((line) => !/^(SHLVL|PWD|OLDPWD)=/.test(line))).toEqual([
        ...['1', 'PATH=/bin', `Q=a 'b' "c" $d \\ e`, 'E=', '/srv/deep/er', '1000', '1001', '1001 50 60', '0022'],
        ...['CapInh:\t0000000000000000', 'CapPrm:\t0000000000000000', 'CapEff:\t0000000000000000', 'CapBnd:\t00000000a80425fb'],
        ...['CapAmb:\t0000000000000000', ''],
      ]);
      expect(result.changed).toEqual(['srv', 'srv/deep', 'srv/deep/er']);
    });

    test("root has docker's default capabilities", async () => {
      expect((await sh('grep CapEff /proc/self/status')).stdout).toBe('CapEff:\t00000000a80425fb\n');
    });

    test('variables the C library reads arrive, but only inside', async () => {
      const result = await sh('echo "$LD_LIBRARY_PATH|$LD_PRELOAD"', {
        env: ['PATH=/bin', 'LD_LIBRARY_PATH=/opt/a b/lib', 'LD_PRELOAD=./x.so'],
      });
      expect(result).toMatchObject({ stdout: '/opt/a b/lib|./x.so\n', exitCode: 0 });
    });

    test('stdin is empty unless given', async () => {
      expect((await run(['wc', '-c'])).stdout.trim()).toBe('0');
      const text = 'x'.repeat(300_000);
      expect((await run(['wc', '-c'], { stdin: new Blob([text]).stream() })).stdout.trim()).toBe('300000');
    });

    test('a command that does not read its endless stdin still ends', async () => {
      const endless = new ReadableStream<Uint8Array>({ pull: (c) => c.enqueue(new Uint8Array(65536)) });
      expect((await run(['true'], { stdin: endless })).exitCode).toBe(0);
    });

    test('/dev/stdout and /dev/stderr can be opened, by any user', async () => {
      const result = await sh('echo a >/dev/stdout; echo b >/dev/stderr', { user: { uid: 1000, gid: 1000, groups: [] } });
      expect(result).toMatchObject({ stdout: 'a\n', stderr: 'b\n' });
    });

    test('a slow reader slows the command down', async () => {
      using at = place();
      let seen = 0;
      let most = 0;
      let busy = 0;
      await sandbox.run({
        root: { kind: 'overlay', lowers: [root], ...at },
        args: ['sh', '-c', 'head -c 2000000 /dev/zero; echo e >&2'],
        env: ['PATH=/bin'],
        cwd: '/',
        user: { uid: 0, gid: 0, groups: [] },
        network: 'host',
        stdio: {
          kind: 'pipe',
          onOutput: async (_, chunk) => {
            most = Math.max(most, ++busy);
            await new Promise((resolve) => setImmediate(resolve));
            seen += chunk.length;
            busy--;
          },
        },
      });
      expect(seen).toBe(2_000_002);
      expect(most).toBe(1);
    });

    test('an error of the reader ends the command and comes out', async () => {
      using at = place();
      const boom = new Error('boom');
      const running = sandbox.run({
        root: { kind: 'overlay', lowers: [root], ...at },
        args: ['sh', '-c', 'echo x; sleep 1000'],
        env: ['PATH=/bin'],
        cwd: '/',
        user: { uid: 0, gid: 0, groups: [] },
        network: 'host',
        stdio: {
          kind: 'pipe',
          onOutput: () => {
            throw boom;
          },
        },
      });
      await expect(running).rejects.toBe(boom);
    });
  });

  describe('the root', () => {
    test('upper is the change set, and nothing but', async () => {
      const { changed } = await sh(
        'echo x >/new; rm /etc/group; mkdir /d; echo y >>/etc/resolv.conf; echo z >/dev/shm/a; touch /dev/b; rm -rf /tmp',
      );
      expect(changed).toEqual(['d', 'etc', 'etc/group', 'new', 'tmp']);
    });

    test('mountpoints that the image lacks are not in upper, nor ones it deleted', async () => {
      using at = place();
      mkdirSync(join(at.upper, '../none'));
      const script = 'cat /etc/resolv.conf >/dev/null && ls /proc/self >/dev/null && ls /sys/kernel >/dev/null';
      expect(await sh(script, { at })).toMatchObject({ exitCode: 0, changed: [] });
      // A layer whose whiteout hides the stub: it has to be made, and goes again.
      const layer = join(at.upper, '../layer');
      mkdirSync(join(layer, 'etc'), { recursive: true });
      execFileSync('mknod', [join(layer, 'etc/resolv.conf'), 'c', '0', '0']);
      expect(await sh(script, { at, lowers: [root, layer] })).toMatchObject({ exitCode: 0, changed: ['etc'] });
    });

    test('a tree is written in place and left without stubs', async () => {
      using at = place();
      execFileSync('cp', ['-a', `${root}/.`, at.upper]);
      const before = readdirSync(at.upper, { recursive: true }).length;
      const result = await sandbox.run({
        root: { kind: 'tree', path: at.upper },
        args: ['sh', '-c', 'echo hi >/new && cat /etc/hosts'],
        env: ['PATH=/bin'],
        cwd: '/',
        user: { uid: 0, gid: 0, groups: [] },
        network: 'host',
        stdio: { kind: 'pipe', onOutput: () => undefined },
      });
      expect(result.exitCode).toBe(0);
      expect(readdirSync(at.upper, { recursive: true }).length).toBe(before + 1);
    });

    test('more layers than a page of names could hold', async () => {
      using at = place();
      const lowers = Array.from({ length: 120 }, (_, n) => {
        const layer = join(at.upper, `../${'long-'.repeat(20)}, :${n}`);
        mkdirSync(layer);
        writeFileSync(join(layer, `f${n}`), String(n));
        writeFileSync(join(layer, 'last'), String(n));
        return layer;
      });
      expect((await sh('cat /f0 /f119 /last', { at, lowers: [root, ...lowers] })).stdout).toBe('0119119');
    });

    test('mounts: bind, read-only, file, tmpfs, one inside another', async () => {
      using at = place();
      const source = join(at.upper, '../source');
      mkdirSync(source);
      writeFileSync(join(source, 'file'), 'content');
      const result = await sh(
        'cat /m/rw/file /one; echo w >/m/rw/w; echo w >/m/ro/w; stat -f -c %T /t; echo t >/t/in; cat /t/b/file; df /t | tail -1',
        {
          at,
          mounts: [
            { kind: 'bind', source, target: '/m/rw', readonly: false },
            { kind: 'bind', source, target: '/m/ro', readonly: true },
            { kind: 'bind', source: join(source, 'file'), target: '/one', readonly: true },
            { kind: 'tmpfs', target: '/t', size: 4096 * 4, mode: 0o700 },
            { kind: 'bind', source, target: '/t/b', readonly: true },
          ],
        },
      );
      expect(result.stderr).toMatch(/ro\/w: Read-only file system/);
      expect(result.stdout).toContain('contentcontenttmpfs\ncontent');
      expect(readFileSync(join(source, 'w'), 'utf8')).toBe('w\n');
      expect(result.changed).toEqual([]);
    });

    test('network none is a loopback that is up, and no resolver', async () => {
      const result = await sh('ip -o link; ping -c1 -w2 127.0.0.1 >/dev/null && echo up; cat /etc/resolv.conf', {
        network: 'none',
      });
      expect(result.stdout).toMatch(/^1: lo: <LOOPBACK,UP[^\n]*\nup\n$/);
    });

    test('hostname and hosts', async () => {
      const result = await sh('hostname; cat /etc/hostname; grep -w db /etc/hosts', {
        hostname: 'box-1',
        hosts: [['db', '10.0.0.7']],
      });
      expect(result.stdout).toBe('box-1\nbox-1\n10.0.0.7\tdb\n');
    });
  });

  describe('hostile', () => {
    test("the machine's environment, files and descriptors do not come along", async () => {
      process.env.SLIPWAY_TEST_SECRET = 'hunter2';
      const secret = join(fastTemp(), `secret-${process.pid}`);
      writeFileSync(secret, 'hunter2');
      const fd = openSync(secret, 'r');
      try {
        const result = await sh(
          `ls -l /proc/self/fd | grep -vc -e "-> /dev/null" -e slipway-run-; grep -rl hunter2 /proc/[0-9]*/environ 2>/dev/null; ls ${secret} /proc/*/root${secret} /proc/*/cwd${secret}; ls /proc | grep -c '^[0-9]'`,
        );
        // The total, the pipe to grep, and the folder itself that ls reads.
        expect(result.stdout.split('\n')[0]).toBe('3');
        expect(result.stdout).not.toContain('environ');
        expect(result.stderr.match(/secret-\d+: No such file/g)?.length).toBe(3);
      } finally {
        closeSync(fd);
        execFileSync('rm', ['-f', secret]);
        delete process.env.SLIPWAY_TEST_SECRET;
      }
    });

    test('descriptors that Slipway was started with are not handed on', async () => {
      using at = place();
      const secret = join(at.upper, '../secret');
      writeFileSync(secret, 'hunter2');
      const script = runnerScript(root, at, ['sh', '-c', 'cat /proc/self/fd/9 /proc/self/fd/31; ls -l /proc/self/fd']);
      const out = execFileSync(
        'bash',
        ['-c', `exec 9<"${secret}" 31<"${secret}"; exec "$0" --input-type=module-typescript -e "$1"`, process.execPath, script],
        {
          encoding: 'utf8',
          stdio: ['ignore', 'pipe', 'pipe'],
        },
      );
      expect(out).toContain('31 -> /dev/null');
      expect(out).not.toContain('hunter2');
      expect(out).not.toContain(secret);
    });

    test.each(['etc', 'dev', 'proc', 'sys'])('an image whose /%s is a link leads nowhere outside', async (name) => {
      using at = place();
      const layer = join(at.upper, '../layer');
      const outside = mkdtempSync(join(tmpdir(), 'slipway-outside-'));
      try {
        mkdirSync(layer);
        symlinkSync(outside, join(layer, name));
        const running = sh('cat /etc/hosts >/dev/null; ls -d /', { at, lowers: [root, layer] });
        if (name === 'etc') expect(await running).toMatchObject({ exitCode: 0, stderr: '', stdout: '/\n' });
        else await expect(running).rejects.toThrow(`/${name} is a symbolic link`);
        expect(readdirSync(outside)).toEqual([]);
      } finally {
        rmSync(outside, { recursive: true });
      }
    });

    test('links of a cache mount or working directory stay inside', async () => {
      using at = place();
      const [layer, outside] = [join(at.upper, '../layer'), join(at.upper, '../outside')];
      mkdirSync(layer);
      mkdirSync(outside);
      symlinkSync(outside, join(layer, 'cache'));
      symlinkSync('loop', join(layer, 'loop'));
      symlinkSync(`../../../../..${outside}/made`, join(layer, 'work'));
      const mounts = [{ kind: 'tmpfs', target: '/cache/sub' }] as const;
      expect(
        (await sh('pwd; mount | grep -c cache/sub', { at, lowers: [root, layer], mounts, cwd: '/work/x' })).exitCode,
      ).toBeLessThan(2);
      expect(readdirSync(outside)).toEqual([]);
      await expect(sh('true', { at, lowers: [root, layer], cwd: '/loop' })).rejects.toMatchObject({ code: 'STEP_FAILED' });
    });

    test('stubs are not removed through a link that the command left in their place', async () => {
      using at = place();
      const outside = join(at.upper, '../outside');
      mkdirSync(outside);
      writeFileSync(join(outside, 'file'), '');
      const layer = join(at.upper, '../layer');
      mkdirSync(layer);
      await sh(`umount /a/b; mv /a /a2; ln -s ${outside} /a`, {
        at,
        mounts: [{ kind: 'bind', source: join(outside, 'file'), target: '/a/file', readonly: false }],
      });
      expect(readdirSync(outside)).toEqual(['file']);
    });

    test.each([
      ['mount', 'mount -t tmpfs x /mnt || mount -t proc p /tmp || mount --bind / /tmp || umount /proc/keys || umount /etc/hosts'],
      ['remount', 'mount -o remount,rw /proc/sys || echo x >/proc/sys/kernel/hostname || mount -o remount,dev /'],
      ['hostname', 'hostname other'],
      ['kernel switches', 'echo 1 >/proc/sysrq-trigger || echo x >/proc/sys/kernel/core_pattern'],
      ['new namespaces as root', 'unshare -m true'],
      ['time', 'date -s 2000-01-01 >/dev/null; date +%Y | grep 2000'],
      ['modules', 'insmod /bin/busybox'],
      ['network', 'ip link set lo down || ip addr add 10.9.9.9/8 dev lo'],
    ])('not allowed: %s', async (_, script) => {
      expect((await sh(`{ ${script}; } 2>/dev/null && echo BAD`)).stdout).toBe('');
    });

    test('device nodes can be made but not opened, wherever', async () => {
      const numbers = execFileSync('stat', ['-c', '%Hr %Lr', '/dev/null'], { encoding: 'utf8' }).trim();
      const result = await sh(
        `for d in / /dev /dev/shm /tmp /m /t; do mknod $d/node c ${numbers} && cat $d/node && echo BAD $d; done; cat /dev/null && echo fine`,
        {
          mounts: [
            { kind: 'tmpfs', target: '/t' },
            { kind: 'bind', source: fastTemp(), target: '/m', readonly: true },
          ],
        },
      );
      expect(result.stdout).toBe('fine\n');
    });

    test('a user namespace inside uncovers nothing', async () => {
      const result = await sh(
        'unshare -Urm sh -c "umount /proc/keys || umount -l / || umount /proc/sys || mount -t proc p /proc || mount --move / /tmp || mount -o remount,bind,rw /proc/sys" && echo BAD; echo done',
        { user: { uid: 1000, gid: 1000, groups: [] } },
      );
      expect(result.stdout).toBe('done\n');
    });

    test('processes left behind are dead when the run is over', async () => {
      const { mark, sum } = computed('left');
      const left = `: >/tmp/up; sleep 1000; echo ${sum}`;
      const { changed } = await sh(
        `(trap "" HUP TERM INT; setsid sh -c "${left}" &) ; setsid sleep 1000 & until [ -e /tmp/up ]; do sleep 0.02; done`,
      );
      expect(processes()).not.toContain(mark);
      expect(changed).toContain('tmp/up');
    });

    test.skipIf(!kernelAtLeast(6, 14))('the number of processes is bounded, and the machine has its own bound', async () => {
      const before = readFileSync('/proc/sys/kernel/pid_max', 'utf8');
      expect((await sh('cat /proc/sys/kernel/pid_max')).stdout).toBe('30000\n');
      expect(readFileSync('/proc/sys/kernel/pid_max', 'utf8')).toBe(before);
    });
  });

  describe('the end', () => {
    test('cancelled: everything is dead when run rejects', async () => {
      using at = place();
      const stop = new AbortController();
      const { mark, sum } = computed('cancel');
      const running = sh(`trap "" TERM INT; setsid sh -c "sleep 998; echo ${sum}" & echo started; sleep 999; echo ${sum}`, {
        signal: stop.signal,
        at,
      });
      await eventually(() => processes().includes(mark), 'the command runs');
      stop.abort();
      await expect(running).rejects.toSatisfy((error) => isCode(error, 'CANCELLED'));
      expect(processes()).not.toContain(mark);
    });

    test('killed from outside, as by a kernel without memory: 137', async () => {
      const started = (send: (name: NodeJS.Signals) => void) => send('SIGKILL');
      expect(await sh('sleep 995', { started })).toMatchObject({ exitCode: 137, stderr: '' });
    });

    test('a failing command that says what unshare would is no such thing', async () => {
      expect((await sh('echo "unshare: no" >&2; exit 1')).exitCode).toBe(1);
    });

    test('cancelled before it begins', async () => {
      await expect(sh('true', { signal: AbortSignal.abort() })).rejects.toSatisfy((error) => isCode(error, 'CANCELLED'));
    });

    test.each(['SIGKILL', 'SIGTERM'] as const)(
      '%s of Slipway itself ends a command that has cleared its death signal',
      async (signal) => {
        using at = place();
        const mark = `orphan-${process.pid}-${signal}`;
        // `su` is set-user-ID where it is a real one; busybox's changes user, which clears the death signal as well.
        const script = runnerScript(root, at, [
          'su',
          '-s',
          '/bin/sh',
          'app',
          '-c',
          `trap "" TERM INT HUP; sleep 997; echo ${mark}`,
        ]);
        const child = spawn(process.execPath, ['--input-type=module-typescript', '-e', script], { stdio: 'ignore' });
        await eventually(() => processes(mark).length > 1 && foldersOf(at).length > 0, 'the command runs');
        child.kill(signal);
        await eventually(() => processes(mark).length === 0, 'the command is dead');
        await eventually(() => foldersOf(at).length === 0, 'the folder is gone');
      },
    );

    test('a terminal that is closed takes the command with it, and the folder of the run', async () => {
      using at = place();
      const mark = `hangup-${process.pid}`;
      const program = runnerScript(root, at, ['sh', '-c', `trap "" HUP TERM INT; sleep 994; echo ${mark}`]).replace(
        /stdio: \{.*/,
        "stdio: { kind: 'terminal' } });",
      );
      const line = [process.execPath, '--input-type=module-typescript', '-e', program]
        .map((word) => `'${word.replaceAll("'", `'\\''`)}'`)
        .join(' ');
      // It holds the terminal; killing it closes that.
      const holder = spawn('script', ['-qec', line, '/dev/null'], { stdio: ['pipe', 'ignore', 'ignore'] });
      await eventually(() => processes(`994; echo ${mark}`).length > 0 && foldersOf(at).length > 0, 'the command runs');
      holder.kill('SIGKILL');
      await eventually(() => processes(`994; echo ${mark}`).length === 0, 'the command is dead');
      await eventually(() => foldersOf(at).length === 0, 'the folder is gone');
    });

    test('a folder that overlayfs cannot write to is named as the cause', async () => {
      using at = place();
      const running = sandbox.run({
        root: { kind: 'overlay', lowers: [root], upper: '/proc/self', work: '/proc/self' },
        args: ['true'],
        env: ['PATH=/bin'],
        cwd: '/',
        user: { uid: 0, gid: 0, groups: [] },
        network: 'host',
        stdio: { kind: 'pipe', onOutput: () => undefined },
      });
      await expect(running).rejects.toMatchObject({ code: 'SANDBOX_UNAVAILABLE', hint: expect.stringContaining('SLIPWAY_HOME') });
      expect(existsSync(at.upper)).toBe(true);
    });
  });
});

/**
 * What only the command's own processes have among their words, as the shell inside works it out of `sum`: those that see to the run were
 * given the script, and the one that waits for its end may outlive it for a moment.
 */
function computed(name: string): { readonly mark: string; readonly sum: string } {
  const number = process.pid * 1000 + Math.trunc(performance.now() % 1000);
  return { mark: `${name}-${number}`, sum: `${name}-$((${number - 1} + 1))` };
}

function processes(mark = ''): string[] | string {
  const all = execFileSync('ps', ['axww', '-o', 'pid,args'], { encoding: 'utf8' });
  if (mark === '') return all;
  return all.split('\n').filter((line) => line.includes(mark) && !line.includes('ps axww') && !line.includes('input-type'));
}

/** Where such a program keeps the folder of its run: not among those of other tests. */
const scratchOf = (at: { upper: string }): string => join(at.upper, '../scratch');
const foldersOf = (at: { upper: string }): string[] => readdirSync(scratchOf(at));

/** A program that runs one command and prints what it says. */
function runnerScript(root: string, at: { upper: string; work: string }, args: readonly string[]): string {
  const driver = new URL('../../shared/sandbox/util-linux.ts', import.meta.url).href;
  mkdirSync(scratchOf(at));
  return `import { utilLinuxSandbox } from ${JSON.stringify(driver)};
    await utilLinuxSandbox({ scratch: ${JSON.stringify(scratchOf(at))} }).run({ root: { kind: 'overlay', lowers: [${JSON.stringify(root)}], upper: ${JSON.stringify(at.upper)}, work: ${JSON.stringify(at.work)} },
      args: ${JSON.stringify(args)}, env: ['PATH=/bin'], cwd: '/', user: { uid: 0, gid: 0, groups: [] }, network: 'host',
      stdio: { kind: 'pipe', onOutput: (_, chunk) => { process.stdout.write(chunk); } } });`;
}
