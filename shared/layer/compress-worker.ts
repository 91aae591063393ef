// A compression worker: takes members, gives them back made. See member.ts for the work and compress-pool.ts for the other end.
import { parentPort } from 'node:worker_threads';
import { SlipwayError } from '../errors.ts';
import type { Answer } from './compress-pool.ts';
import { type MemberJob, makeMember } from './member.ts';

parentPort?.on('message', ({ id, job }: { id: number; job: MemberJob }) => {
  const port = parentPort!;
  try {
    const result = makeMember(job);
    port.postMessage({ id, result } satisfies Answer, [result.raw, result.room]);
  } catch (error) {
    const failure =
      error instanceof SlipwayError
        ? { code: error.code, message: error.message, hint: error.hint, details: error.details, cause: error.cause }
        : { message: error instanceof Error ? (error.stack ?? error.message) : String(error) };
    port.postMessage({ id, failure } satisfies Answer);
  }
});
