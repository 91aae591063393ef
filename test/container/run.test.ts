import { createReadStream, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { PassThrough, Readable } from 'node:stream';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { runCli } from '../../cli/run-cli.ts';
import { openHome } from '../../local/home.ts';
import { pruneHome } from '../../local/prune.ts';
import { loadArchive } from '../../shared/archive/load.ts';
import { busyboxImage, layerOf, writeArchive } from '../support/base-images.ts';
import { busyboxRoot, whyNoRoot } from '../support/roots.ts';
import { eventually, fastTemp } from '../support/sandboxed.ts';

const why = whyNoRoot('busybox');

describe.skipIf(why)(`slipway run${why ? ` (${why})` : ''}`, { timeout: 60_000 }, () => {
  const folder = mkdtempSync(join(fastTemp(), 'slipway-run-test-'));
  const root = join(folder, 'home');

  const slipway = async (
    args: readonly string[],
    more: { stdin?: Readable; env?: Record<string, string>; signal?: AbortSignal } = {},
  ) => {
    const [stdout, stderr] = [new PassThrough(), new PassThrough()];
    const texts = Promise.all([stdout, stderr].map(async (stream) => Buffer.concat(await stream.toArray()).toString()));
    const code = await runCli(args, {
      stdin: more.stdin ?? Readable.from([]),
      stdout,
      stderr,
      env: { PATH: process.env.PATH, SLIPWAY_HOME: root, ...more.env },
      cwd: folder,
      signal: more.signal ?? new AbortController().signal,
      now: Date.now,
    });
    stdout.end();
    stderr.end();
    const [out = '', err = ''] = await texts;
    return { code, out, err };
  };
  const image = 'localhost/app:latest';

  beforeAll(async () => {
    const archive = join(folder, 'app.tar');
    const layer = join(folder, 'layer.tar');
    await busyboxImage();
    await layerOf(await busyboxRoot(), layer);
    const config = {
      Env: ['PATH=/bin', 'GREETING=hello'],
      Entrypoint: ['echo'],
      Cmd: ['from', 'cmd'],
      WorkingDir: '/srv/app',
      User: 'app',
    };
    await writeArchive({ reference: image, layers: [layer], config }, archive);
    await using home = await openHome({ env: { SLIPWAY_HOME: root }, now: Date.now });
    await loadArchive(home.parts, createReadStream(archive));
  }, 120_000);
  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  test.each([
    ['ENTRYPOINT and CMD', [], 'from cmd\n'],
    ['words replace CMD', ['a', '-n', 'b'], 'a -n b\n'],
  ])('%s', async (_, words, out) => {
    expect(await slipway(['run', image, ...words])).toEqual({ code: 0, out, err: '' });
  });

  const sh = (script: string, flags: readonly string[] = [], more = {}) =>
    slipway(['run', ...flags, '--entrypoint', 'sh', image, '-c', script], more);

  test("the image's user, directory and environment, or what is asked for", async () => {
    expect((await sh('id -u; id -g; pwd; echo $GREETING $HOME $HOSTNAME')).out).toBe(
      '1000\n1000\n/srv/app\nhello /home/app slipway\n',
    );
    writeFileSync(join(folder, 'vars'), '# comment\nGREETING=file\nMINE\n');
    const flags = ['-u', '0:50', '-w', '/tmp', '--env-file', 'vars', '-e', 'X=1', '-h', 'box', '--add-host', 'db:10.1.2.3'];
    const result = await sh('id -u; id -g; pwd; echo $GREETING $MINE $X; hostname; grep -c 10.1.2.3 /etc/hosts', flags, {
      env: { MINE: 'mine' },
    });
    expect(result.out).toBe('0\n50\n/tmp\nfile mine 1\nbox\n1\n');
  });

  test('a user other than root reads the same under a umask that keeps others out', async () => {
    const before = process.umask(0o077);
    try {
      const { code, out } = await sh('stat -c %a / /dev /etc/hosts /etc/resolv.conf; cat /etc/hosts >/dev/null; echo >/dev/null');
      expect([code, out]).toEqual([0, '755\n755\n644\n644\n']);
    } finally {
      process.umask(before);
    }
  });

  test('exit codes: its own, 125, 126, 127', async () => {
    expect((await sh('exit 42')).code).toBe(42);
    expect(await slipway(['run', '--entrypoint', 'nosuch', image])).toMatchObject({
      code: 127,
      err: expect.stringContaining('"nosuch": executable file not found'),
    });
    expect(await slipway(['run', '--entrypoint', '/etc/passwd', image])).toMatchObject({
      code: 126,
      err: expect.stringContaining('permission denied'),
    });
    expect(await slipway(['run', '-u', 'ann', image])).toMatchObject({
      code: 125,
      err: expect.stringContaining('unable to find user ann'),
    });
    expect(await slipway(['run', '--entrypoint', '', image])).toMatchObject({
      code: 125,
      err: expect.stringContaining('no command specified'),
    });
    expect(await slipway(['run', '--pull', 'never', 'nosuch'])).toMatchObject({
      code: 125,
      err: expect.stringContaining('No such image: nosuch:latest'),
    });
  });

  test.each([
    [['-d'], '--detach', 'background'],
    [['-p', '80:80'], '--publish', 'reached directly'],
    [['--name', 'x'], '--name', 'gone'],
    [['--privileged'], '--privileged', 'capabilities'],
    [['--network', 'bridge'], 'network bridge', 'host (the default'],
    [['-v', 'data:/data'], 'no named volumes', './data'],
    [['-t'], 'not a terminal', '-i alone'],
  ])('%s is refused by name, with what to do instead', async (flags, named, instead) => {
    const { code, err } = await slipway(['run', ...flags, image]);
    expect(code).toBe(125);
    expect(err).toContain(named);
    expect(err).toContain(instead);
  });

  test('standard input with -i, and not without', async () => {
    const stdin = () => Readable.from([Buffer.from('one\ntwo\n')]);
    expect((await slipway(['run', '-i', '--entrypoint', 'cat', image], { stdin: stdin() })).out).toBe('one\ntwo\n');
    expect((await slipway(['run', '--entrypoint', 'cat', image], { stdin: stdin() })).out).toBe('');
  });

  test('-v and --tmpfs', async () => {
    mkdirSync(join(folder, 'shared'), { recursive: true });
    writeFileSync(join(folder, 'shared/in'), 'in');
    const flags = [
      '-u',
      '0',
      '-v',
      './shared:/data',
      '-v',
      `${folder}/shared:/ro:ro`,
      '-v',
      './made:/made',
      '--tmpfs',
      '/mem:size=1m',
    ];
    const { out, err } = await sh(
      'cat /data/in; echo out >/data/out; touch /ro/x; touch /mem/x /made/x && df -h /mem | tail -1',
      flags,
    );
    expect(out).toMatch(/^in\w+\s+1\.0M/);
    expect(err).toContain('Read-only file system');
    expect(readFileSync(join(folder, 'shared/out'), 'utf8')).toBe('out\n');
    expect(existsSync(join(folder, 'made/x'))).toBe(true);
  });

  test('what it writes is gone, and nothing stays in the home', async () => {
    expect((await sh('echo x >/tmp/kept; cat /tmp/kept')).out).toBe('x\n');
    expect((await sh('cat /tmp/kept')).code).toBe(1);
    expect(readdirSync(join(root, 'run'))).toEqual([]);
  });

  test('--network none', async () => {
    expect((await sh('ip -o link | grep -c "[<,]UP"', ['--network', 'none'])).out).toBe('1\n');
  });

  test('a signal goes to the command, which ends as it likes', async () => {
    const stop = new AbortController();
    const mark = join(folder, 'shared-ready');
    mkdirSync(mark, { recursive: true });
    const running = sh(
      `trap 'echo caught; exit 3' INT; touch /m/ready; while :; do sleep 0.05; done`,
      ['-u', '0', '-v', `${mark}:/m`],
      { signal: stop.signal },
    );
    await eventually(() => existsSync(join(mark, 'ready')), 'the command runs');
    stop.abort('SIGINT');
    expect(await running).toMatchObject({ code: 3, out: 'caught\n' });
  });

  test('rm frees what was unpacked, but not under a command that runs', async () => {
    // A home of its own: the others' image is not to go.
    const own = join(folder, 'emptied');
    const env = { SLIPWAY_HOME: own };
    await using home = await openHome({ env, now: Date.now });
    await loadArchive(home.parts, createReadStream(join(folder, 'app.tar')));
    const folders = () => readdirSync(join(own, 'unpacked')).filter((name) => !name.startsWith('using-'));
    const input = new PassThrough();
    const running = sh('read -r line; cat /etc/passwd', ['-i'], { stdin: input, env });
    const begun = () => existsSync(join(own, 'unpacked')) && folders().length > 0 && readdirSync(join(own, 'run')).length > 0;
    await eventually(begun, 'the command runs');
    expect((await slipway(['rm', image], { env })).out).toMatch(/^Untagged: .*\nDeleted: sha256:/);
    expect(folders()).toHaveLength(1);
    input.end('go\n');
    expect(await running).toMatchObject({ code: 0, out: expect.stringContaining('app:x:1000') });
    // While the command ran, rm took its layers for ones that somebody needs.
    await pruneHome(home);
    expect(folders()).toEqual([]);
  });
});
