import { Readable } from 'node:stream';
import { describe, expect, test } from 'vitest';
import { cancelSource, pull } from '../../shared/store/source.ts';

async function collect(source: AsyncIterable<Uint8Array>): Promise<string> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of source) chunks.push(chunk);
  return Buffer.concat(chunks).toString();
}

describe('pull', () => {
  test('passes chunks on and leaves out empty ones', async () => {
    const chunks: number[] = [];
    for await (const chunk of pull(Readable.from([Buffer.from('a'), Buffer.alloc(0), Buffer.from('bc')]), undefined))
      chunks.push(chunk.length);
    expect(chunks).toEqual([1, 2]);
  });

  test('leaves no listener on the signal', async () => {
    const { signal } = new AbortController();
    let added = 0;
    let removed = 0;
    signal.addEventListener = () => void added++;
    signal.removeEventListener = () => void removed++;
    expect(await collect(pull(Readable.from([Buffer.from('a')]), signal))).toBe('a');
    expect([added, removed]).toEqual([1, 1]);
  });

  test('cancels its source when left early, and when the signal fires while it stalls', async () => {
    const reasons: string[] = [];
    const stream = (name: string) =>
      new ReadableStream<Uint8Array>({
        start: (controller) => controller.enqueue(Buffer.from('a')),
        cancel: () => void reasons.push(name),
      });
    for await (const _ of pull(stream('left'), undefined)) break;
    const abort = new AbortController();
    const reading = collect(pull(stream('aborted'), abort.signal));
    setTimeout(() => abort.abort(), 5);
    await expect(reading).rejects.toMatchObject({ code: 'CANCELLED' });
    await expect.poll(() => reasons, { timeout: 30_000 }).toEqual(['left', 'aborted']);
  });
});

describe('cancelSource', () => {
  test('tells web streams, Node streams and iterators', async () => {
    const told: string[] = [];
    cancelSource(new ReadableStream({ cancel: () => void told.push('web') }));
    const node = new Readable({ read: () => undefined });
    cancelSource(node);
    cancelSource({
      [Symbol.asyncIterator]: () => ({
        next: async () => ({ done: true, value: undefined }),
        return: async () => {
          told.push('iterator');
          return { done: true, value: undefined };
        },
      }),
    });
    expect(told).toEqual(['web', 'iterator']);
    expect(node.destroyed).toBe(true);
  });

  test('does not pass on a failure to give up', async () => {
    cancelSource(new ReadableStream({ cancel: () => Promise.reject(new Error('no')) }));
    await new Promise((resolve) => setTimeout(resolve, 1));
  });
});
