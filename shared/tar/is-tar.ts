// Whether bytes are a tar: told by the first header, which is docker's test too.
import { isCode } from '../errors.ts';
import { blockSize } from './format.ts';
import { isZeroBlock, readHeader } from './header.ts';

/** `start`: the first 512 bytes or more of the decompressed stream. An archive without members does not count as one. */
export function isTar(start: Uint8Array): boolean {
  if (start.length < blockSize) return false;
  const block = Buffer.from(start.subarray(0, blockSize));
  if (isZeroBlock(block)) return false;
  try {
    readHeader(block, 'first member');
    return true;
  } catch (error) {
    if (isCode(error, 'INVALID_ARCHIVE')) return false;
    throw error;
  }
}
