// The disk driver as the suites of the Blobs port want it, in a folder of its own.
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { DiskBlobs } from '../../shared/store/disk-blobs.ts';
import { roomFor } from '../support/scratch.ts';
import type { BlobsUnderTest } from './blobs-fixture.ts';

/** A fresh folder that takes so many bytes; in memory when it has the room, so that the test measures the driver and not the disk. */
export const blobFolder = (bytes = 0): string => mkdtempSync(join(roomFor(bytes), 'slipway-blobs-'));

/** An empty store that takes so many bytes. */
export async function diskUnderTest(bytes = 0): Promise<BlobsUnderTest> {
  const root = blobFolder(bytes);
  return {
    blobs: await DiskBlobs.open(root),
    spec: { driver: 'disk', root },
    another: () => DiskBlobs.open(root),
    leftovers: async () => readdirSync(join(root, 'uploads')).filter((name) => name !== '.swept'),
    [Symbol.asyncDispose]: async () => rmSync(root, { recursive: true }),
  };
}
