import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { whyNoStart } from '../../shared/container/start-check.ts';
import type { Entry } from '../../shared/layer/entry.ts';
import { MergedTree } from '../../shared/layer/merged.ts';
import { TocBuilder } from '../../shared/layer/toc-builder.ts';
import { TableToc } from '../../shared/layer/toc-table.ts';
import { sha256 } from '../../shared/oci/digest.ts';
import type { SandboxMount } from '../../shared/sandbox/sandbox.ts';
import { comparePaths } from '../../shared/tar/name.ts';

const elf = (machine: number): Buffer => {
  const head = Buffer.alloc(64);
  head.write('\x7fELF', 'latin1');
  head.writeUInt16LE(machine, 18);
  return head;
};

const files: Readonly<Record<string, string | Buffer>> = {
  'bin/sh': elf(62),
  'bin/arm': elf(183),
  'bin/odd': elf(9999),
  'bin/text': 'echo no first line\n',
  'bin/empty': '',
  'bin/script': '#! /bin/sh -e\n',
  'bin/windows': '#!/bin/sh\r\necho x\r\n',
  'bin/lost': '#!/usr/bin/nosuch\n',
  'bin/inside-dev': '#!/dev/fd/3\n',
  'opt/bin/sh': 'an executable text before the shell in PATH',
  'opt/readable': 'not executable',
};

describe('a command', () => {
  let lower: string;
  let tree: MergedTree;
  beforeEach(() => {
    lower = mkdtempSync(join(tmpdir(), 'start-'));
    const builder = new TocBuilder();
    const entries: Entry[] = [{ path: 'loop', type: 'symlink', mode: 0o777, uid: 0, gid: 0, size: 0, mtime: 0, link: 'loop' }];
    entries.push({ ...entries[0]!, path: 'usr', link: '.' });
    for (const [path, content] of Object.entries(files)) {
      mkdirSync(dirname(join(lower, path)), { recursive: true });
      writeFileSync(join(lower, path), content);
      const mode = path === 'opt/readable' ? 0o644 : 0o755;
      entries.push({ path, type: 'file', mode, uid: 0, gid: 0, size: content.length, mtime: 0, digest: sha256(content) });
    }
    for (const entry of entries.sort((a, b) => comparePaths(a.path, b.path))) builder.add(entry);
    tree = new MergedTree([new TableToc(builder.finish(sha256('')))]);
  });
  afterEach(() => rmSync(lower, { recursive: true }));

  interface More {
    readonly path?: string;
    readonly cwd?: string;
    readonly mounts?: readonly SandboxMount[];
    readonly otherFormats?: boolean;
  }
  const why = (command: string, { path = '/loop:/nowhere:/usr/bin', cwd = '/', mounts = [], otherFormats = false }: More = {}) =>
    whyNoStart(
      { args: [command, 'argument'], env: ['A=1', `PATH=${path}`], cwd, mounts },
      { tree, lowers: [lower], arch: 'x64', otherFormats: () => otherFormats },
    );

  it.each(['sh', '/bin/sh', '/usr/bin/sh', 'odd', 'script', 'inside-dev', 'nosuch', '/nosuch', '/opt/readable', ''])(
    'is left to the kernel: %j',
    (command) => expect(why(command)).toBeUndefined(),
  );

  it.each(['text', '/bin/text', 'empty', './text'])('that is no program and no script: %s', (command) => {
    expect(why(command, { cwd: '/bin' })).toEqual({
      exitCode: 126,
      notStarted: `exec: "${command}": exec format error`,
      hint: `It is no program and has no first line such as #!/bin/sh: add one, or start it as ["sh", "${command}"].`,
    });
  });

  it('of another machine', () => {
    expect(why('arm')).toEqual({
      exitCode: 126,
      notStarted: 'exec: "arm": exec format error',
      hint: 'It is a program for arm64, and this machine runs amd64 and 386.',
    });
    expect(why('arm', { otherFormats: true })).toBeUndefined();
    expect(why('text', { otherFormats: true })).toBeUndefined();
  });

  it('whose interpreter is not there', () => {
    expect(why('lost', { otherFormats: true })).toEqual({
      exitCode: 127,
      notStarted: 'exec: "lost": no such file or directory',
      hint: 'The script asks for the interpreter /usr/bin/nosuch, which the image does not have.',
    });
    expect(why('windows')?.hint).toMatch(/^The lines of the script end with CR LF/);
  });

  it('is the first executable one in PATH', () => {
    expect(why('sh', { path: '/opt/bin:/bin' })?.exitCode).toBe(126);
    expect(why('readable', { path: '/opt' })).toBeUndefined();
    expect(why('text', { path: ':/nowhere', cwd: '/bin' })?.exitCode).toBe(126);
  });

  it('may come from a mount', () => {
    const mount = (target: string): SandboxMount => ({ kind: 'bind', source: '/', target, readonly: true });
    expect(why('text', { mounts: [mount('/bin')] })).toBeUndefined();
    expect(why('text', { mounts: [mount('/bin/text/')] })).toBeUndefined();
    expect(why('lost', { mounts: [mount('/bin/nosuch')] })).toBeUndefined();
    expect(why('text', { mounts: [mount('/bin/te')] })?.exitCode).toBe(126);
  });
});
