// The image commands through the whole command line, the API and a real home in a temporary folder.
import { execFileSync } from 'node:child_process';
import { lstat, readFile, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { writeTar } from '../../shared/tar/write.ts';
import { type CliOptions, cli } from '../support/cli.ts';
import { type TempFolder, tempFolder } from '../support/temp.ts';

const now = Date.parse('2026-03-01T12:00:00Z');
let work: TempFolder;
let folder: TempFolder;
let home: string;
const run = (argv: readonly string[], options: Partial<CliOptions> = {}) => cli(argv, { home, cwd: work.path, now, ...options });

beforeAll(async () => {
  work = await tempFolder();
  for (const name of ['one', 'two']) {
    const bytes = Buffer.from(`content of ${name}`);
    const entry = { path: name, type: 'file' as const, mode: 0o644, uid: 0, gid: 0, size: bytes.length, mtime: 0 };
    await writeFile(join(work.path, `${name}.tar`), await Array.fromAsync(writeTar([{ entry, body: { kind: 'bytes', bytes } }])));
  }
});
afterAll(() => work[Symbol.asyncDispose]());
beforeEach(async () => {
  folder = await tempFolder();
  home = join(folder.path, 'home');
});
afterEach(() => folder[Symbol.asyncDispose]());

/** Imports an image and answers its ID. */
async function made(name: 'one' | 'two', target: string, ...more: string[]): Promise<string> {
  const { code, out, err } = await run(['import', ...more, `${name}.tar`, ...(target === '' ? [] : [target])]);
  expect(err).toBe('');
  expect(code).toBe(0);
  expect(out).toMatch(/^sha256:[a-f0-9]{64}\n$/);
  return out.trim();
}

describe('images', () => {
  it('prints headings alone when there is nothing', async () => {
    expect(await run(['images'])).toMatchObject({ code: 0, err: '', out: 'REPOSITORY   TAG       IMAGE ID   CREATED   SIZE\n' });
    expect((await run(['images', '-q'])).out).toBe('');
    expect((await run(['images', '--json'])).out).toBe('[]\n');
  });

  it('prints docker’s table, a line for each tag, dangling images too', async () => {
    const one = await made('one', 'app:1.0');
    await run(['tag', 'app:1.0', 'registry.example/team/app']);
    const two = await made('two', '');
    const { out } = await run(['image', 'ls'], { now: now + 3 * 24 * 3600_000 });
    const rows = out.trimEnd().split('\n');
    expect(rows[0]).toMatch(/^REPOSITORY {18}TAG {7}IMAGE ID {7}CREATED {6}SIZE$/);
    expect(
      rows
        .slice(1)
        .map((row) => row.split(/ {2,}/))
        .toSorted(),
    ).toEqual(
      [
        ['<none>', '<none>', two.slice(7, 19), '3 days ago', expect.stringMatching(/^\d+B$/)],
        ['app', '1.0', one.slice(7, 19), '3 days ago', expect.stringMatching(/^\d+B$/)],
        ['registry.example/team/app', 'latest', one.slice(7, 19), '3 days ago', expect.stringMatching(/^\d+B$/)],
      ].toSorted(),
    );
    expect((await run(['images', '-q', '--no-trunc', 'app'])).out).toBe(`${one}\n`);
    expect((await run(['images', 'ap'])).out.split('\n')).toHaveLength(2);
    expect((await run(['images', '--filter', 'dangling=true', '-q'])).out).toBe(`${two.slice(7, 19)}\n`);
    expect((await run(['images', '--format', '{{.Repository}}:{{.Tag}} {{.ID}}', 'app'])).out).toBe(
      `app:1.0 ${one.slice(7, 19)}\n`,
    );
    expect(JSON.parse((await run(['images', '--format', 'json', 'app'])).out)).toMatchObject({ Repository: 'app', Digest: one });
    expect(JSON.parse((await run(['images', '--json', 'app'])).out)).toMatchObject([
      { id: one, names: ['app:1.0'], kind: 'image' },
    ]);
    expect(await run(['images', '--filter', 'colour=red'])).toMatchObject({
      code: 1,
      err: expect.stringContaining("invalid filter 'colour'"),
    });
    expect(await run(['images', '--format', '{{.Nope}}'])).toMatchObject({ code: 1, err: expect.stringContaining('Nope') });
  });
});

describe('tag and rm', () => {
  it('say nothing, and Untagged and Deleted', async () => {
    const one = await made('one', 'app');
    expect(await run(['tag', one.slice(7, 19), 'copy:x'])).toMatchObject({ code: 0, out: '', err: '' });
    expect(await run(['image', 'rm', 'app'])).toMatchObject({ code: 0, out: 'Untagged: app:latest\n', err: '' });
    expect(await run(['rmi', 'copy:x'])).toMatchObject({ code: 0, out: `Untagged: copy:x\nDeleted: ${one}\n`, err: '' });
    expect((await run(['images', '-aq'])).out).toBe('');
  });

  it('take images that are called as a part of the API is', async () => {
    for (const name of ['pull', 'push', 'save', 'tag/history']) {
      await made('one', name);
      expect(await run(['inspect', '-f', '{{.RepoTags}}', name])).toMatchObject({ code: 0, out: `[${name}:latest]\n` });
      expect(await run(['history', '-q', name])).toMatchObject({ code: 0 });
      expect(await run(['tag', name, 'other'])).toMatchObject({ code: 0 });
      expect(await run(['rm', 'other', name])).toMatchObject({ code: 0 });
    }
  });

  it('go on after an error, and fail in the end', async () => {
    const one = await made('one', 'app');
    expect(await run(['rm', 'nope', 'Bad', 'app'])).toMatchObject({
      code: 1,
      out: `Untagged: app:latest\nDeleted: ${one}\n`,
      err: expect.stringMatching(/^Error: No such image: nope:latest\nError: .*must be lowercase/),
    });
    expect(await run(['rm', '-f', 'nope'])).toMatchObject({ code: 0, err: 'Error: No such image: nope:latest\n' });
  });

  it('refuse in docker’s words', async () => {
    const one = await made('one', 'app');
    await run(['tag', 'app', 'other']);
    const id = one.slice(7, 19);
    expect(await run(['rm', id])).toMatchObject({
      code: 1,
      err: `Error: conflict: unable to delete ${id} (must be forced) - image is referenced in multiple repositories\n`,
    });
    expect((await run(['rm', '--force', id])).out.split('\n')).toHaveLength(4);
    expect(await run(['tag', 'nope', 'x'])).toMatchObject({ code: 1, err: 'Error: No such image: nope:latest\n' });
    await made('one', 'app');
    expect(await run(['tag', 'app', 'scratch'])).toMatchObject({ code: 1, err: "Error: 'scratch' is a reserved name\n" });
    expect(await run(['tag', 'app', 'App'])).toMatchObject({
      code: 1,
      err: 'Error: invalid reference format: repository name (library/App) must be lowercase\n',
    });
    expect(await run(['tag', '..', 'x'])).toMatchObject({ code: 1, err: expect.stringContaining('invalid reference format') });
  });
});

describe('save and load', () => {
  it('bring images from one home to another', async () => {
    const one = await made('one', 'app:1');
    const two = await made('two', 'team/two:x');
    expect(await run(['save', '-o', 'all.tar', 'app', 'team/two:x'])).toMatchObject({ code: 0, out: '', err: '' });
    const piped = await run(['save', two]);
    expect(piped.code).toBe(0);
    await run(['rm', 'app:1', 'team/two:x']);
    expect(await run(['load', '--input', 'all.tar'])).toMatchObject({
      code: 0,
      out: 'Loaded image: app:1\nLoaded image: team/two:x\n',
      err: '',
    });
    expect((await run(['inspect', '-f', '{{.Id}}', 'app:1'])).out).toBe(`${one}\n`);
    await run(['rm', 'team/two:x']);
    expect(await run(['load'], { stdin: piped.bytes })).toMatchObject({ code: 0, out: `Loaded image ID: ${two}\n` });
    expect((await run(['load', '-q'], { stdin: piped.bytes })).out).toBe('');
  });

  it('say what is wrong, and leave no half file', async () => {
    await made('one', 'app');
    expect(await run(['save', 'app'], { terminal: true })).toMatchObject({
      code: 1,
      err: 'Error: cowardly refusing to save to a terminal. Use the -o flag or redirect\n',
    });
    expect(await run(['save', '-o', 'no.tar', 'app', 'nope'])).toMatchObject({
      code: 1,
      err: 'Error: No such image: nope:latest\n',
    });
    await expect(readFile(join(work.path, 'no.tar'))).rejects.toThrow('ENOENT');
    expect(await run(['save', '-o', 'no/such/folder.tar', 'app'])).toMatchObject({
      code: 1,
      err: expect.stringContaining('ENOENT'),
    });
    expect(await run(['load', '-i', 'nope.tar'])).toMatchObject({
      code: 1,
      err: 'Error: open nope.tar: no such file or directory\n',
    });
    expect(await run(['load'], { stdin: 'nonsense' })).toMatchObject({ code: 1, err: expect.stringContaining('Error: ') });
    expect(await run(['load', '-i', 'one.tar'])).toMatchObject({ code: 1, err: expect.stringContaining('use slipway import') });
  });

  it('saves through a link and into a pipe, and replaces nothing that is no file', async () => {
    await made('one', 'app');
    const at = (name: string) => join(work.path, name);
    await writeFile(at('real.tar'), 'old');
    await symlink('real.tar', at('link.tar'));
    const whole = (await run(['save', 'app'])).bytes;
    expect(await run(['save', '-o', 'link.tar', 'app'])).toMatchObject({ code: 0, err: '' });
    expect((await lstat(at('link.tar'))).isSymbolicLink()).toBe(true);
    expect((await readFile(at('real.tar'))).equals(whole)).toBe(true);
    execFileSync('mkfifo', [at('pipe')]);
    const [read, saved] = await Promise.all([readFile(at('pipe')), run(['save', '-o', 'pipe', 'app'])]);
    expect(saved).toMatchObject({ code: 0, err: '' });
    expect(read.equals(whole)).toBe(true);
    expect((await lstat(at('pipe'))).isFIFO()).toBe(true);
    expect(await run(['save', '-o', '.', 'app'])).toMatchObject({
      code: 1,
      err: `Error: cannot write ${work.path}: it is a directory\n`,
    });
  });
});

describe('inspect and history', () => {
  it('show the image', async () => {
    const one = await made('one', 'app', '-c', 'ENV A=b', '-m', 'first drop');
    const shown = JSON.parse((await run(['image', 'inspect', 'app'])).out);
    expect(shown).toMatchObject([{ Id: one, RepoTags: ['app:latest'], RepoDigests: [`app@${one}`], Config: { Env: ['A=b'] } }]);
    expect(Object.keys(shown[0].Config)).toEqual(['Env']);
    expect((await run(['inspect', '-f', '{{index .Config.Env 0}}', 'app'])).out).toBe('A=b\n');
    const { out } = await run(['history', 'app'], { now: now + 3600_000 });
    expect(out).toMatch(
      new RegExp(
        `^IMAGE {10}CREATED {13}CREATED BY   SIZE      COMMENT\n${one.slice(7, 19)}   About an hour ago +\\d+B +first drop\n$`,
      ),
    );
    expect((await run(['history', '--human=false', '--no-trunc', '--format', '{{.ID}} {{.CreatedSince}}', 'app'])).out).toBe(
      `${one} 2026-03-01T12:00:00Z\n`,
    );
    expect((await run(['history', '-q', 'app'])).out).toBe(`${one.slice(7, 19)}\n`);
  });

  it('go on after an image that is not there', async () => {
    const one = await made('one', 'app');
    const { code, out, err } = await run(['inspect', 'nope', 'app']);
    expect(code).toBe(1);
    expect(err).toBe('Error: No such image: nope:latest\n');
    expect(JSON.parse(out)).toMatchObject([{ Id: one }]);
    expect(await run(['inspect', 'nope'])).toMatchObject({ code: 1, out: '[]\n' });
    expect(await run(['inspect', '-f', '{{.Nope}}', 'app'])).toMatchObject({
      code: 1,
      err: expect.stringContaining('no entry for key "Nope"'),
    });
    expect(await run(['history', 'nope'])).toMatchObject({ code: 1, err: 'Error: No such image: nope:latest\n' });
  });
});

describe('import', () => {
  it('refuses what it cannot do', async () => {
    expect(await run(['import', 'one.tar', 'scratch'])).toMatchObject({ code: 1, err: "Error: 'scratch' is a reserved name\n" });
    expect(await run(['import', '-c', 'RUN true', 'one.tar'])).toMatchObject({
      code: 1,
      err: expect.stringContaining('RUN is not a valid change command'),
    });
    expect(await run(['import', 'nope.tar'])).toMatchObject({
      code: 1,
      err: 'Error: open nope.tar: no such file or directory\n',
    });
    expect(await run(['import', '-'], { stdin: '' })).toMatchObject({
      code: 1,
      err: expect.stringContaining('the archive is empty'),
    });
    expect(await run(['import', 'http://127.0.0.1:1/x.tar'])).toMatchObject({
      code: 1,
      err: expect.stringContaining('cannot download'),
    });
    expect((await run(['images', '-aq'])).out).toBe('');
  });
});
