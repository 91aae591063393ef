// What the tests of this folder share: a store in a temporary folder, lists of entries, and reading a layer back.
import { randomBytes } from 'node:crypto';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll } from 'vitest';
import type { Entry, EntryWithBody } from '../../shared/layer/entry.ts';
import type { Digest } from '../../shared/oci/digest.ts';
import type { Blobs } from '../../shared/store/blobs.ts';
import { decompress } from '../../shared/stream/decompress.ts';
import { verified } from '../../shared/stream/verified.ts';
import { fromReadableStream } from '../../shared/stream/web.ts';
import { comparePaths } from '../../shared/tar/name.ts';
import { readTar } from '../../shared/tar/read.ts';

/** A folder of this test file, removed when it ends; on a memory filesystem where there is one. */
export function temporaryFolder(): string {
  const folder = mkdtempSync(join(existsSync('/dev/shm') ? '/dev/shm' : tmpdir(), 'slipway-layer-'));
  afterAll(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

const base = { mode: 0o644, uid: 0, gid: 0, mtime: 1_700_000_000 } as const;

export const file = (path: string, content: string | Uint8Array, more: Partial<Entry> = {}): EntryWithBody => {
  const bytes = Buffer.from(content as string);
  return {
    entry: { path, type: 'file', ...base, size: bytes.length, ...more },
    ...(bytes.length > 0 && { body: { kind: 'bytes', bytes } }),
  };
};
export const dir = (path: string, more: Partial<Entry> = {}): EntryWithBody => ({
  entry: { path, type: 'dir', ...base, mode: 0o755, size: 0, ...more },
});
export const symlink = (path: string, link: string): EntryWithBody => ({
  entry: { path, type: 'symlink', ...base, mode: 0o777, size: 0, link },
});
export const hardlink = (path: string, link: string): EntryWithBody => ({
  entry: { path, type: 'hardlink', ...base, size: 0, link },
});

export const inOrder = (entries: readonly EntryWithBody[]): EntryWithBody[] =>
  entries.toSorted((a, b) => comparePaths(a.entry.path, b.entry.path));

export const noise = (size: number): Buffer => randomBytes(size);

export async function bytesOf(blobs: Blobs, digest: Digest): Promise<Buffer> {
  const found = await blobs.open(digest);
  if (found === undefined) throw new Error(`${digest} is not there`);
  return Buffer.concat(await Array.fromAsync(verified(fromReadableStream(found.body), { digest, size: found.size })));
}

export async function* once(bytes: Uint8Array) {
  yield bytes;
}

export interface ReadBack {
  readonly entry: Entry;
  readonly content: Buffer;
}

export async function readBack(blob: Uint8Array): Promise<ReadBack[]> {
  const members: ReadBack[] = [];
  for await (const { entry, body } of readTar(decompress(once(blob)))) {
    members.push({ entry, content: Buffer.concat(await Array.fromAsync(body)) });
  }
  return members;
}
