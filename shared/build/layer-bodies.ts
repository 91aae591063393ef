// Contents of files that lie in layers, for COPY --from: from the unpacked directory where there is one, else by reading each layer that
// holds some of them once, into a file to the side.
import { type FileHandle, open } from 'node:fs/promises';
import { join } from 'node:path';
import { SlipwayError } from '../errors.ts';
import type { Body, Entry } from '../layer/entry.ts';
import type { Layer } from '../layer/layer.ts';
import type { MergedTree } from '../layer/merged.ts';
import type { Blobs } from '../store/blobs.ts';
import { decompress } from '../stream/decompress.ts';
import { fromReadableStream } from '../stream/web.ts';
import { readTar } from '../tar/read.ts';
import type { ScratchFolder } from './ports.ts';

export interface LayerFiles {
  readonly blobs: Pick<Blobs, 'open'>;
  readonly scratch: () => Promise<ScratchFolder>;
  /** The directory of a layer that is unpacked already. */
  readonly unpacked?: (layer: Layer) => string | undefined | Promise<string | undefined>;
}

export async function layerBodies<T>(
  files: LayerFiles,
  layers: readonly Layer[],
  tree: MergedTree,
  wanted: readonly Entry[],
  use: (body: (entry: Entry) => Body) => Promise<T>,
  signal: AbortSignal,
): Promise<T> {
  const bodies = new Map<string, Body>();
  /** By layer: the paths in it, and the entries that they are the content of. */
  const toRead = new Map<number, Map<string, string[]>>();
  const directories = new Map<number, string | undefined>();
  const directoryOf = async (index: number): Promise<string | undefined> => {
    if (!directories.has(index)) directories.set(index, await files.unpacked?.(layers[index] as Layer));
    return directories.get(index);
  };
  for (const { path } of wanted) {
    const found = tree.locate(path);
    if (found === undefined) throw new SlipwayError('INTERNAL', `/${path} is in no layer`);
    const directory = await directoryOf(found.layer);
    if (directory !== undefined) {
      bodies.set(path, { kind: 'file', path: `${directory}/${found.path}`, offset: 0, ours: true });
      continue;
    }
    const paths = toRead.get(found.layer) ?? new Map<string, string[]>();
    toRead.set(found.layer, paths);
    paths.set(found.path, [...(paths.get(found.path) ?? []), path]);
  }
  const bodyOf = (entry: Entry): Body => {
    const body = bodies.get(entry.path);
    if (body === undefined) throw new SlipwayError('INTERNAL', `/${entry.path} was not asked for`);
    return body;
  };
  if (toRead.size === 0) return use(bodyOf);
  await using scratch = await files.scratch();
  for (const [index, paths] of toRead) {
    const file = join(scratch.path, `layer-${index}`);
    await spool(files.blobs, layers[index] as Layer, paths, file, bodies, signal);
  }
  // Awaited here: the folder goes with this scope.
  return await use(bodyOf);
}

/** One pass over the layer; the wanted files end up one after the other in `file`. */
async function spool(
  blobs: Pick<Blobs, 'open'>,
  layer: Layer,
  paths: ReadonlyMap<string, readonly string[]>,
  file: string,
  bodies: Map<string, Body>,
  signal: AbortSignal,
): Promise<void> {
  const { digest } = layer.descriptor;
  const blob = await blobs.open(digest, undefined, { signal });
  if (blob === undefined) throw new SlipwayError('NOT_FOUND', `the layer ${digest} is not in the store`);
  const out = await open(file, 'wx');
  try {
    const what = `layer ${layer.diffId}`;
    let offset = 0;
    let missing = paths.size;
    for await (const { entry, body } of readTar(decompress(fromReadableStream(blob.body), { what, signal }), {
      what,
      absolute: 'strip',
    })) {
      const names = entry.type === 'file' ? paths.get(entry.path) : undefined;
      if (names === undefined) continue;
      const start = offset;
      for await (const chunk of body) offset += await writeAll(out, chunk, offset);
      for (const name of names) bodies.set(name, { kind: 'file', path: file, offset: start });
      missing -= 1;
      if (missing === 0) break;
    }
    if (missing > 0) throw new SlipwayError('INVALID_ARCHIVE', `${what} does not hold what its table of contents says`);
  } finally {
    await out.close();
  }
}

async function writeAll(out: FileHandle, chunk: Uint8Array, position: number): Promise<number> {
  let written = 0;
  while (written < chunk.length)
    written += (await out.write(chunk, written, chunk.length - written, position + written)).bytesWritten;
  return written;
}
