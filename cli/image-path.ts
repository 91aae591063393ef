// Where an image is in the control API.
import { SlipwayError } from '../shared/errors.ts';

/** The path of the image that the user calls `word`. */
export function imagePath(word: string, action = ''): string {
  // A URL drops these two segments, and then it would name something else.
  if (/^\.{0,2}$/.test(word)) throw new SlipwayError('INVALID_REFERENCE', `invalid reference format: ${JSON.stringify(word)}`);
  // The paths of these two words are taken (shared/api/app.ts); with its tag the name is another path, and the same image.
  if (word === 'pull' || word === 'push') word += ':latest';
  return `/api/v1/images/${encodeURIComponent(word)}${action}`;
}
