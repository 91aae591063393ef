// A put whose source fails while a write is still under way.
import { pbkdf2 } from 'node:crypto';
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { expect, it } from 'vitest';
import { DiskBlobs } from '../../shared/store/disk-blobs.ts';

it('closes its file after the write that is under way, whose bytes would else land in the next file opened', async () => {
  const root = mkdtempSync(join(tmpdir(), 'slipway-put-'));
  try {
    const blobs = await DiskBlobs.open(root);
    // Every thread of the pool is busy, so the write waits its turn.
    const busy = Array.from({ length: 4 }, () => promisify(pbkdf2)('a', 'b', 200_000, 64, 'sha512'));
    const source = (async function* () {
      // Small enough to be gathered, and enough of them to be written out before the source fails.
      for (let n = 0; n < 10; n++) yield new Uint8Array(128 * 1024).fill(7);
      throw new Error('the source broke');
    })();
    await expect(blobs.put(source)).rejects.toThrow('the source broke');
    const next = join(root, 'next');
    const fd = openSync(next, 'wx');
    await Promise.all(busy);
    closeSync(fd);
    expect(readFileSync(next)).toHaveLength(0);
  } finally {
    rmSync(root, { recursive: true, force: true });
  }
});
