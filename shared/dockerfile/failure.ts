// How the Dockerfile's own mistakes are raised: always a SlipwayError with the place in the file.
import { SlipwayError, type SourceRange } from '../errors.ts';

/** A mistake in the Dockerfile. */
export const dockerfileError = (message: string, where: SourceRange, hint?: string): SlipwayError =>
  new SlipwayError('DOCKERFILE', message, hint === undefined ? { where } : { where, hint });

/** A mistake found while one instruction is read; BuildKit's wording. */
export const parseError = (message: string, where: SourceRange, hint?: string): SlipwayError =>
  new SlipwayError('DOCKERFILE', `dockerfile parse error on line ${where.start.line}: ${message}`, {
    where,
    details: { problem: message },
    ...(hint === undefined ? {} : { hint }),
  });

/** What is wrong, without the line: for instructions that stand in no file of the user's. */
export const problemOf = (error: SlipwayError): string =>
  typeof error.details?.problem === 'string' ? error.details.problem : error.message;

/** Valid, but not implemented: never ignored. */
export const unsupported = (what: string, where: SourceRange, instead?: string): SlipwayError =>
  new SlipwayError('UNSUPPORTED', `${what} is not supported`, {
    where,
    hint: instead === undefined ? 'not supported yet' : `not supported yet; ${instead}`,
  });

/** Shortened for a message. */
export const shown = (text: string, most = 120): string => (text.length <= most ? text : `${text.slice(0, most)}...`);
