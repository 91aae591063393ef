import { pbkdf2 } from 'node:crypto';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { expect, it } from 'vitest';
import { BlobSink } from '../../shared/layer/blob-sink.ts';
import { DiskBlobs } from '../../shared/store/disk-blobs.ts';

it('waits for the write under way before it closes its file, and leaves nothing', async () => {
  const root = mkdtempSync(join(tmpdir(), 'slipway-sink-'));
  try {
    const blobs = await DiskBlobs.open(root);
    let staged = '';
    const stage = () => {
      staged = blobs.stage();
      return staged;
    };
    const target = { put: blobs.put.bind(blobs), open: blobs.open.bind(blobs), adopt: blobs.adopt.bind(blobs), stage };
    const sink = new BlobSink(target, undefined);
    // Every thread of the pool is busy for a while, so the write cannot have begun when the sink is disposed.
    const busy = Array.from({ length: 8 }, () => promisify(pbkdf2)('x', 'y', 50_000, 32, 'sha256'));
    const written = sink.write(Buffer.alloc(1 << 20, 1));
    await sink[Symbol.asyncDispose]();
    // With the file closed under it, this would be EBADF, or the bytes of another file.
    await expect(written).resolves.toBeUndefined();
    expect(existsSync(staged)).toBe(false);
    await Promise.all(busy);
  } finally {
    rmSync(root, { recursive: true, force: true });
  }
});
