// Memory does not grow with the bytes that a Blobs driver moves.
import { describe, expect, test } from 'vitest';
import type { BlobStat, UploadState } from '../../shared/store/blobs.ts';
import { type BlobsUnderTest, eachOn } from './blobs-fixture.ts';
import { runChild } from './child-process.ts';
import { patternDigest } from './pattern.ts';

/** Peak resident memory of a process that moves a blob of any size, node itself (50 MB) and an SDK (60 MB) included. */
const memoryLimit = 300 * 1000 * 1000;

export interface Sizes {
  /** Bytes of the blob that is put and read. */
  readonly large: number;
  /** Of the upload, whose hash is slower. Both large enough that holding them would break the limit. */
  readonly medium: number;
}

export function memorySuite(name: string, open: () => Promise<BlobsUnderTest>, { large, medium }: Sizes): void {
  describe(`${name} and memory`, () => {
    const on = eachOn(open);

    test('does not take more memory for more bytes', async () => {
      type Peak = BlobStat & { readonly peak: number };
      const { peak, ...stat } = await runChild<Peak>('put', on.tested.spec, 3, large, {});
      expect(stat.size).toBe(large);
      expect(peak).toBeLessThan(memoryLimit);
      const read = await runChild<Peak>('read', on.tested.spec, stat.digest);
      expect(read).toEqual({ ...stat, peak: expect.any(Number) });
      expect(read.peak).toBeLessThan(memoryLimit);
    }, 180_000);

    test('do not take more memory for more bytes', async () => {
      const { id } = await on.blobs.begin();
      const { peak, offset } = await runChild<UploadState & { peak: number }>('append', on.tested.spec, id, 0, 4, medium);
      expect(offset).toBe(medium);
      expect(peak).toBeLessThan(memoryLimit);
      const digest = await patternDigest(4, medium);
      expect(await on.blobs.finish(id, { digest, size: medium })).toEqual({ digest, size: medium });
    }, 180_000);
  });
}
