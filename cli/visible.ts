// Text of other people's, on a terminal: an image's history, a Dockerfile's instructions, what a step says.
import { stripVTControlCharacters } from 'node:util';

/** One line, without what would move the cursor or change the width. */
export const visible = (text: string): string =>
  [...stripVTControlCharacters(text).replaceAll('\t', '    ').replaceAll('\n', ' ')]
    .filter((c) => c >= ' ' && (c < '\x7f' || c > '\x9f'))
    .join('');
