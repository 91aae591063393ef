// Why a build did not succeed, as the one who started it is told.
import { SlipwayError } from '../shared/errors.ts';

/** The reason of a stop that somebody asked for; stages that fail stop the others with their error. */
export const stoppedByUser = Symbol('stopped by the user');

export function failureOf(error: unknown, signal: AbortSignal): SlipwayError {
  if (signal.reason === stoppedByUser) return new SlipwayError('CANCELLED', 'cancelled');
  if (error instanceof SlipwayError) return error;
  return new SlipwayError('INTERNAL', error instanceof Error ? error.message : String(error), { cause: error });
}
