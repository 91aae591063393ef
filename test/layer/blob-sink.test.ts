import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
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
    const written = sink.write(Buffer.alloc(64 << 20, 1));
    await sink[Symbol.asyncDispose]();
    // With the file closed under it, this would be EBADF, or the bytes of another file.
    await expect(written).resolves.toBeUndefined();
    expect(existsSync(staged)).toBe(false);
  } finally {
    rmSync(root, { recursive: true, force: true });
  }
});
