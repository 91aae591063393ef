// Hashes many files, in threads when that pays: a thread costs some 30 ms to start, which is what hashing 8 MiB or 500 files takes.
import { availableParallelism } from 'node:os';
import type { Worker } from 'node:worker_threads';
import { type ErrorCode, SlipwayError, throwIfCancelled } from '../errors.ts';
import type { Digest } from '../oci/digest.ts';
import { digestAt, digestTextLength, type FilesToHash, type HashedFile, type HashedFiles, hashBatch } from './hash-files.ts';
import { stateAt, stateNumbers } from './stat-cache.ts';

export interface HashRequest {
  readonly id: number;
  readonly files: FilesToHash;
}

export type HashAnswer =
  | { readonly id: number; readonly hashed: HashedFiles }
  | {
      readonly id: number;
      readonly failed: {
        readonly code: ErrorCode;
        readonly message: string;
        readonly hint: string | undefined;
        readonly details: Readonly<Record<string, unknown>> | undefined;
      };
    };

const alone = { files: 500, bytes: 8 << 20 };
const batch = { files: 500, bytes: 32 << 20 };
const maxThreads = 4;
const file = import.meta.url.endsWith('.ts') ? './hash-worker.ts' : './hash-worker.js';

/** Batches that are neither too many files nor too many bytes; a large file is a batch of its own. Answers where each begins, and the end. */
function batchesOf({ paths, states }: FilesToHash): readonly number[] {
  const starts = [0];
  let bytes = 0;
  for (let at = 0; at < paths.length; at++) {
    const { size } = stateAt(states, at);
    const first = starts.at(-1)!;
    if (at > first && (at - first >= batch.files || bytes + size > batch.bytes)) {
      starts.push(at);
      bytes = 0;
    }
    bytes += size;
  }
  return paths.length > 0 ? [...starts, paths.length] : starts;
}

const slice = ({ root, paths, states }: FilesToHash, start: number, end: number): FilesToHash => ({
  root,
  paths: paths.slice(start, end),
  states: states.slice(start * stateNumbers, end * stateNumbers),
});

/**
 * Calls `found` with the place and digest of each file, and with what it was found to be where that is not what the walk had seen. In no
 * order. Fails with the first error of `hashFile`.
 */
export async function hashFiles(
  files: FilesToHash,
  found: (index: number, digest: Digest, changed: HashedFile | undefined) => void,
  signal?: AbortSignal,
): Promise<void> {
  const count = files.paths.length;
  let bytes = 0;
  for (let at = 0; at < count; at++) bytes += stateAt(files.states, at).size;
  throwIfCancelled(signal);
  const take = (start: number, hashed: HashedFiles): void => {
    const changed = new Map(hashed.changed);
    const end = hashed.digests.length / digestTextLength;
    for (let at = 0; at < end; at++) found(start + at, digestAt(hashed, at), changed.get(at));
  };
  if (count <= alone.files && bytes <= alone.bytes) return take(0, hashBatch(files));
  const starts = batchesOf(files);
  const batches = starts.length - 1;
  const threads = Math.min(batches, maxThreads, Math.max(1, availableParallelism()));
  const { Worker: Thread } = await import('node:worker_threads');
  let next = 0;
  const workers: Worker[] = [];
  let cancel = (): void => undefined;
  const cancelled = new Promise<never>((_resolve, reject) => {
    cancel = () => reject(new SlipwayError('CANCELLED', 'cancelled', { cause: signal?.reason }));
  });
  signal?.addEventListener('abort', cancel);
  try {
    const done = Promise.all(
      Array.from({ length: threads }, async () => {
        // Its garbage is small and young: without the limit each thread grows by tens of megabytes.
        const worker = new Thread(new URL(file, import.meta.url), { resourceLimits: { maxYoungGenerationSizeMb: 2 } });
        workers.push(worker);
        await new Promise<void>((resolve, reject) => {
          const feed = (): void => {
            const id = next++;
            if (id >= batches) resolve();
            else worker.postMessage({ id, files: slice(files, starts[id]!, starts[id + 1]!) } satisfies HashRequest);
          };
          worker.on('message', (answer: HashAnswer) => {
            if ('failed' in answer) {
              const { code, message, hint, details } = answer.failed;
              reject(new SlipwayError(code, message, { ...(hint && { hint }), ...(details && { details }) }));
            } else {
              feed();
              take(starts[answer.id]!, answer.hashed);
            }
          });
          worker.on('error', (cause) => reject(new SlipwayError('INTERNAL', 'a hashing thread failed', { cause })));
          worker.on('exit', (code) => reject(new SlipwayError('INTERNAL', `a hashing thread ended with code ${code}`)));
          feed();
        });
      }),
    );
    await Promise.race([done, cancelled]);
  } finally {
    signal?.removeEventListener('abort', cancel);
    await Promise.all(workers.map((worker) => worker.terminate()));
  }
}
