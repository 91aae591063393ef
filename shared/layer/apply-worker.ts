// Unpacks one layer, away from the main thread: see apply.ts.
import { parentPort, workerData } from 'node:worker_threads';
import { SlipwayError } from '../errors.ts';
import { type ApplyAnswer, type ApplyJob, applyFile } from './apply.ts';

let answer: ApplyAnswer;
try {
  answer = { applied: await applyFile(workerData as ApplyJob) };
} catch (error) {
  if (!(error instanceof SlipwayError)) throw error;
  answer = { failure: { code: error.code, message: error.message, hint: error.hint, details: error.details } };
}
parentPort?.postMessage(answer);
