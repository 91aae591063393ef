import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { gzipSync, zstdCompressSync } from 'node:zlib';
import { describe, expect, it } from 'vitest';
import { decompress, formatOf, sniff } from '../../shared/stream/decompress.ts';

async function* pieces(bytes: Uint8Array, size: number) {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
}

const all = async (source: AsyncIterable<Uint8Array>) => Buffer.concat(await Array.fromAsync(source));

const text = Buffer.concat([
  Buffer.alloc(300_000, 'slipway '),
  randomBytes(200_000),
  Buffer.alloc(1_500_000),
  Buffer.alloc(3, 'x'),
]);
const tool = (name: string, input: Uint8Array) => execFileSync(name, ['-c'], { input, maxBuffer: 1 << 26 });

const compressors: Readonly<Record<string, (input: Uint8Array) => Uint8Array>> = {
  gzip: (input) => gzipSync(input),
  zstd: (input) => zstdCompressSync(input),
  bzip2: (input) => tool('bzip2', input),
  xz: (input) => tool('xz', input),
};

describe('decompress', () => {
  for (const [name, compress] of Object.entries(compressors)) {
    describe(name, () => {
      it('gives back what was compressed, however the bytes are cut', async () => {
        const packed = compress(text);
        expect(formatOf(packed)).toBe(name);
        for (const size of [packed.length, 65_537, 4_099]) {
          expect((await all(decompress(pieces(packed, size)))).equals(text)).toBe(true);
        }
        const small = compress(Buffer.from('hello'));
        expect(String(await all(decompress(pieces(small, 1))))).toBe('hello');
        expect(await all(decompress(pieces(compress(Buffer.alloc(0)), 3)))).toHaveLength(0);
      });

      it('reads several members in a row', async () => {
        const packed = Buffer.concat([compress(Buffer.from('one ')), compress(text), compress(Buffer.from(' three'))]);
        for (const size of [packed.length, 10_007]) {
          const out = await all(decompress(pieces(packed, size)));
          expect(out.length).toBe(text.length + 10);
          expect(out.equals(Buffer.concat([Buffer.from('one '), text, Buffer.from(' three')]))).toBe(true);
        }
      });

      it('refuses cut off and damaged data', async () => {
        const packed = compress(text);
        for (const length of [packed.length - 1, packed.length - 9, packed.length >> 1, 7]) {
          await expect(all(decompress(pieces(packed.subarray(0, length), 9_001)))).rejects.toMatchObject({
            code: 'INVALID_ARCHIVE',
          });
        }
        if (name === 'zstd') return; // frames carry no checksum unless asked for
        const damaged = Uint8Array.from(packed);
        damaged[packed.length - 100_000]! ^= 0x55;
        await expect(all(decompress(pieces(damaged, 9_001)))).rejects.toMatchObject({ code: 'INVALID_ARCHIVE' });
      });

      it('stops at the limit', async () => {
        const bomb = compress(Buffer.alloc(5_000_000));
        let seen = 0;
        const drain = async () => {
          for await (const chunk of decompress(pieces(bomb, 1 << 20), { limit: 1_000_000, what: 'a.tar' })) seen += chunk.length;
        };
        await expect(drain()).rejects.toMatchObject({ code: 'TOO_LARGE' });
        expect(seen).toBeLessThanOrEqual(1_000_000);
      });

      it('passes an error of the source on and closes the source when left early', async () => {
        const packed = compress(text);
        async function* failing() {
          yield packed.subarray(0, 5_000);
          throw new TypeError('the source broke');
        }
        await expect(all(decompress(failing()))).rejects.toThrow('the source broke');
        let closed = false;
        async function* endless() {
          try {
            for (;;) yield* pieces(packed, 10_000);
          } finally {
            closed = true;
          }
        }
        for await (const _ of decompress(endless())) break;
        await expect.poll(() => closed, { timeout: 30_000 }).toBe(true);
      });
    });
  }

  it('passes unknown bytes and short streams through untouched', async () => {
    for (const bytes of [Buffer.from(''), Buffer.from('a'), Buffer.from('BZ'), randomBytes(100_000).fill(1, 0, 6)]) {
      expect((await all(decompress(pieces(bytes, 1000)))).equals(bytes)).toBe(true);
    }
  });

  it('skips skippable zstd frames and refuses what follows the last frame', async () => {
    const skippable = Buffer.from([0x53, 0x2a, 0x4d, 0x18, 4, 0, 0, 0, 1, 2, 3, 4]);
    const packed = Buffer.concat([skippable, zstdCompressSync(Buffer.from('a')), skippable, zstdCompressSync(Buffer.from('b'))]);
    expect(String(await all(decompress(pieces(packed, 5))))).toBe('ab');
    await expect(all(decompress(pieces(Buffer.concat([packed, Buffer.from('more')]), 5)))).rejects.toMatchObject({
      code: 'INVALID_ARCHIVE',
    });
  });

  it('sniffs without losing a byte', async () => {
    const { format, bytes } = await sniff(pieces(gzipSync('x'), 1));
    expect(format).toBe('gzip');
    expect(await all(bytes)).toEqual(Buffer.from(gzipSync('x')));
  });
});
