// node bench/micro/layer.ts [gzip|zstd|none] [level] [runs]: how long it takes to write the layers of performance.md's S3, S3c and S4.
// Prints medians, throughput of the tar and the process's peak memory. See bench/micro/README.md for numbers.
import { createHash } from 'node:crypto';
import { createReadStream, mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { performance } from 'node:perf_hooks';
import { CompressPool } from '../../shared/layer/compress-pool.ts';
import type { EntryWithBody } from '../../shared/layer/entry.ts';
import { type WriteLayerOptions, type WrittenLayer, writeLayer } from '../../shared/layer/write.ts';
import { type Digest, sha256 } from '../../shared/oci/digest.ts';
import type { Compression } from '../../shared/oci/media-type.ts';
import { DiskBlobs } from '../../shared/store/disk-blobs.ts';
import { fileEntry, randomFile, scratch, smallFiles } from './fixtures.ts';

const [compression = 'gzip', level, runs = '3', which = 's3,s3c,s4'] = process.argv.slice(2);
const median = (values: readonly number[]) => values.toSorted((a, b) => a - b)[values.length >> 1]!;
/** Kilobytes, from /proc/self/status. */
const memory = (field: string) => Number(new RegExp(`${field}:\\s+(\\d+)`).exec(readFileSync('/proc/self/status', 'utf8'))?.[1]);
const resetPeak = () => writeFileSync('/proc/self/clear_refs', '5');
const peak = () => `RSS ${Math.round(before / 1024)} MB before, ${Math.round(after / 1024)} MB peak`;
let before = 0;
let after = 0;

using folder = scratch();
const tree = join(folder.path, 'tree');
let store = 0;

async function measure(name: string, entries: () => readonly EntryWithBody[], reuse?: WrittenLayer): Promise<WrittenLayer> {
  const times: number[] = [];
  const cpus: number[] = [];
  let layer: WrittenLayer | undefined;
  for (let run = 0; run < Number(runs); run++) {
    const list = entries();
    const blobs = reuse === undefined ? await DiskBlobs.open(join(folder.path, `blobs${store++}`)) : lastBlobs!;
    if (run === 0) {
      resetPeak();
      before = memory('VmRSS');
    }
    const cpu = process.cpuUsage();
    const start = performance.now();
    await using pool = new CompressPool();
    const options: WriteLayerOptions = {
      blobs,
      compression: compression as Compression,
      ...(level && { level: Number(level) }),
      pool,
      ...(reuse && { reuse: { blob: reuse.descriptor.digest, members: reuse.members } }),
    };
    layer = await writeLayer(list, options);
    times.push(performance.now() - start);
    if (run === 0) after = memory('VmHWM');
    const used = process.cpuUsage(cpu);
    cpus.push((used.user + used.system) / 1e6);
    await blobs.delete(
      layer.descriptor.digest === reuse?.descriptor.digest ? `sha256:${'0'.repeat(64)}` : layer.descriptor.digest,
    );
    if (reuse === undefined && run === Number(runs) - 1 && which.includes('s3c')) {
      lastBlobs = blobs;
      await using again = new CompressPool();
      layer = await writeLayer(entries(), { ...options, pool: again });
    }
  }
  const made = layer!;
  const seconds = median(times) / 1000;
  const ratio = made.uncompressedSize / made.descriptor.size;
  console.log(
    `${name.padEnd(28)} ${seconds.toFixed(3)} s (cpu ${median(cpus).toFixed(2)})  ${(made.uncompressedSize / 1e6 / seconds).toFixed(0)} MB/s  ratio ${ratio.toFixed(2)}  reused ${made.reusedMembers}  ${peak()}`,
  );
  return made;
}
function knownEntry(root: string, path: string): EntryWithBody {
  const file = join(root, path);
  const state = statSync(file);
  const { entry } = fileEntry(root, path, state.size);
  return { entry: { ...entry, digest: sha256(readFileSync(file)) }, body: { kind: 'file', path: file, offset: 0, state } };
}

async function digestOf(file: string): Promise<Digest> {
  const hash = createHash('sha256');
  for await (const chunk of createReadStream(file, { highWaterMark: 1 << 20 })) hash.update(chunk);
  return `sha256:${hash.digest('hex')}`;
}
let lastBlobs: DiskBlobs | undefined;

mkdirSync(tree);
if (which.includes('s3')) {
  const paths = smallFiles(tree, 30_000);
  // As a context gives them: with digests, and the state the files were in.
  const list = () => paths.map((path) => knownEntry(tree, path));
  const whole = await measure('30,000 files', list);
  if (which.includes('s3c')) {
    writeFileSync(join(tree, paths[12_345]!), 'changed');
    await measure('the same, one changed', list, whole);
  }
}
if (which.includes('s4')) {
  randomFile(join(folder.path, 'random'), 1 << 30);
  await measure('1 GiB of noise', () => [fileEntry(folder.path, 'random', 1 << 30)]);
  const file = join(folder.path, 'random');
  const [digest, state] = [await digestOf(file), statSync(file)];
  const known = fileEntry(folder.path, 'random', 1 << 30);
  const trusted: EntryWithBody = { entry: { ...known.entry, digest }, body: { kind: 'file', path: file, offset: 0, state } };
  await measure('the same, digest known', () => [trusted]);
}
