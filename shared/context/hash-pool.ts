// Hashes many files, in threads when that pays: a thread costs some 30 ms to start, which is what hashing 8 MiB or 500 files takes.
import { availableParallelism } from 'node:os';
import { Worker } from 'node:worker_threads';
import { type ErrorCode, SlipwayError, throwIfCancelled } from '../errors.ts';
import { type FileToHash, type HashedFile, hashFile } from './hash-files.ts';

export interface HashRequest {
  readonly id: number;
  readonly files: readonly FileToHash[];
}

export type HashAnswer =
  | { readonly id: number; readonly hashed: readonly HashedFile[] }
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

/** Batches that are neither too many files nor too many bytes; a large file is a batch of its own. */
function batchesOf(files: readonly FileToHash[]): readonly (readonly FileToHash[])[] {
  const out: FileToHash[][] = [];
  let current: FileToHash[] = [];
  let bytes = 0;
  for (const one of files) {
    const { size } = one.state;
    if (current.length > 0 && (current.length >= batch.files || bytes + size > batch.bytes)) {
      out.push(current);
      current = [];
      bytes = 0;
    }
    current.push(one);
    bytes += size;
  }
  if (current.length > 0) out.push(current);
  return out;
}

/** The digests of `files`, in their order. Fails with the first error of `hashFile`. */
export async function hashFiles(files: readonly FileToHash[], signal?: AbortSignal): Promise<readonly HashedFile[]> {
  let bytes = 0;
  for (const { state } of files) bytes += state.size;
  throwIfCancelled(signal);
  if (files.length <= alone.files && bytes <= alone.bytes) return files.map(hashFile);
  const batches = batchesOf(files);
  const answers = new Array<readonly HashedFile[]>(batches.length);
  const threads = Math.min(batches.length, maxThreads, Math.max(1, availableParallelism()));
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
        const worker = new Worker(new URL(file, import.meta.url), { resourceLimits: { maxYoungGenerationSizeMb: 2 } });
        workers.push(worker);
        await new Promise<void>((resolve, reject) => {
          const feed = (): void => {
            const id = next++;
            const files = batches[id];
            if (files === undefined) resolve();
            else worker.postMessage({ id, files } satisfies HashRequest);
          };
          worker.on('message', (answer: HashAnswer) => {
            if ('failed' in answer) {
              const { code, message, hint, details } = answer.failed;
              reject(new SlipwayError(code, message, { ...(hint && { hint }), ...(details && { details }) }));
            } else {
              answers[answer.id] = answer.hashed;
              feed();
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
  return answers.flat();
}
