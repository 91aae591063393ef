// What the promise of equal digests stands on: every machine that makes layers compresses to the same bytes. A version of Node that breaks
// this breaks every digest there is, so the bytes are written down.
import { createHash } from 'node:crypto';
import { expect, test } from 'vitest';
import { compressMember, defaultLevel, packedRoom } from '../../shared/layer/member-codec.ts';

/** A quarter of a megabyte of text, numbers and noise, the same everywhere. */
function sample(): Buffer {
  let state = 1;
  const next = (): number => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state >>> 16;
  };
  const words = Array.from({ length: 500 }, () =>
    Array.from({ length: 2 + (next() % 9) }, () => String.fromCharCode(97 + (next() % 26))).join(''),
  );
  const parts: string[] = [];
  let size = 0;
  while (size < 256 * 1024) {
    const kind = next() % 10;
    const part = kind < 7 ? `${words[next() % words.length]} ` : kind < 9 ? `${next()}\n` : '\0'.repeat(next() % 64);
    parts.push(part);
    size += part.length;
  }
  const bytes = Buffer.from(parts.join(''), 'latin1');
  for (let at = 100_000; at < 110_000; at++) bytes[at] = next() & 255;
  return bytes;
}

test.each([
  ['gzip', defaultLevel.gzip, '5054955369d5e859aa1238cf33317e1a274f61b429c10d5eccaed3c88fb49c0b'],
  ['zstd', defaultLevel.zstd, 'e589d119222385bc34d7c2a699f1cfe322f96c0cabc7997739e11e1b8e987f83'],
] as const)('%s at level %i gives the bytes it has always given', (compression, level, expected) => {
  const bytes = sample();
  expect(createHash('sha256').update(bytes).digest('hex')).toBe(
    'ef8358c2b25ea13f5728a8be84d6119f60f3413e42c31d3d3b4c9590f5d61d95',
  );
  const packed = compressMember(bytes, compression, level, new ArrayBuffer(packedRoom(bytes.length)));
  expect(createHash('sha256').update(packed).digest('hex')).toBe(expected);
});
