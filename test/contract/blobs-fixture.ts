// What the suites of the Blobs port share: a store made fresh for each test, sources of every kind, and what must not be seen.
import { afterEach, beforeEach, expect } from 'vitest';
import type { Digest } from '../../shared/oci/digest.ts';
import type { BlobBody, Blobs, Bytes } from '../../shared/store/blobs.ts';
import type { BlobsSpec } from './drivers.ts';

export interface BlobsUnderTest extends AsyncDisposable {
  readonly blobs: Blobs;
  readonly spec: BlobsSpec;
  /** Another instance over the same store, with no memory of what the first one did. */
  another(): Promise<Blobs>;
  /** Everything the medium holds, as names: to see that nothing is left over. */
  leftovers(): Promise<readonly string[]>;
}

export const MiB = 1 << 20;

export async function* of(...chunks: readonly (string | Uint8Array)[]): AsyncGenerator<Uint8Array> {
  for (const chunk of chunks) yield typeof chunk === 'string' ? Buffer.from(chunk) : chunk;
}

export async function* failing(error: Error, ...chunks: readonly string[]): AsyncGenerator<Uint8Array> {
  yield* of(...chunks);
  throw error;
}

export const textOf = (body: BlobBody | undefined): Promise<string> => new Response(body?.body).text();

/** An iterable that tells what was done to it. */
export function watched(source: AsyncGenerator<Uint8Array>): Bytes & { read: number; returned: boolean } {
  const watch = {
    read: 0,
    returned: false,
    [Symbol.asyncIterator]: () => ({
      next: () => {
        watch.read++;
        return source.next();
      },
      return: () => {
        watch.returned = true;
        return source.return(undefined);
      },
    }),
  };
  return watch;
}
/** What the test that runs now works on. */
export interface Current {
  readonly tested: BlobsUnderTest;
  readonly blobs: Blobs;
  nothingVisible(...digests: readonly Digest[]): Promise<void>;
}

/** Opens a store before each test of the suite that calls this, and closes it after. */
export function eachOn(open: () => Promise<BlobsUnderTest>): Current {
  let tested: BlobsUnderTest;
  beforeEach(async () => {
    tested = await open();
  });
  afterEach(() => tested[Symbol.asyncDispose]());
  return {
    get tested() {
      return tested;
    },
    get blobs() {
      return tested.blobs;
    },
    async nothingVisible(...digests) {
      expect(await tested.blobs.list({ limit: 10 })).toEqual([]);
      for (const digest of digests) {
        expect(await tested.blobs.stat(digest)).toBeUndefined();
        expect(await tested.blobs.open(digest)).toBeUndefined();
      }
    },
  };
}
