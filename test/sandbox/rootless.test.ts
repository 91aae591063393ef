import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { chmodSync, existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { mapArguments, type RootlessMachine, rangesOf, rootlessProblems } from '../../shared/sandbox/rootless.ts';
import { busyboxRoot, whyNoRoot } from '../support/roots.ts';
import { eventually } from '../support/sandboxed.ts';

const ready: RootlessMachine = {
  uid: 1000,
  gid: 1000,
  user: 'ann',
  subuid: 'bob:100000:65536\nann:165536:65536\n',
  subgid: 'ann:165536:65536\n',
  which: (name) => `/usr/bin/${name}`,
  sysctl: () => undefined,
};

test('ranges are found by name and by number, and nothing else is taken for one', () => {
  expect(rangesOf('ann:1:2\n1000:10:20\nann2:5:5\n#ann:3:3\nann:x:1\n\n', 'ann', 1000)).toEqual([
    { start: 1, count: 2 },
    { start: 10, count: 20 },
  ]);
});

test('the map: root is the user, then the ranges one after the other', () => {
  const ranges = [
    { start: 100, count: 10 },
    { start: 500, count: 5 },
  ];
  expect(mapArguments(1000, ranges)).toEqual(['0', '1000', '1', '1', '100', '10', '11', '500', '5']);
});

test.each<[string, Partial<RootlessMachine>, string[]]>([
  ['nothing', {}, []],
  ['no tools', { which: () => undefined }, ['newuidmap is not installed', 'newgidmap is not installed']],
  ['no ids', { subuid: 'bob:1:65536' }, ['/etc/subuid gives ann no subordinate ids, images need 65536']],
  ['few ids', { subgid: 'ann:1:1000' }, ['/etc/subgid gives ann only 1000 subordinate ids, images need 65536']],
  [
    'switched off',
    { sysctl: (name) => (name === 'user/max_user_namespaces' ? '0' : undefined) },
    ['user namespaces are switched off'],
  ],
  ['Ubuntu', { sysctl: (n) => (n.includes('apparmor') ? '1' : undefined) }, ['AppArmor takes the rights out of user namespaces']],
])('what is missing: %s', (_, over, expected) => {
  expect(rootlessProblems({ ...ready, ...over }).map((problem) => problem.what)).toEqual(expected);
});

const why = whyNoRoot('busybox') ?? (existsSync('/usr/bin/newuidmap') ? undefined : 'needs newuidmap (Debian: uidmap)');

describe.skipIf(why)(`as an ordinary user${why ? ` (${why})` : ''}`, () => {
  // Another name each time: the user of a run that was killed is still there, and process ids come back.
  const user = `slw${randomBytes(6).toString('hex')}`;
  let folder: string;

  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), 'slipway-rootless-'));
    chmodSync(folder, 0o755);
    execFileSync('useradd', ['-m', user]);
    writeFileSync(join(folder, 'main.ts'), program);
    chmodSync(join(folder, 'main.ts'), 0o644);
  }, 60_000);
  afterAll(() => {
    execFileSync('userdel', ['-r', user], { stdio: 'ignore' });
    rmSync(folder, { recursive: true, force: true });
  });

  /** Enters the namespace, unpacks the root there as the home would, and runs `script` in it. */
  const asUser = (root: string, script: string) => {
    const tar = join(folder, 'root.tar');
    execFileSync('tar', ['-C', root, '--exclude=./dev/*', '-cf', tar, '.']);
    chmodSync(tar, 0o644);
    const node = [process.execPath, join(folder, 'main.ts'), tar, script]
      .map((word) => `'${word.replaceAll("'", `'\\''`)}'`)
      .join(' ');
    const done = spawnSync('su', [user, '-c', node], { encoding: 'utf8', cwd: '/' });
    return { code: done.status, stdout: done.stdout, stderr: done.stderr };
  };

  test('commands run as root and as others, and the exit code comes out', async () => {
    const root = await busyboxRoot();
    const result = asUser(
      root,
      'id -u; echo x >/new && chown 1000:50 /new && ls -ln /new | cut -c1-40; su app -s /bin/sh -c "id -u"; grep CapEff /proc/self/status; echo x >/sys/kernel/x; ls /sys/fs/cgroup | wc -l; exit 7',
    );
    expect(result.stdout).toMatch(/^0\n-rw-r--r--\s+1 1000\s+50\s.*\n1000\nCapEff:\t00000000a80425fb\n0\n$/);
    expect(result.code).toBe(7);
  }, 60_000);

  test('what is inside ends with who waits outside, whatever it does about signals', async () => {
    const file = join(folder, 'inside.ts');
    writeFileSync(
      file,
      `import { enterUserNamespace } from ${url('rootless.ts')};
const code = await enterUserNamespace([process.execPath, ...process.argv.slice(1)], process.env);
if (code !== undefined) process.exit(code);
for (const signal of ['SIGTERM', 'SIGHUP', 'SIGINT']) process.on(signal, () => undefined);
console.log(process.pid);
setInterval(() => undefined, 1000);
`,
    );
    chmodSync(file, 0o644);
    const outside = spawn('setpriv', ['--reuid', user, '--regid', user, '--init-groups', process.execPath, file], {
      stdio: ['ignore', 'pipe', 'inherit'],
      cwd: '/',
    });
    const pid = Number(String((await once(outside.stdout, 'data'))[0]));
    expect(existsSync(`/proc/${pid}`)).toBe(true);
    outside.kill('SIGKILL');
    await eventually(() => !existsSync(`/proc/${pid}`), 'the process inside is gone');
  }, 60_000);

  const url = (file: string) => JSON.stringify(new URL(`../../shared/sandbox/${file}`, import.meta.url).href);
  const program = `
import { execFileSync } from 'node:child_process';
import { chmodSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { enterUserNamespace } from ${url('rootless.ts')};
import { utilLinuxSandbox } from ${url('util-linux.ts')};
const code = await enterUserNamespace([process.execPath, ...process.argv.slice(1)], process.env);
if (code !== undefined) process.exit(code);
const folder = mkdtempSync(join(tmpdir(), 'slipway-home-'));
try {
  for (const name of ['lower', 'upper', 'work']) {
    mkdirSync(join(folder, name));
    chmodSync(join(folder, name), 0o755);
  }
  execFileSync('tar', ['-C', join(folder, 'lower'), '-xf', process.argv[2]]);
  const { exitCode } = await utilLinuxSandbox().run({
    root: { kind: 'overlay', lowers: [join(folder, 'lower')], upper: join(folder, 'upper'), work: join(folder, 'work') },
    args: ['sh', '-c', process.argv[3]], env: ['PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin'], cwd: '/',
    user: { uid: 0, gid: 0, groups: [] }, network: 'host',
    stdio: { kind: 'pipe', onOutput: (name, chunk) => { process[name].write(chunk); } } });
  process.exitCode = exitCode;
} finally {
  rmSync(folder, { recursive: true, force: true });
}
`;
});
