// Where a build's inputs come from and where its result goes: standard input, -f, ignore files, arguments, ADD, the flags.
import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { busyboxReference } from '../support/base-images.ts';
import { buildLab, complaint, expectNothingLeft, type Lab, whyNoBuilds } from '../support/build-lab.ts';
import { must } from '../support/command.ts';
import { serveFiles } from '../support/file-server.ts';

const why = await whyNoBuilds();
const from = `FROM ${busyboxReference}\n`;

describe.skipIf(why !== undefined && !process.env.CI)(`inputs of builds${why ? ` (${why})` : ''}`, () => {
  let lab: Lab;
  let context: string;
  beforeAll(async () => {
    lab = await buildLab();
    context = await lab.context('inputs', {
      Dockerfile: `${from}COPY . /all/`,
      'other/Dockerfile.dev': `${from}COPY . /all/\nCMD echo dev`,
      'other/Dockerfile.dev.dockerignore': 'a.txt\n',
      '.dockerignore': 'b.txt\n',
      'a.txt': 'a',
      'b.txt': 'b',
    });
  });
  afterAll(async () => {
    if (lab === undefined) return;
    await expectNothingLeft(lab.home);
    await lab[Symbol.asyncDispose]();
  });

  const ok = async (args: readonly string[], input?: string | Uint8Array, env: Record<string, string> = {}, cwd = lab.path) => {
    const result = await lab.slipway(['build', '-t', 'it', ...args], { env, cwd, ...(input === undefined ? {} : { input }) });
    expect({ exitCode: result.exitCode, end: result.exitCode === 0 ? '' : result.stderr }).toEqual({ exitCode: 0, end: '' });
    return result;
  };
  const sh = async (script: string, ...flags: string[]) => {
    const { stdout, stderr } = await lab.slipway(['run', '--rm', ...flags, 'it', 'sh', '-c', script]);
    expect(stderr).toBe('');
    return stdout;
  };

  test('a lone Dockerfile on standard input', async () => {
    await ok(['-'], `${from}RUN echo alone > /x`);
    expect(await sh('cat /x')).toBe('alone\n');
    const copied = await lab.slipway(['build', '-'], { input: `${from}COPY a.txt /` });
    expect(copied.exitCode).toBe(1);
    expect(complaint(copied)).toContain('"/a.txt": not found');
  });

  test.each([
    ['plain', (tar: Buffer) => tar],
    ['gzip', (tar: Buffer) => gzipSync(tar)],
  ])('a tar on standard input: %s', async (_, pack) => {
    const tar = join(lab.path, 'context.tar');
    await must(['tar', '-C', context, '-cf', tar, '.']);
    await ok(['-'], pack(await readFile(tar)));
    expect(await sh('ls /all')).toBe('Dockerfile\na.txt\nother\n');
    await ok(['-f', 'other/Dockerfile.dev', '-'], pack(await readFile(tar)));
    expect(await sh('ls /all')).toContain('b.txt');
  });

  test('a Dockerfile on standard input, with a context', async () => {
    await ok(['-f', '-', context], `${from}COPY a.txt /a\nRUN cat /a > /x`);
    expect(await sh('cat /x')).toBe('a');
    const bad = await lab.slipway(['build', '-f-', context], { input: `${from}RUN exit 4` });
    expect(complaint(bad)).toMatch(/^Dockerfile:2\n/);
  });

  test('-f is relative to the current folder, and its own ignore file goes before the other', async () => {
    await ok(['-f', 'Dockerfile.dev', '..'], undefined, {}, join(context, 'other'));
    expect(await sh('ls /all')).toContain('b.txt');
    expect(await sh('ls /all')).not.toContain('a.txt');
    await ok([context]);
    expect(await sh('ls /all')).not.toContain('b.txt');
  });

  test('the ignore file of the Dockerfile that is taken without -f', async () => {
    const own = await lab.context('own-ignore', {
      Dockerfile: `${from}COPY . /all/`,
      'Dockerfile.dockerignore': 'a.txt\n',
      '.dockerignore': 'b.txt\n',
      'a.txt': 'a',
      'b.txt': 'b',
    });
    await ok([own]);
    expect(await sh('ls /all')).toBe('Dockerfile\nDockerfile.dockerignore\nb.txt\n');
  });

  test('--build-arg from the environment, --target, several tags, --label, --iidfile, --metadata-file, -q', async () => {
    const iid = join(lab.path, 'iid');
    const facts = join(lab.path, 'facts');
    const dockerfile = `${from}ARG GIVEN\nARG TAKEN=default\nRUN echo "$GIVEN $TAKEN" > /x\n${from}RUN exit 1`.replace(
      from,
      `FROM ${busyboxReference} AS first\n`,
    );
    const args = ['--build-arg', 'GIVEN', '--build-arg', 'TAKEN=told', '--target', 'first', '-t', 'also:2', '--label', 'l=v'];
    const result = await ok([...args, '-q', '--iidfile', iid, '--metadata-file', facts, '-f-', context], dockerfile, {
      GIVEN: 'env',
    });
    expect(result.stderr).toBe('');
    const id = result.stdout.trim();
    expect(id).toMatch(/^sha256:[0-9a-f]{64}$/);
    expect(await readFile(iid, 'utf8')).toBe(id);
    expect(JSON.parse(await readFile(facts, 'utf8'))).toMatchObject({ 'containerimage.digest': id });
    expect(await sh('cat /x')).toBe('env told\n');
    const inspected = await lab.slipway(['inspect', '-f', '{{.Id}} {{.Config.Labels.l}}', 'also:2']);
    expect(inspected.stdout.trim()).toBe(`${id} v`);
  });

  test('--progress', async () => {
    const text = `${from}RUN echo $((6*7)) > /dev/stderr`;
    const raw = await ok(['--progress', 'rawjson', '--no-cache', '-f-', context], text);
    const events = raw.stderr
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as { type: string });
    expect(events.at(-1)?.type).toBe('result');
    expect(events.some((event) => event.type === 'log')).toBe(true);
    expect((await ok(['--progress', 'plain', '--no-cache', '-f-', context], text)).stderr).toMatch(/^#\d+ \d+\.\d{3} 42$/m);
    expect((await ok(['--progress', 'tty', '--no-cache', '-f-', context], text)).stderr).toMatch(/\[\+\] Building .* FINISHED/);
    expect((await ok(['--progress', 'quiet', '--no-cache', '-f-', context], text)).stderr).toBe('');
  });

  test('networks', async () => {
    // Those that are up: some kernels put tunnels into every network.
    const links = `ip -o link | grep '[<,]UP' | cut -d: -f2 | tr -d '\\n'`;
    await ok(['--network', 'none', '-f-', context], `${from}RUN ${links} > /x`);
    expect(await sh('cat /x')).toBe(' lo');
    await ok(['-f-', context], `${from}RUN --network=none ${links} > /x`);
    expect(await sh('cat /x')).toBe(' lo');
  });

  test('here-documents', async () => {
    await ok(
      ['-f-', context],
      `${from}RUN <<EOF
set -e
echo one > /x
echo two >> /x
EOF
RUN <<EOF
#!/bin/awk BEGIN{print"script">"/y"}
EOF
COPY <<one <<two /files/
1
one
2
two
`.replace('#!/bin/awk BEGIN{print"script">"/y"}', '#!/bin/sh\necho "$0" > /y'),
    );
    expect(await sh('cat /x /y /files/one /files/two')).toMatch(/^one\ntwo\n\/dev\/pipes\/EOF\n1\n2\n$/);
  });

  test('USER and WORKDIR', async () => {
    await ok(['-f-', context], `${from}USER app\nWORKDIR /work/deep\nRUN id -un > who; pwd > where; echo $HOME > home`);
    expect(await sh('cat who where home; stat -c "%U" /work /work/deep who; id -un; pwd')).toBe(
      'app\n/work/deep\n/home/app\napp\napp\napp\napp\n/work/deep\n',
    );
  });

  test('ADD of URLs', async () => {
    await using server = await serveFiles({ '/plain.txt': 'plain\n' });
    const digest = createHash('sha256').update('plain\n').digest('hex');
    await ok(
      ['-f-', context],
      `${from}ADD ${server.url}/plain.txt /one/\nADD --checksum=sha256:${digest} ${server.url}/redirect /two\n`,
    );
    expect(await sh('cat /one/plain.txt /two; stat -c %a /two')).toBe('plain\nplain\n600\n');
    const wrong = await lab.slipway(['build', '-f-', context], {
      input: `${from}ADD --checksum=sha256:${'0'.repeat(64)} ${server.url}/plain.txt /`,
    });
    expect(wrong.exitCode).toBe(1);
    expect(complaint(wrong)).toMatch(new RegExp(`^Dockerfile:2\\n[\\s\\S]*Error: .*sha256:${digest}.*sha256:0{64}`));
    const absent = await lab.slipway(['build', '-f-', context], { input: `${from}ADD ${server.url}/absent /` });
    expect(complaint(absent)).toMatch(/^Dockerfile:2\n[\s\S]*Error: failed to load .*\/absent: .*404/);
    const nowhere = await lab.slipway(['build', '-f-', context], { input: `${from}ADD http://127.0.0.1:1/x /` });
    expect(complaint(nowhere)).toMatch(/^Dockerfile:2\n[\s\S]*Error: failed to load http:\/\/127\.0\.0\.1:1\/x/);
  });

  test('ADD of archives, COPY of the same', async () => {
    const packed = await lab.context('packed', { 'in/deep/file': 'x\n' });
    for (const [flag, name] of [
      ['-z', 'a.tgz'],
      ['-J', 'a.tar.xz'],
      ['-j', 'a.tbz'],
      ['--zstd', 'a.tar.zst'],
    ] as const)
      await must(['tar', '-C', join(packed, 'in'), flag, '-cf', join(packed, name), 'deep']);
    await ok(
      ['-f-', packed],
      `${from}ADD a.tgz /gz/\nADD a.tar.xz /xz/\nADD a.tbz /bz/\nADD a.tar.zst /zst/\nCOPY a.tgz /plain/`,
    );
    expect(await sh('cat /*/deep/file | wc -l; ls /plain')).toBe('4\na.tgz\n');
  });

  test('COPY --from of an image that was never unpacked', async () => {
    const name = 'unpacked-nowhere';
    await ok(['-f-', context], `${from}COPY a.txt /only-here`);
    await lab.slipway(['tag', 'it', name]);
    await must(['rm', '-rf', join(lab.home, 'unpacked')]);
    await ok(['-f-', context], `FROM scratch\nCOPY --from=${name} / /`);
    expect(await sh('cat /only-here; ls /bin/busybox')).toBe('a/bin/busybox\n');
  });

  test('the image is complete: history, save', async () => {
    await ok(['-f-', context], `${from}RUN echo x > /x\nENV a=b\nCOPY a.txt /`);
    const { stdout } = await lab.slipway(['history', '--no-trunc', '--format', '{{.CreatedBy}}', 'it']);
    expect(stdout.split('\n').slice(0, 3)).toEqual([
      'COPY a.txt / # buildkit',
      'ENV a=b',
      'RUN /bin/sh -c echo x > /x # buildkit',
    ]);
    const archive = join(lab.path, 'it.tar');
    expect((await lab.slipway(['save', '-o', archive, 'it'])).exitCode).toBe(0);
    expect((await must(['tar', '-tf', archive])).stdout).toContain('manifest.json');
  });
});
