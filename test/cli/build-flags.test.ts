// Flags of `slipway build` that docker's users bring along, and the files it leaves.
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { cli } from '../support/cli.ts';
import { type TempFolder, tempFolder } from '../support/temp.ts';

let folder: TempFolder;
const build = (...words: string[]) => cli(['build', '-q', ...words], { home: join(folder.path, 'home'), cwd: folder.path });

beforeAll(async () => {
  folder = await tempFolder();
  writeFileSync(join(folder.path, 'Dockerfile'), 'FROM scratch\nLABEL a=b\n');
  writeFileSync(join(folder.path, 'wrong'), 'FROM scratch\nNOPE\n');
});
afterAll(() => folder[Symbol.asyncDispose]());

describe('flags of docker', () => {
  it.each(['squash', 'check'])('--%s takes no value: it is refused by its name, not for want of a context', async (name) => {
    const { code, err } = await build(`--${name}`, '.');
    expect(code).toBe(1);
    expect(err).toMatch(new RegExp(`^Error: --${name}: `));
    expect((await build(`--${name}=false`, '.')).code).toBe(0);
  });

  it('attestations that are not wanted are not made', async () => {
    expect(await build('--provenance=false', '--sbom', 'false', '.')).toMatchObject({ code: 0, err: '' });
    expect((await build('--provenance=false', '--provenance=true', '.')).err).toMatch(/^Error: --provenance: /);
    expect((await build('--sbom=true', '.')).err).toMatch(/^Error: --sbom: /);
  });
});

it('does not look for a URL among the files', async () => {
  const { code, err } = await build('-f', 'https://example.com/Dockerfile', '.');
  expect(code).toBe(1);
  expect(err).toMatch(/^Error: -f https:\/\/example.com\/Dockerfile: a Dockerfile at a URL is not supported yet\n {2}curl /);
});

it('takes empty values for flags that were not given, and no empty word for a folder', async () => {
  const empty = ['target', 'platform', 'network', 'progress', 'iidfile', 'metadata-file', 'file'].map((name) => `--${name}=`);
  expect((await build(...empty, '.')).code).toBe(0);
  expect((await build('')).err).toBe('Error: unable to prepare context: path "" not found\n');
  expect((await build('--budget=', '.')).err).toContain('invalid budget ""');
});

it.each([['--platform=linux/amd64,linux/arm64'], ['--platform=linux/amd64', '--platform=linux/arm64']])(
  'several platforms are refused by name, not built as the last of them: %s',
  async (...words) => {
    const { code, err } = await build(...words, '.');
    expect(code).toBe(1);
    expect(err).toMatch(/^Error: --platform: a build is for one platform/);
    expect((await build('--platform=linux/arm64,', '--platform=linux/arm64', '.')).code).toBe(0);
  },
);

describe.each(['--iidfile', '--metadata-file'])('%s', (flag) => {
  it('is written, and gone after a build that failed', async () => {
    const { out } = await build(flag, 'result', '.');
    const file = join(folder.path, 'result');
    expect(readFileSync(file, 'utf8')).toContain(out.trim());
    expect((await build(flag, 'result', '-f', 'wrong', '.')).code).toBe(1);
    expect(existsSync(file)).toBe(false);
  });

  it('is told to be impossible before anything is built', async () => {
    const { code, out, err } = await build(flag, 'nowhere/result', '-t', 'built', '.');
    expect({ code, out, err }).toEqual({ code: 1, out: '', err: `Error: cannot write ${folder.path}/nowhere/result: ENOENT\n` });
    expect((await build(flag, '.', '.')).err).toBe(`Error: cannot write ${folder.path}: EISDIR\n`);
    expect((await cli(['images', '-q', 'built'], { home: join(folder.path, 'home') })).out).toBe('');
  });

  it.skipIf(!existsSync('/dev/full'))('says when its disk is full, and not that the home should be elsewhere', async () => {
    expect((await build(flag, '/dev/full', '.')).err).toBe('Error: cannot write /dev/full: ENOSPC\n');
  });
});
