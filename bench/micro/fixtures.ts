// Trees and files for measurements, on a memory filesystem so that the disk is not what is measured.
import { createHash, randomFillSync } from 'node:crypto';
import {
  closeSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { EntryWithBody } from '../../shared/layer/entry.ts';

/** A folder that is gone afterwards. */
export function scratch(): { readonly path: string; [Symbol.dispose](): void } {
  const path = mkdtempSync(join(existsSync('/dev/shm') ? '/dev/shm' : tmpdir(), 'slipway-bench-'));
  return { path, [Symbol.dispose]: () => rmSync(path, { recursive: true, force: true }) };
}

/** Real text: whatever JavaScript and declarations lie in node_modules. */
function corpus(): Buffer {
  const parts: Buffer[] = [];
  let total = 0;
  const visit = (folder: string) => {
    for (const entry of readdirSync(folder, { withFileTypes: true }).sort((a, b) => (a.name < b.name ? -1 : 1))) {
      if (total > 24 << 20) return;
      const path = join(folder, entry.name);
      if (entry.isDirectory()) visit(path);
      else if (/\.(js|ts|json|md|mjs)$/.test(entry.name)) {
        const bytes = readFileSync(path);
        if (bytes.length > 1 << 20) continue;
        parts.push(bytes);
        total += bytes.length;
      }
    }
  };
  for (const name of ['@aws-sdk', '@smithy', 'zod', 'hono', 'fast-check'])
    visit(join(import.meta.dirname, '../../node_modules', name));
  return Buffer.concat(parts);
}

/** `count` files of text, 8.2 KB on average (S3 of performance.md: 30,000 files, 246 MB), 100 a folder; answers their paths. */
export function smallFiles(folder: string, count: number): string[] {
  const text = corpus();
  const paths: string[] = [];
  for (let index = 0; index < count; index++) {
    const noise = createHash('sha256').update(String(index)).digest();
    const size = 400 + (noise.readUInt32LE(0) % 15_600);
    const at = noise.readUInt32LE(4) % (text.length - size);
    const path = `d${String(Math.floor(index / 100)).padStart(3, '0')}/f${String(index).padStart(5, '0')}.js`;
    if (index % 100 === 0) mkdirSync(join(folder, path, '..'), { recursive: true });
    writeFileSync(join(folder, path), text.subarray(at, at + size));
    paths.push(path);
  }
  return paths;
}

export function randomFile(path: string, size: number): void {
  const block = Buffer.alloc(4 << 20);
  const fd = openSync(path, 'w');
  for (let at = 0; at < size; at += block.length) writeSync(fd, randomFillSync(block), 0, Math.min(block.length, size - at));
  closeSync(fd);
}

export const fileEntry = (folder: string, path: string, size: number): EntryWithBody => ({
  entry: { path, type: 'file', mode: 0o644, uid: 0, gid: 0, size, mtime: 1_700_000_000 },
  ...(size > 0 && { body: { kind: 'file', path: join(folder, path), offset: 0 } }),
});
