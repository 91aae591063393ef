// Commands over several images go on after an error, say each on standard error, and fail in the end (F24).
import { isCode } from '../shared/errors.ts';
import { type Io, warn } from './io.ts';

/** The exit code: 1 if any failed. `forgiven` decides which errors are said but do not count. */
export async function eachWord(
  words: readonly string[],
  io: Io,
  work: (word: string) => Promise<void>,
  forgiven: (error: unknown) => boolean = () => false,
): Promise<number> {
  let code = 0;
  for (const word of words) {
    try {
      await work(word);
    } catch (error) {
      if (isCode(error, 'CANCELLED', 'INTERNAL', 'STORE') || !isKnown(error)) throw error;
      await warn(io, `Error: ${error.message}${error.hint === undefined ? '' : `\n  ${error.hint}`}`);
      if (!forgiven(error)) code = 1;
    }
  }
  return code;
}

const isKnown = (error: unknown): error is Error & { readonly hint?: string } =>
  error instanceof Error && error.name === 'SlipwayError';
