import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { sha256 } from '../../shared/oci/digest.ts';
import { chunked } from '../../shared/stream/chunked.ts';
import { collect } from '../../shared/stream/collect.ts';
import { counted } from '../../shared/stream/counted.ts';
import { limited } from '../../shared/stream/limited.ts';
import { signalled } from '../../shared/stream/signalled.ts';
import { verified } from '../../shared/stream/verified.ts';
import { fromReadableStream, toReadableStream } from '../../shared/stream/web.ts';

async function* of(...parts: (string | Uint8Array)[]) {
  for (const part of parts) yield Buffer.from(part as string);
}
const all = async (source: AsyncIterable<Uint8Array>) => Buffer.concat(await Array.fromAsync(source));

describe('verified', () => {
  it('passes exactly the announced bytes', async () => {
    expect(String(await all(verified(of('ab', 'c'), { digest: sha256('abc'), size: 3 })))).toBe('abc');
    const sha512 = `sha512:${'ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f'}`;
    expect(String(await all(verified(of('abc'), { digest: sha512 as `sha512:${string}` })))).toBe('abc');
  });

  it('fails on a wrong digest, too few bytes, and the first byte too many', async () => {
    await expect(all(verified(of('abd'), { digest: sha256('abc') }))).rejects.toMatchObject({ code: 'DIGEST_MISMATCH' });
    await expect(all(verified(of('ab'), { size: 3 }))).rejects.toMatchObject({ code: 'SIZE_MISMATCH' });
    let pulled = 0;
    async function* endless() {
      for (;;) {
        pulled++;
        yield Buffer.from('ab');
      }
    }
    const seen: string[] = [];
    const drain = async () => {
      for await (const chunk of verified(endless(), { size: 5 })) seen.push(String(chunk));
    };
    await expect(drain()).rejects.toMatchObject({ code: 'SIZE_MISMATCH' });
    expect([seen.join(''), pulled]).toEqual(['abab', 3]);
  });
});

describe('the small ones', () => {
  it('limits, counts, collects', async () => {
    await expect(all(limited(of('abc', 'd'), 3))).rejects.toMatchObject({ code: 'TOO_LARGE' });
    expect(String(await all(limited(of('abc'), 3)))).toBe('abc');
    const totals: number[] = [];
    await all(counted(of('a', 'bc'), (total) => totals.push(total)));
    expect(totals).toEqual([1, 3]);
    expect(String(await collect(of('a', 'b'), 2))).toBe('ab');
    await expect(collect(of('a', 'b'), 1)).rejects.toMatchObject({ code: 'TOO_LARGE' });
  });

  it('cancels between chunks', async () => {
    const controller = new AbortController();
    const drain = async () => {
      for await (const _ of signalled(of('a', 'b', 'c'), controller.signal)) controller.abort();
    };
    await expect(drain()).rejects.toMatchObject({ code: 'CANCELLED' });
  });

  it('regroups any chunks to the size asked for', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(fc.uint8Array({ maxLength: 50 })), fc.integer({ min: 1, max: 40 }), async (parts, size) => {
        const out = await Array.fromAsync(chunked(of(...parts), size));
        expect(Buffer.concat(out).equals(Buffer.concat(parts))).toBe(true);
        expect(out.slice(0, -1).every((chunk) => chunk.length === size)).toBe(true);
        expect(out.every((chunk) => chunk.length > 0)).toBe(true);
      }),
    );
  });
});

describe('web streams', () => {
  it('pulls one chunk at a time and only when asked', async () => {
    let pulled = 0;
    async function* source() {
      for (let at = 0; at < 5; at++) {
        pulled++;
        yield Buffer.from([at]);
      }
    }
    const reader = toReadableStream(source()).getReader();
    await new Promise((resolve) => setTimeout(resolve, 5));
    expect(pulled).toBe(0);
    await reader.read();
    await new Promise((resolve) => setTimeout(resolve, 5));
    expect(pulled).toBe(1);
  });

  it('round trips, skips empty chunks, carries errors and cancellation both ways', async () => {
    expect(String(await all(fromReadableStream(toReadableStream(of('a', '', 'bc')))))).toBe('abc');
    async function* failing() {
      yield Buffer.from('a');
      throw new RangeError('broken');
    }
    await expect(all(fromReadableStream(toReadableStream(failing())))).rejects.toThrow('broken');
    let closed = false;
    async function* watched() {
      try {
        for (;;) yield Buffer.from('a');
      } finally {
        closed = true;
      }
    }
    for await (const _ of fromReadableStream(toReadableStream(watched()))) break;
    expect(closed).toBe(true);
  });
});
