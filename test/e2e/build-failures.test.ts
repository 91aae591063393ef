// What goes wrong in a build is said in full, with its place and what to do, and leaves nothing half done.
import { symlink } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { busyboxReference } from '../support/base-images.ts';
import { buildLab, complaint, expectNothingLeft, type Lab, whyNoBuilds } from '../support/build-lab.ts';
import { must } from '../support/command.ts';

const why = await whyNoBuilds();
const from = `FROM ${busyboxReference}\n`;

describe.skipIf(why !== undefined && !process.env.CI)(`failing builds${why ? ` (${why})` : ''}`, () => {
  let lab: Lab;
  beforeAll(async () => {
    lab = await buildLab();
    await lab.slipway(['tag', busyboxReference, 'kept:1']);
  });
  afterAll(() => lab?.[Symbol.asyncDispose]());
  afterEach(() => expectNothingLeft(lab.home));

  const excerptOf = (dockerfile: string, line: number): string =>
    [
      `Dockerfile:${line}`,
      '--------------------',
      ...dockerfile
        .split('\n')
        .map((text, index) => ` ${String(index + 1).padStart(3)} | ${index + 1 === line ? '>>>' : '   '} ${text}`)
        .slice(Math.max(0, line - 3), line + 2),
      '--------------------\n',
    ].join('\n');

  /** Fails with exactly this, moves no tag, and says it once. */
  const fails = async (dockerfile: string, line: number | undefined, error: string, args: readonly string[] = []) => {
    const { digest } = await target();
    const result = await lab.build(dockerfile, ['-t', 'kept:1', ...args]);
    expect(complaint(result)).toBe(`${line === undefined ? '' : excerptOf(dockerfile, line)}Error: ${error}\n`);
    expect(result).toMatchObject({ exitCode: 1, stdout: '' });
    expect((await target()).digest).toBe(digest);
    return result;
  };
  const target = async () => ({ digest: (await lab.slipway(['inspect', '-f', '{{.Id}}', 'kept:1'])).stdout.trim() });

  test('a failing RUN: exit code, step, line, and what it said', async () => {
    const { stderr } = await fails(
      `${from}RUN echo one; echo two >&2; exit 3\nRUN touch /never`,
      2,
      'process "/bin/sh -c echo one; echo two >&2; exit 3" did not complete successfully: exit code: 3',
    );
    expect(stderr).toContain('------\n > [2/3] RUN echo one; echo two >&2; exit 3:\none\ntwo\n------\n');
    expect(stderr).toContain('ERROR: process "/bin/sh -c echo one');
  });

  test('a command that is not there', () =>
    fails(
      `${from}\n\nRUN ["nosuch", "x"]`,
      4,
      'process "nosuch x" could not be started: exec: "nosuch": executable file not found in $PATH',
    ));

  test('a working directory that has become something else', () =>
    fails(
      `${from}WORKDIR /w/sub\nRUN cd / && rm -rf /w && ln -s /bin/sh /w\nRUN true`,
      4,
      'cannot run in the working directory /w/sub: /bin/busybox is not a directory\n  Name another one with WORKDIR, or do not replace it before.',
    ));

  // What is mounted cannot be changed by a RUN: such roots are made elsewhere and copied.
  test.each([
    ['touch w && ln -s /w etc', '/w is a file in the root filesystem, it must be a directory'],
    ['mkdir -p etc/hosts', '/etc/hosts is a directory in the root filesystem, it must be a file'],
    ['ln -s /w sys', '/sys is a symbolic link in the root filesystem, it must be a directory'],
  ])('an image in which nothing can run: %s', async (command, why) => {
    await fails(
      `${from.trim()} AS other\nRUN mkdir /made && cd /made && ${command}\nFROM scratch\nCOPY --from=other /made /\nRUN true`,
      5,
      `cannot set up the command's surroundings: ${why}\n  The base image or an earlier step left it so.`,
    );
  });

  test('an unknown instruction', () =>
    fails(`${from}BOGUS x`, 2, 'dockerfile parse error on line 2: unknown instruction: BOGUS'));

  test('COPY of what is not there', () =>
    fails(
      `${from}COPY missing /`,
      2,
      'failed to compute cache key: failed to calculate checksum of "missing": "/missing": not found\n  Paths are relative to the root of the context (with --from: to the root of that stage or image).',
    ));

  test('COPY of what is ignored', async () => {
    const context = await lab.context('ignored', {
      Dockerfile: `${from}COPY sub/a.txt /`,
      'sub/a.txt': 'a',
      '.dockerignore': '# none\nsub\n',
    });
    const result = await lab.slipway(['build', context]);
    expect(complaint(result)).toContain('"/sub/a.txt": not found\n  It is excluded by .dockerignore:2 (sub).\n');
  });

  test('a mistake in the ignore file shows its line', async () => {
    const context = await lab.context('ignore-mistake', {
      Dockerfile: `${from}COPY . /`,
      '.dockerignore': '# fine\n[a\nsub\n',
    });
    const result = await lab.slipway(['build', context]);
    expect(result.stderr).toContain(
      '\n.dockerignore:2\n--------------------\n   1 |     # fine\n   2 | >>> [a\n   3 |     sub\n',
    );
  });

  test('no Dockerfile, no context, a context that is a file', async () => {
    const empty = await lab.context('empty', { file: 'x' });
    const said = async (...args: string[]) => {
      const { exitCode, stderr } = await lab.slipway(['build', ...args]);
      expect(exitCode).toBe(1);
      return stderr;
    };
    expect(await said(empty)).toBe(
      `Error: failed to read dockerfile: open Dockerfile: no such file or directory\n  there is no Dockerfile in ${empty}; name another with -f\n`,
    );
    expect(await said('-f', 'Other', empty)).toContain(
      'open Other: no such file or directory\n  -f is relative to the current folder',
    );
    expect(await said('nosuch')).toBe('Error: unable to prepare context: path "nosuch" not found\n');
    expect(await said(join(empty, 'file'))).toContain('is not a directory');
  });

  test('a base that is not here, and no registry answers', async () => {
    const { stderr } = await fails(
      '# comment\nFROM localhost:1/nosuch',
      2,
      'localhost:1/nosuch: failed to resolve source metadata: cannot reach localhost:1: connection refused\n  There is none in the home either: check the name, or bring it in with slipway pull, load or import.',
    );
    expect(stderr).toContain('[internal] load metadata for localhost:1/nosuch:latest\n');
  });

  test.each([
    ['-t UPPER', ['-t', 'UPPER'], /invalid/i],
    ['--target', ['--target', 'nosuch'], /target stage "nosuch" could not be found/],
    ['--platform', ['--platform', 'a/b/c/d'], /platform/],
    ['--network', ['--network', 'odd'], /network "odd" is not supported/],
    ['--secret', ['--secret', 'id=x'], /--secret: /],
    ['--progress', ['--progress', 'odd'], /invalid progress "odd"/],
  ])('%s is told before any work', async (_, args, message) => {
    const { exitCode, stderr } = await lab.build(`${from}RUN echo worked > /x`, args);
    expect(exitCode).toBe(1);
    expect(stderr).toMatch(message);
    expect(stderr).not.toContain('[2/2]');
  });

  test('archives that reach out of their destination', async () => {
    const context = await lab.context('traversal', { 'evil.txt': 'evil', 'inner/x': 'x' });
    await must([
      'tar',
      '-C',
      context,
      '--transform',
      's,^evil.txt,../../evil.txt,',
      '-P',
      '-cf',
      join(context, 'up.tar'),
      'evil.txt',
    ]);
    await symlink('/etc', join(context, 'inner/link'));
    await must(['tar', '-C', join(context, 'inner'), '-cf', join(context, 'link.tar'), 'link']);
    await must([
      ...['tar', '-C', context, '--transform', 's,^evil.txt,link/evil.txt,', '-rf', join(context, 'link.tar'), 'evil.txt'],
    ]);
    const up = await lab.slipway(['build', '-f-', context], { input: `${from}ADD up.tar /a/b/` });
    expect(up.exitCode).toBe(1);
    expect(complaint(up)).toMatch(/up\.tar.*\.\.\/\.\.\/evil\.txt/);
    // Through a link of its own an archive may write inside the image only.
    const link = await lab.slipway(['build', '-t', 'link', '-f-', context], { input: `${from}ADD link.tar /a/` });
    if (link.exitCode === 0) expect((await lab.slipway(['run', '--rm', 'link', 'ls', '/a'])).stdout).toContain('link');
    expect((await must(['sh', '-c', 'ls /etc/evil.txt 2>&1 || :'])).stdout).toContain('No such file');
  });

  test('links in the context are copied, never followed out of it', async () => {
    const context = await lab.context('links', { 'in/a': 'a' });
    await symlink('/etc/passwd', join(context, 'absolute'));
    await symlink('../../../../../../etc', join(context, 'up'));
    const direct = await lab.slipway(['build', '-f-', context], { input: `${from}COPY absolute /x` });
    expect(complaint(direct)).toContain('"/absolute": not found');
    const through = await lab.slipway(['build', '-f-', context], { input: `${from}COPY up/passwd /x` });
    expect(complaint(through)).toContain('"/up/passwd": not found');
    await must(
      [
        ...[
          'sh',
          '-c',
          '"$@"',
          'sh',
          join(import.meta.dirname, '../../cli/slipway'),
          'build',
          '-q',
          '-t',
          'links',
          '-f-',
          context,
        ],
      ],
      { input: `${from}COPY . /all/`, env: { SLIPWAY_HOME: lab.home } },
    );
    expect((await lab.slipway(['run', '--rm', 'links', 'readlink', '/all/absolute'])).stdout).toBe('/etc/passwd\n');
  });

  test('a flood of output costs neither memory nor time, and its end is kept', async () => {
    const result = await lab.build(`${from}RUN yes | head -c 200000000; echo the end; exit 2`);
    expect(result.exitCode).toBe(1);
    expect(result.stderr.length).toBeLessThan(150_000_000);
    expect(result.stderr).toMatch(/\[output clipped, log limit 8MiB reached: \d+ bytes left out here\]/);
    expect(result.stderr).toContain('y\nthe end\n------\n');
  });
});
