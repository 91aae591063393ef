// Unpacks one layer, away from the main thread: see apply.ts.
import { parentPort, workerData } from 'node:worker_threads';
import { SlipwayError } from '../errors.ts';
import { type ApplyAnswer, type ApplyJob, applyFile } from './apply.ts';

async function answer(job: ApplyJob): Promise<ApplyAnswer> {
  try {
    return { applied: await applyFile(job) };
  } catch (error) {
    if (!(error instanceof SlipwayError)) throw error;
    return { failure: { code: error.code, message: error.message, hint: error.hint, details: error.details } };
  }
}

// Any other error ends the thread, and the one who waits hears of it.
void answer(workerData as ApplyJob).then((made) => parentPort?.postMessage(made));
