// One thread of hash-pool.ts: hashes the batches it is given, in order.
import { parentPort } from 'node:worker_threads';
import { SlipwayError } from '../errors.ts';
import { hashBatch } from './hash-files.ts';
import type { HashAnswer, HashRequest } from './hash-pool.ts';

parentPort?.on('message', ({ id, files }: HashRequest) => {
  let answer: HashAnswer;
  try {
    answer = { id, hashed: hashBatch(files) };
  } catch (error) {
    // Errors lose their class on the way between threads.
    const { code, message, hint, details } =
      error instanceof SlipwayError ? error : new SlipwayError('INTERNAL', `hashing failed: ${String(error)}`);
    answer = { id, failed: { code, message, hint, details } };
  }
  parentPort?.postMessage(answer);
});
