import { execFileSync } from 'node:child_process';
import {
  existsSync,
  linkSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { encodedOf, sha256 } from '../../shared/oci/digest.ts';
import { DiskBlobs } from '../../shared/store/disk-blobs.ts';
import { MiB } from './blobs-fixture.ts';
import { blobsSuite } from './blobs-suite.ts';
import { blobFolder, diskUnderTest } from './disk-under-test.ts';
import { fadingSuite } from './fading-suite.ts';
import { memorySuite } from './memory-suite.ts';
import { pattern } from './pattern.ts';
import { failure } from './table-suite.ts';
import { uploadsSuite } from './uploads-suite.ts';

const fresh = blobFolder;
const interrupted = 24 * MiB;

blobsSuite('DiskBlobs', diskUnderTest, { interrupted });
uploadsSuite('DiskBlobs', diskUnderTest, { interrupted });
// As large as shows it. The 2 GiB of the promise are moved in test/e2e/large-blobs.test.ts.
memorySuite('DiskBlobs', diskUnderTest, { large: 320 * MiB, medium: 320 * MiB });
fadingSuite('DiskBlobs', diskUnderTest);

describe('DiskBlobs tree', () => {
  let root: string;
  beforeEach(() => {
    root = fresh();
  });
  afterEach(() => rmSync(root, { recursive: true }));

  async function* of(...texts: readonly string[]): AsyncGenerator<Uint8Array> {
    for (const text of texts) yield Buffer.from(text);
  }

  test('is an OCI image layout whose blobs are plain files', async () => {
    const blobs = await DiskBlobs.open(join(root, 'deep', 'home'));
    const { digest } = await blobs.put(of('hello'));
    expect(JSON.parse(readFileSync(join(root, 'deep/home/oci-layout'), 'utf8'))).toEqual({ imageLayoutVersion: '1.0.0' });
    const file = join(root, 'deep/home/blobs/sha256', encodedOf(digest));
    expect(readFileSync(file, 'utf8')).toBe('hello');
    expect(blobs.local.path(digest)).toBe(file);
    expect(blobs.local.path(sha256('other'))).toBeUndefined();
    expect(() => blobs.local.path('sha256:../../../etc/passwd')).toThrow(expect.objectContaining({ code: 'INVALID_DIGEST' }));
  });

  test('that was made by halves is completed', async () => {
    mkdirSync(join(root, 'blobs/sha256'), { recursive: true });
    const blobs = await DiskBlobs.open(root);
    await blobs.put(of('hello'));
    expect(await blobs.list({ limit: 2 })).toHaveLength(1);
  });

  test('lets open readers keep the bytes of a deleted blob', async () => {
    const blobs = await DiskBlobs.open(root);
    const { digest } = await blobs.put(pattern(1, 0, 5 * MiB));
    const { body } = (await blobs.open(digest))!;
    const reader = body.getReader();
    let size = (await reader.read()).value!.length;
    expect(await blobs.delete(digest)).toBe(true);
    for (let { value } = await reader.read(); value !== undefined; { value } = await reader.read()) size += value.length;
    expect(size).toBe(5 * MiB);
  });

  test('adopts a staged file by renaming it', async () => {
    const blobs = await DiskBlobs.open(root);
    const file = blobs.stage();
    writeFileSync(file, 'hello');
    const stat = { digest: sha256('hello'), size: 5 };
    expect(await blobs.adopt(file, stat)).toEqual(stat);
    expect(readFileSync(blobs.local.path(stat.digest)!, 'utf8')).toBe('hello');
    const again = blobs.stage();
    expect(again).not.toBe(file);
    writeFileSync(again, 'hello');
    await blobs.adopt(again, stat);
    const short = blobs.stage();
    writeFileSync(short, 'hell');
    expect((await failure(blobs.adopt(short, { digest: sha256('else'), size: 5 }))).code).toBe('SIZE_MISMATCH');
    expect([file, again, short].filter((one) => existsSync(one))).toEqual([]);
    expect(await blobs.list({ limit: 5 })).toEqual([stat]);
  });

  test('brings back what a drop that died had moved aside, if somebody asked for it', async () => {
    const blobs = await DiskBlobs.open(root);
    const { digest } = await blobs.put(of('hello'));
    const file = blobs.local.path(digest)!;
    const limbo = join(root, 'uploads', `drop-${encodedOf(digest)}`);
    const ask: (() => Promise<unknown>)[] = [
      () => blobs.stat(digest),
      () => blobs.open(digest).then((found) => found?.body.cancel()),
      async () => blobs.local.path(digest),
      () => blobs.fading.sweep({ before: 0 }),
    ];
    for (const question of ask) {
      renameSync(file, limbo);
      await question();
      expect(readFileSync(file, 'utf8')).toBe('hello');
      await blobs.fading.sweep({ before: 0 });
      expect(existsSync(limbo)).toBe(false);
    }
    // Nobody asked, and it still has its mark: the drop is ended.
    await blobs.fading.fade(digest, 5000);
    renameSync(file, limbo);
    expect(await blobs.fading.sweep({ before: 0 })).toEqual({ deleted: 1, bytes: 5 });
    expect(await blobs.stat(digest)).toBeUndefined();
    // A name left over from a drop that was undone does not stand in the way of the next.
    await blobs.put(of('hello'));
    const since = (await blobs.fading.fade(digest, 5000))!;
    linkSync(file, limbo);
    expect(await blobs.fading.drop(digest, since)).toBe(true);
    expect(await blobs.stat(digest)).toBeUndefined();
  });

  test('is rid of what dead processes left, and of nothing else', async () => {
    const uploads = join(root, 'uploads');
    const first = await DiskBlobs.open(root);
    const old = await first.begin();
    const young = await first.begin();
    const active = await first.begin();
    const days = (count: number): number => Date.now() / 1000 - count * 24 * 3600;
    for (const id of [old.id, active.id]) utimesSync(join(uploads, `${id}.json`), days(8), days(8));
    utimesSync(join(uploads, old.id), days(8), days(8));
    for (const [name, age] of [
      ['put-dead', 2],
      ['put-live', 0.5],
      [`${active.id}.lock`, 0],
    ] as const) {
      writeFileSync(join(uploads, name), 'x');
      utimesSync(join(uploads, name), days(age), days(age));
    }
    utimesSync(join(uploads, '.swept'), days(2), days(2));
    await (await DiskBlobs.open(root)).put(of('anything'));
    const left = [young.id, `${young.id}.json`, active.id, `${active.id}.json`, `${active.id}.lock`, 'put-live', '.swept'];
    expect(readdirSync(uploads).sort()).toEqual(left.sort());
  });

  test('takes an upload over from a process that died holding it, and not from one that lives', async () => {
    const blobs = await DiskBlobs.open(root);
    const { id } = await blobs.begin();
    const lock = join(root, 'uploads', `${id}.lock`);
    // A pid that no process can have, and our own with another start: both dead.
    for (const holder of ['999999999 1', `${process.pid} 1`]) {
      writeFileSync(lock, holder);
      await blobs.append(id, (await blobs.upload(id))!.offset, of('x'));
      expect(existsSync(lock)).toBe(false);
    }
    const stat = readFileSync('/proc/1/stat', 'utf8');
    writeFileSync(lock, `1 ${stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19]}`);
    const error = await failure(blobs.append(id, 2, of('x')));
    expect(error.code).toBe('CONFLICT');
    expect(error.details?.offset).toBe(2);
  });
});

const whyNoMount = process.getuid?.() === 0 ? undefined : 'needs root, to mount a small file system';

describe.skipIf(whyNoMount !== undefined && !process.env.CI)(
  `DiskBlobs on a full disk${whyNoMount ? ` (${whyNoMount})` : ''}`,
  () => {
    let root: string;
    beforeEach(() => {
      root = fresh();
      execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=8m', 'slipway-test', root]);
    });
    afterEach(() => {
      execFileSync('umount', [root]);
      rmSync(root, { recursive: true });
    });

    test('put says DISK_FULL and gives back what it took', async () => {
      const blobs = await DiskBlobs.open(root);
      expect((await failure(blobs.put(pattern(1, 0, 20 * MiB)))).code).toBe('DISK_FULL');
      expect(readdirSync(join(root, 'uploads'))).toEqual(['.swept']);
      expect(await blobs.put(pattern(1, 0, 6 * MiB))).toMatchObject({ size: 6 * MiB });
    });

    test('append says DISK_FULL, keeps what fitted, and goes on when there is room', async () => {
      const blobs = await DiskBlobs.open(root);
      const filler = await blobs.put(pattern(2, 0, 5 * MiB));
      const { id } = await blobs.begin();
      expect((await failure(blobs.append(id, 0, pattern(3, 0, 7 * MiB)))).code).toBe('DISK_FULL');
      const { offset } = (await blobs.upload(id))!;
      expect(offset).toBeGreaterThan(MiB);
      await blobs.delete(filler.digest);
      await blobs.append(id, offset, pattern(3, offset, 7 * MiB - offset));
      const chunks: Uint8Array[] = [];
      for await (const chunk of pattern(3, 0, 7 * MiB)) chunks.push(chunk);
      expect(await blobs.finish(id, { digest: sha256(Buffer.concat(chunks)) })).toMatchObject({ size: 7 * MiB });
    });
  },
);
