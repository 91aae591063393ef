// node bench/micro/unpack.ts [gzip|zstd|none] [runs]: 30,000 files (S3 of performance.md) from a layer to a directory on a memory
// filesystem, its table of contents made by reading it, look-ups in that table, and its change set read back.
import { mkdirSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { performance } from 'node:perf_hooks';
import { applyLayer } from '../../shared/layer/apply.ts';
import { changesOf } from '../../shared/layer/changes.ts';
import { CompressPool } from '../../shared/layer/compress-pool.ts';
import { MergedTree } from '../../shared/layer/merged.ts';
import { tocOfLayer } from '../../shared/layer/toc-of-layer.ts';
import { TableToc } from '../../shared/layer/toc-table.ts';
import { writeLayer } from '../../shared/layer/write.ts';
import type { Compression } from '../../shared/oci/media-type.ts';
import { DiskBlobs } from '../../shared/store/disk-blobs.ts';
import { fromReadableStream } from '../../shared/stream/web.ts';
import { fileEntry, scratch, smallFiles } from './fixtures.ts';

const [compression = 'gzip', runs = '3'] = process.argv.slice(2);
using folder = scratch();
const tree = join(folder.path, 'tree');
mkdirSync(tree);
const paths = smallFiles(tree, 30_000);
const blobs = await DiskBlobs.open(join(folder.path, 'blobs'));
await using pool = new CompressPool();
const entries = paths.map((path) => fileEntry(tree, path, statSync(join(tree, path)).size));
const layer = await writeLayer(entries, { blobs, compression: compression as Compression, pool });

async function measure(name: string, work: () => Promise<unknown>): Promise<void> {
  const times: number[] = [];
  const cpus: number[] = [];
  for (let run = 0; run < Number(runs); run++) {
    const cpu = process.cpuUsage();
    const start = performance.now();
    await work();
    times.push(performance.now() - start);
    const used = process.cpuUsage(cpu);
    cpus.push((used.user + used.system) / 1e6);
  }
  const median = (values: readonly number[]) => values.toSorted((a, b) => a - b)[values.length >> 1]!;
  console.log(`${name.padEnd(28)} ${(median(times) / 1000).toFixed(3)} s  (cpu ${median(cpus).toFixed(2)})`);
}

const target = join(folder.path, 'target');
await measure('unpack', async () => {
  rmSync(target, { recursive: true, force: true });
  mkdirSync(target);
  const start = performance.now();
  await applyLayer(blobs, layer, target, { mode: 'overlay' });
  console.log(`  without removing: ${((performance.now() - start) / 1000).toFixed(3)} s`);
});
await measure('changes of the directory', () => changesOf(target));
await measure('table of contents by reading', async () => {
  const { body } = (await blobs.open(layer.descriptor.digest))!;
  await tocOfLayer(fromReadableStream(body), layer.diffId);
});
await measure('30,000 look-ups, 10 layers', async () => {
  const toc = new TableToc(layer.toc);
  const merged = new MergedTree(Array.from({ length: 10 }, () => toc));
  for (const path of paths) merged.get(path);
});
await measure('30,000 look-ups of nothing', async () => {
  const toc = new TableToc(layer.toc);
  const merged = new MergedTree(Array.from({ length: 10 }, () => toc));
  for (const path of paths) merged.get(`${path}.absent`);
});
await measure('everything in the tree', async () => new MergedTree([new TableToc(layer.toc)]).under(''));
