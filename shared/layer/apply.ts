// From a layer's blob to files: as a lower directory for overlayfs, or onto a tree that is there.
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { Worker } from 'node:worker_threads';
import { type ErrorCode, SlipwayError, throwIfCancelled } from '../errors.ts';
import type { Blobs, Bytes } from '../store/blobs.ts';
import { chunkSize } from '../stream/chunk-size.ts';
import { decompress } from '../stream/decompress.ts';
import { fromReadableStream } from '../stream/web.ts';
import { TarParser } from '../tar/parse.ts';
import type { Layer } from './layer.ts';
import { makeNodes, setXattrs } from './node-maker.ts';
import { TreeUnpacker, type UnpackOptions } from './unpack-tree.ts';

export interface ApplyOptions extends UnpackOptions {
  /** Where overlayfs looks for its attributes: `trusted` (the default), or `user` when mounted by a user (`userxattr`). */
  readonly overlayXattrs?: 'trusted' | 'user';
  /** TOO_LARGE when the tar has more bytes: the defence against bombs. */
  readonly limit?: number;
  readonly signal?: AbortSignal;
}

export interface Applied {
  /** Directories that the layer has no entry for, but entries in; sorted. */
  readonly impliedDirs: readonly string[];
}

/** From this size of the blob on the work is done in a thread of its own: starting one takes 30 ms. */
const largeBlob = 1024 * 1024;

/**
 * Unpacks `layer` into `directory`, which exists. The tar is verified against the diffID, so when this fails (DIGEST_MISMATCH,
 * INVALID_ARCHIVE, UNSAFE_PATH, TOO_LARGE, DISK_FULL) the directory holds parts of it and is to be removed by the caller.
 */
export async function applyLayer(
  blobs: Pick<Blobs, 'open' | 'local'>,
  layer: Layer,
  directory: string,
  options: ApplyOptions,
): Promise<Applied> {
  const { digest, size } = layer.descriptor;
  const file = blobs.local?.path(digest);
  if (file !== undefined && size >= largeBlob && options.implied === undefined) {
    const { signal, implied, ...plain } = options;
    return inThread({ file, diffId: layer.diffId, directory, options: plain }, signal);
  }
  const found = await blobs.open(digest, undefined, options.signal && { signal: options.signal });
  if (found === undefined) throw new SlipwayError('NOT_FOUND', `the layer ${digest} is not in the store`);
  return unpackStream(fromReadableStream(found.body), layer.diffId, directory, options);
}

/** The work itself, on any stream of a layer; blocks this thread while files are written. */
export async function unpackStream(source: Bytes, diffId: string, directory: string, options: ApplyOptions): Promise<Applied> {
  const owners = options.owners ?? process.geteuid?.() === 0;
  const unpacker = new TreeUnpacker(directory, options);
  const parser = new TarParser(unpacker, { what: `layer ${diffId.slice(0, 19)}`, absolute: 'strip' });
  const hash = createHash('sha256');
  const { limit, signal } = options;
  try {
    const plain = decompress(source, {
      what: `layer ${diffId.slice(0, 19)}`,
      ...(limit !== undefined && { limit }),
      ...(signal && { signal }),
    });
    for await (const chunk of plain) {
      hash.update(chunk);
      parser.write(chunk);
    }
    parser.finish();
    const actual = `sha256:${hash.digest('hex')}`;
    if (actual !== diffId) {
      throw new SlipwayError('DIGEST_MISMATCH', `a layer has diffID ${actual}, expected ${diffId}`, {
        details: { expected: diffId, actual },
      });
    }
    throwIfCancelled(signal);
    const leftovers = unpacker.leftovers();
    const make = { owners, overlayXattrs: options.overlayXattrs ?? 'trusted', ...(signal && { signal }) } as const;
    await makeNodes(directory, leftovers, make);
    unpacker.finishDirs();
    await setXattrs(directory, leftovers, make);
    return { impliedDirs: unpacker.impliedDirs.toSorted() };
  } finally {
    unpacker.abandon();
  }
}

export interface ApplyJob {
  readonly file: string;
  readonly diffId: string;
  readonly directory: string;
  readonly options: Omit<ApplyOptions, 'signal' | 'implied'>;
}

export interface ApplyAnswer {
  readonly applied?: Applied;
  readonly failure?: {
    readonly code: ErrorCode;
    readonly message: string;
    readonly hint?: string | undefined;
    readonly details?: unknown;
  };
}

export const applyFile = ({ file, diffId, directory, options }: ApplyJob): Promise<Applied> =>
  unpackStream(createReadStream(file, { highWaterMark: chunkSize }), diffId, directory, options);

async function inThread(job: ApplyJob, signal: AbortSignal | undefined): Promise<Applied> {
  throwIfCancelled(signal);
  const script = import.meta.url.endsWith('.ts') ? './apply-worker.ts' : './apply-worker.js';
  const worker = new Worker(new URL(script, import.meta.url), { workerData: job });
  const stop = () => void worker.terminate();
  signal?.addEventListener('abort', stop, { once: true });
  try {
    return await new Promise<Applied>((resolve, reject) => {
      worker.on('message', ({ applied, failure }: ApplyAnswer) => {
        if (applied !== undefined) return resolve(applied);
        const { code, message, hint, details } = failure!;
        reject(
          new SlipwayError(code, message, {
            ...(hint !== undefined && { hint }),
            ...(details !== undefined && { details: details as Readonly<Record<string, unknown>> }),
          }),
        );
      });
      worker.on('error', (error) =>
        reject(new SlipwayError('INTERNAL', 'the thread that unpacks a layer died', { cause: error })),
      );
      worker.on('exit', () => {
        if (signal?.aborted) reject(new SlipwayError('CANCELLED', 'cancelled', { cause: signal.reason }));
        else reject(new SlipwayError('INTERNAL', 'the thread that unpacks a layer ended without an answer'));
      });
    });
  } finally {
    signal?.removeEventListener('abort', stop);
    await worker.terminate();
  }
}
