// A compression worker: takes members, gives them back made. See member.ts for the work and compress-pool.ts for the other end.
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { parentPort } from 'node:worker_threads';
import { SlipwayError } from '../errors.ts';
import type { Answer } from './compress-pool.ts';
import { type MemberJob, makeMember } from './member.ts';

/**
 * What zlib gives is copied and left to the garbage collector: half a megabyte a member, which V8 hardly sees. Collected every so often
 * (a fraction of a millisecond), a thread stays 10 MB smaller.
 */
const collectEvery = 2;
// `--expose-gc` on the command line would do as well, but with it V8 refuses the compiled form of Node's own modules: 17 ms at each start.
setFlagsFromString('--expose-gc');
const collect = runInNewContext('gc') as (options: { readonly type: 'minor' }) => void;
let made = 0;

parentPort?.on('message', ({ id, job }: { id: number; job: MemberJob }) => {
  const port = parentPort!;
  if (++made % collectEvery === 0) collect({ type: 'minor' });
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
