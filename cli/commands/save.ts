import { randomBytes } from 'node:crypto';
import type { Stats } from 'node:fs';
import { type FileHandle, open, realpath, rename, rm, stat } from 'node:fs/promises';
import { resolve } from 'node:path';
import type { SaveRequest } from '../../shared/api/images.ts';
import { errnoOf, isCode, SlipwayError, throwIfCancelled } from '../../shared/errors.ts';
import { type Call, defineCommand, type Options } from '../command.ts';
import { isTerminal, write } from '../io.ts';

export const command = defineCommand({
  name: 'save',
  summary: 'Save images to an archive',
  usage: '[OPTIONS] IMAGE [IMAGE...]',
  description: `Writes one tar with the images, their layers, history and names. It is an OCI image layout that docker, podman, containerd
and skopeo read too; blobs that several images share are in it once. The same images always give the same bytes.
NAME alone saves all tags of the repository; an image saved by ID comes back without a name.`,
  examples: [
    ['slipway save -o app.tar app:1.2', 'One image into a file'],
    ['slipway save app db | zstd > all.tar.zst', 'Two repositories, compressed'],
    ['slipway save app | ssh host slipway load', 'To another machine'],
    ['slipway save --platform linux/arm64 -o arm.tar app', 'One platform of a multi-platform image'],
  ],
  options: {
    output: { type: 'string', short: 'o', help: 'Write to a file, instead of standard output' },
    platform: { type: 'string', value: 'os/arch', help: 'Save only this platform of a multi-platform image' },
  },
  args: { min: 1 },
  async run({ args, options, io, api, remote }) {
    const { output, platform } = options;
    if (output === undefined && isTerminal(io.stdout)) {
      throw new SlipwayError('USAGE', 'cowardly refusing to save to a terminal. Use the -o flag or redirect');
    }
    const request: SaveRequest = { names: [...args], ...(platform !== undefined && { platform }) };
    const chunks = await archive(request, { io, api, remote });
    if (output === undefined) for await (const chunk of chunks) await write(io.stdout, chunk);
    else await writeFile(resolve(io.cwd, output), chunks, io.signal);
    return 0;
  },
});

type Chunks = AsyncIterable<Uint8Array> | Iterable<Uint8Array>;

async function archive(request: SaveRequest, { io, api, remote }: Pick<Call<Options>, 'io' | 'api' | 'remote'>): Promise<Chunks> {
  const client = await api();
  try {
    const { body } = await client.send('POST', '/api/v1/images/save', Buffer.from(JSON.stringify(request)));
    return body instanceof Uint8Array ? [body] : (body ?? []);
  } catch (error) {
    if (!isCode(error, 'TOO_LARGE')) throw error;
    const { homeRegistry } = await import('../home-registry.ts');
    const registry = await homeRegistry({ api, remote });
    if (registry === undefined) throw error;
    const { saveElsewhere } = await import('../save-elsewhere.ts');
    return await saveElsewhere(request.names, request.platform, { registry, api: client, signal: io.signal });
  }
}

/**
 * A file appears when it is whole, under the name that a link leads to. What is no file is written to as it is and never replaced: a
 * pipe (`>(zstd)`), a device, /dev/stdout.
 */
async function writeFile(path: string, chunks: Chunks, signal: AbortSignal): Promise<void> {
  let partial: string | undefined;
  try {
    const there = await statIfThere(path);
    if (there?.isDirectory()) throw new SlipwayError('USAGE', `cannot write ${path}: it is a directory`);
    if (there !== undefined && !there.isFile()) {
      await writeChunks(await open(path, 'w'), chunks, signal);
      return;
    }
    const target = there === undefined ? path : await realpath(path);
    partial = `${target}.${randomBytes(6).toString('hex')}.partial`;
    await writeChunks(await open(partial, 'wx'), chunks, signal);
    await rename(partial, target);
  } catch (error) {
    if (partial !== undefined) await rm(partial, { force: true });
    const errno = errnoOf(error);
    if (errno === undefined || error instanceof SlipwayError) throw error;
    throw new SlipwayError(errno === 'ENOSPC' ? 'DISK_FULL' : 'USAGE', `cannot write ${path}: ${errno}`, { cause: error });
  }
}

async function statIfThere(path: string): Promise<Stats | undefined> {
  try {
    return await stat(path);
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return undefined;
    throw error;
  }
}

/** The next chunk is read while one is written. */
async function writeChunks(file: FileHandle, chunks: Chunks, signal: AbortSignal): Promise<void> {
  let writing: Promise<unknown> = Promise.resolve();
  try {
    for await (const chunk of chunks) {
      throwIfCancelled(signal);
      await writing;
      writing = writeAll(file, chunk);
      // Met at the next turn; until then it must not count as unhandled.
      writing.catch(() => undefined);
    }
    await writing;
  } finally {
    await writing.catch(() => undefined);
    await file.close();
  }
}

async function writeAll(file: FileHandle, chunk: Uint8Array): Promise<void> {
  for (let at = 0; at < chunk.length; ) {
    const { bytesWritten } = await file.write(chunk, at, chunk.length - at);
    at += bytesWritten;
  }
}
