// Freeing space, through the whole command line and a real home.
import { spawn } from 'node:child_process';
import { mkdir, readdir, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ownedName } from '../../local/leftovers.ts';
import { startOf } from '../../shared/store/upload-lock.ts';
import { type CliOptions, cli } from '../support/cli.ts';
import { type TempFolder, tempFolder } from '../support/temp.ts';

let folder: TempFolder;
let home: string;
const run = (argv: readonly string[], options: Partial<CliOptions> = {}) => cli(argv, { home, cwd: folder.path, ...options });
const must = async (...argv: string[]): Promise<string> => {
  const { code, out, err } = await run(argv);
  expect(`${code} ${err}`.trim()).toBe('0');
  return out;
};
/** Bytes of all blobs on the disk. */
async function blobBytes(): Promise<number> {
  const files = await readdir(join(home, 'blobs/sha256'));
  return (await Promise.all(files.map((file) => stat(join(home, 'blobs/sha256', file))))).reduce(
    (sum, { size }) => sum + size,
    0,
  );
}

async function build(tag: string, text: string): Promise<void> {
  await writeFile(join(folder.path, 'ctx/Dockerfile'), text);
  const { code, err } = await run(['build', '-q', ...(tag === '' ? [] : ['-t', tag]), 'ctx']);
  expect(code, err).toBe(0);
}

beforeEach(async () => {
  folder = await tempFolder();
  home = join(folder.path, 'home');
  await mkdir(join(folder.path, 'ctx'));
  for (const name of ['one', 'two', 'three']) await writeFile(join(folder.path, 'ctx', name), name.repeat(1000));
});
afterEach(() => folder[Symbol.asyncDispose]());

describe('image prune', () => {
  it('removes images without a name, once it is told yes, and says what was freed', async () => {
    await build('app', 'FROM scratch\nCOPY one /\n');
    await build('app', 'FROM scratch\nCOPY two /\n');
    const before = await blobBytes();
    for (const stdin of ['n\n', '', 'sure\n']) {
      const no = await run(['image', 'prune'], { stdin });
      expect(no).toMatchObject({ code: 0, err: '' });
      expect(no.out).toBe('WARNING! This will remove all dangling images.\n\nAre you sure you want to continue? [y/N] ');
    }
    expect(await blobBytes()).toBe(before);
    const { code, out } = await run(['image', 'prune'], { stdin: 'y\n' });
    expect(code).toBe(0);
    expect(out).toMatch(/\[y\/N\] Deleted Images:\ndeleted: sha256:[0-9a-f]{64}\n\nTotal reclaimed space: [\d.]+k?B\n$/);
    expect(await blobBytes()).toBeLessThan(before);
    expect(await must('image', 'prune', '-f')).toBe('Total reclaimed space: 0B\n');
    expect((await must('images', '-q')).trim().split('\n')).toHaveLength(1);
  });

  it('keeps to its filters, and refuses those of other commands', async () => {
    await build('', 'FROM scratch\nLABEL stage=test\nCOPY one /\n');
    await build('', 'FROM scratch\nLABEL stage=release\nCOPY two /\n');
    expect(await must('image', 'prune', '-f', '--filter', 'until=1h')).toBe('Total reclaimed space: 0B\n');
    expect(await must('image', 'prune', '-f', '--filter', 'label!=stage=test')).toContain('deleted: ');
    expect(await must('images', '-q', '--filter', 'label=stage=test')).not.toBe('');
    expect(await must('images', '-q', '--filter', 'label=stage=release')).toBe('');
    const wrong = await run(['image', 'prune', '-f', '--filter', 'dangling=false']);
    expect(wrong).toMatchObject({ code: 1, out: '' });
    expect(wrong.err).toContain("invalid filter 'dangling=false'");
  });

  it('removes every image with --all', async () => {
    await build('app:1', 'FROM scratch\nCOPY one /\n');
    const { out } = await run(['image', 'prune', '-a'], { stdin: 'yes' });
    expect(out).toContain('This will remove all images.');
    expect(out).toContain('untagged: app:1\ndeleted: sha256:');
    expect(await must('images', '-q')).toBe('');
  });
});

describe('system prune', () => {
  const stages = 'FROM scratch AS other\nCOPY two /\nCOPY three /\nFROM scratch\nCOPY --from=other /two /\n';

  it('leaves what images need and nothing else, and the next build makes the same image', async () => {
    await build('app', stages);
    const id = await must('images', '-q', '--no-trunc', 'app');
    const before = await blobBytes();
    const asked = await run(['system', 'prune'], { stdin: 'n' });
    expect(asked.out).toContain('  - all dangling images\n  - everything that is in no image');
    const said = await must('system', 'prune', '-f');
    expect(said).toMatch(/^Deleted \d+ unused blobs\n\nTotal reclaimed space: [\d.]+(k|M)?B\n$/);
    const after = await blobBytes();
    expect(after).toBeLessThan(before);
    expect(await must('system', 'prune', '-f')).toBe('Total reclaimed space: 0B\n');
    expect(await must('save', '-o', 'app.tar', 'app')).toBe('');
    await build('app', stages);
    expect(await must('images', '-q', '--no-trunc', 'app')).toBe(id);
    expect(await blobBytes()).toBe(before);
  });

  it('empties the home with --all', async () => {
    await build('app', stages);
    await must('system', 'prune', '-af');
    expect(await blobBytes()).toBe(0);
  });

  it.skipIf(process.platform !== 'linux')('leaves what another process may be about to use, and says so', async () => {
    await build('app', stages);
    const before = await blobBytes();
    const other = spawn('sleep', ['600']);
    try {
      const [boot, namespace] = ownedName('x').split('.');
      const name = `${boot}.${namespace}.${other.pid}.${startOf(other.pid!)}.active1.command`;
      await mkdir(join(home, 'run'), { recursive: true });
      await writeFile(join(home, 'run', name), '');
      const { code, out, err } = await run(['system', 'prune', '-f']);
      expect(code).toBe(0);
      expect(out).toBe('Total reclaimed space: 0B\n');
      expect(err).toMatch(/more is unused, and stays: another slipway process or build is at work/);
      expect(await blobBytes()).toBe(before);
      // Its name goes at once; what it is made of may be what the other is just building with.
      expect(await must('rm', 'app')).toMatch(/^Untagged: app:latest\nDeleted: /);
      expect(await blobBytes()).toBe(before);
    } finally {
      const ended = new Promise((resolve) => other.once('exit', resolve));
      other.kill();
      await ended;
    }
    expect(await must('system', 'prune', '-f')).toContain('Deleted ');
    expect(await blobBytes()).toBe(0);
  });

  it('is about this machine', async () => {
    const { code, err } = await run(['system', 'prune', '-f'], { env: { SLIPWAY_ENDPOINT: 'http://127.0.0.1:9' } });
    expect(code).not.toBe(0);
    expect(err).toContain('works on this machine');
  });

  it('leaves no trace of itself among those who work in the home', async () => {
    await must('images');
    expect((await readdir(join(home, 'run'))).filter((name) => name.includes('active'))).toEqual([]);
  });
});
