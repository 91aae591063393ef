// What every Blobs driver must do. `open` gives a fresh, empty store; `spec` lets other OS processes open the same one.
import { createHash } from 'node:crypto';
import { Readable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { type Digest, sha256 } from '../../shared/oci/digest.ts';
import type { BlobBody, BlobStat, Blobs, ByteRange, Bytes, UploadState } from '../../shared/store/blobs.ts';
import { runChild, startChild } from './child-process.ts';
import type { BlobsSpec } from './drivers.ts';
import { pattern, patternDigest } from './pattern.ts';
import { failure } from './table-suite.ts';

export interface BlobsUnderTest extends AsyncDisposable {
  readonly blobs: Blobs;
  readonly spec: BlobsSpec;
  /** Another instance over the same store, with no memory of what the first one did. */
  another(): Promise<Blobs>;
  /** Everything the medium holds, as names: to see that nothing is left over. */
  leftovers(): Promise<readonly string[]>;
}

export interface Scale {
  /** Bytes of the blob that shows that memory does not grow with it. */
  readonly large: number;
  /** The same for an upload, whose hash is slower. More than the memory limit. */
  readonly medium: number;
  /** Bytes of the blobs that are cut off in the middle. */
  readonly interrupted: number;
}

const MiB = 1 << 20;
/** Peak resident memory of a process that moves a blob of any size, node itself (50 MB) and an SDK (60 MB) included. */
const memoryLimit = 300 * 1000 * 1000;

async function* of(...chunks: readonly (string | Uint8Array)[]): AsyncGenerator<Uint8Array> {
  for (const chunk of chunks) yield typeof chunk === 'string' ? Buffer.from(chunk) : chunk;
}

async function* failing(error: Error, ...chunks: readonly string[]): AsyncGenerator<Uint8Array> {
  yield* of(...chunks);
  throw error;
}

const textOf = (body: BlobBody | undefined): Promise<string> => new Response(body?.body).text();

/** An iterable that tells what was done to it. */
function watched(source: AsyncGenerator<Uint8Array>): Bytes & { read: number; returned: boolean } {
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

export function blobsSuite(name: string, open: () => Promise<BlobsUnderTest>, { large, medium, interrupted }: Scale): void {
  describe(name, () => {
    let tested: BlobsUnderTest;
    let blobs: Blobs;
    beforeEach(async () => {
      tested = await open();
      blobs = tested.blobs;
    });
    afterEach(() => tested[Symbol.asyncDispose]());

    const nothingVisible = async (...digests: readonly Digest[]): Promise<void> => {
      expect(await blobs.list({ limit: 10 })).toEqual([]);
      for (const digest of digests) {
        expect(await blobs.stat(digest)).toBeUndefined();
        expect(await blobs.open(digest)).toBeUndefined();
      }
    };

    describe('put', () => {
      test('keeps bytes under their digest', async () => {
        const digest = sha256('hello');
        await nothingVisible(digest);
        const stat = { digest, size: 5 };
        expect(await blobs.put(of('he', '', 'llo'), stat)).toEqual(stat);
        expect(await blobs.stat(digest)).toEqual(stat);
        const body = await blobs.open(digest);
        expect({ digest: body?.digest, size: body?.size, text: await textOf(body) }).toEqual({ ...stat, text: 'hello' });
        expect(await (await tested.another()).stat(digest)).toEqual(stat);
        expect(await tested.leftovers()).toEqual([]);
      });

      test.each([
        ['nothing', {}],
        ['the digest', { digest: sha256('hello') }],
        ['the size', { size: 5 }],
      ])('takes bytes of which %s is known', async (_, expected) => {
        expect(await blobs.put(of('hel', 'lo'), expected)).toEqual({ digest: sha256('hello'), size: 5 });
        expect(await textOf(await blobs.open(sha256('hello')))).toBe('hello');
      });

      test('takes no bytes at all', async () => {
        const digest = sha256('');
        expect(await blobs.put(of())).toEqual({ digest, size: 0 });
        expect(await textOf(await blobs.open(digest))).toBe('');
        expect(await textOf(await blobs.open(digest, { start: 0, end: 0 }))).toBe('');
      });

      test('takes web streams, Node streams, and sources that reuse their buffer', async () => {
        const web = new Response('web stream').body!;
        expect((await blobs.put(web)).digest).toBe(sha256('web stream'));
        expect((await blobs.put(Readable.from([Buffer.from('node '), Buffer.from('stream')]))).digest).toBe(
          sha256('node stream'),
        );
        const hash = createHash('sha256');
        async function* reusing(): AsyncGenerator<Uint8Array> {
          for (const size of [300_000, 1000, 1000, 900_000, 3 * MiB, 7]) {
            const buffer = Buffer.alloc(size, size % 251);
            hash.update(buffer);
            yield buffer;
            buffer.fill(0);
          }
        }
        const { digest } = await blobs.put(reusing());
        expect(digest).toBe(`sha256:${hash.digest('hex')}`);
        const read = createHash('sha256');
        for await (const chunk of (await blobs.open(digest))!.body) read.update(chunk);
        expect(`sha256:${read.digest('hex')}`).toBe(digest);
      });

      test('takes SHA-512 digests', async () => {
        const digest = `sha512:${createHash('sha512').update('hello').digest('hex')}` as const;
        expect(await blobs.put(of('hello'), { digest })).toEqual({ digest, size: 5 });
        expect((await failure(blobs.put(of('other'), { digest: `sha512:${'0'.repeat(128)}` }))).code).toBe('DIGEST_MISMATCH');
        expect(await textOf(await blobs.open(digest))).toBe('hello');
        expect(await blobs.list({ limit: 10 })).toEqual([{ digest, size: 5 }]);
      });

      test.each([
        ['other bytes', 'DIGEST_MISMATCH', { digest: sha256('hello') }, 'jello'],
        ['other bytes of the right size', 'DIGEST_MISMATCH', { digest: sha256('hello'), size: 5 }, 'jello'],
        ['too few bytes', 'SIZE_MISMATCH', { digest: sha256('hello'), size: 5 }, 'hell'],
        ['too many bytes', 'SIZE_MISMATCH', { digest: sha256('hello'), size: 5 }, 'hello!'],
        ['too few bytes of no known digest', 'SIZE_MISMATCH', { size: 6 }, 'hello'],
      ] as const)('refuses %s and shows nothing', async (_, code, expected, text) => {
        expect((await failure(blobs.put(of(text), expected))).code).toBe(code);
        await nothingVisible(sha256('hello'), sha256(text));
        expect(await tested.leftovers()).toEqual([]);
      });

      test('stops reading a source that gives more than was announced', async () => {
        const source = watched(pattern(1, 0, 100 * MiB));
        expect((await failure(blobs.put(source, { size: 3 * MiB }))).code).toBe('SIZE_MISMATCH');
        expect(source.read).toBeLessThan(8);
        expect(source.returned).toBe(true);
      });

      test('passes on the failure of its source, and shows nothing', async () => {
        const broken = new Error('the client went away');
        await expect(blobs.put(failing(broken, 'hel'), { digest: sha256('hello') })).rejects.toBe(broken);
        await nothingVisible(sha256('hello'), sha256('hel'));
        expect(await tested.leftovers()).toEqual([]);
      });

      test('does not read a source whose blob is there', async () => {
        await blobs.put(of('hello'));
        const source = watched(of('hello'));
        const stat = { digest: sha256('hello'), size: 5 };
        expect(await blobs.put(source, { digest: stat.digest })).toEqual(stat);
        expect(source).toMatchObject({ read: 0, returned: true });
        let cancelled = false;
        const web = new ReadableStream<Uint8Array>({
          cancel() {
            cancelled = true;
          },
        });
        expect(await blobs.put(web, { digest: stat.digest })).toEqual(stat);
        expect(cancelled).toBe(true);
        const node = new Readable({ read: () => undefined });
        expect(await blobs.put(node, { digest: stat.digest })).toEqual(stat);
        expect(node.destroyed).toBe(true);
        expect((await failure(blobs.put(of(), { digest: stat.digest, size: 6 }))).code).toBe('SIZE_MISMATCH');
        expect(await blobs.put(of('hello'))).toEqual(stat);
        expect(await tested.leftovers()).toEqual([]);
      });

      test('of the same bytes by many at once succeeds for all and keeps one', async () => {
        const writers = [blobs, await tested.another(), await tested.another()];
        const puts = Array.from({ length: 12 }, (_, n) => {
          const expected = n % 2 === 0 ? {} : { digest: sha256('hello') };
          return writers[n % 3]!.put(of('he', 'llo'), expected);
        });
        for (const stat of await Promise.all(puts)) expect(stat).toEqual({ digest: sha256('hello'), size: 5 });
        expect(await blobs.list({ limit: 10 })).toHaveLength(1);
        expect(await textOf(await blobs.open(sha256('hello')))).toBe('hello');
        expect(await tested.leftovers()).toEqual([]);
      });

      test('ends when cancelled, even while the source stalls', async () => {
        const before = watched(of('hello'));
        expect((await failure(blobs.put(before, {}, { signal: AbortSignal.abort() }))).code).toBe('CANCELLED');
        expect(before).toMatchObject({ read: 0, returned: true });
        const abort = new AbortController();
        async function* stalling(): AsyncGenerator<Uint8Array> {
          yield Buffer.from('hel');
          setTimeout(() => abort.abort(), 20);
          await new Promise(() => undefined);
        }
        expect((await failure(blobs.put(stalling(), {}, { signal: abort.signal }))).code).toBe('CANCELLED');
        await nothingVisible(sha256('hel'), sha256('hello'));
        expect(await tested.leftovers()).toEqual([]);
      });

      test('cut off by SIGKILL shows nothing, and can be done again', async () => {
        const digest = await patternDigest(7, interrupted);
        for (const expected of [{ digest, size: interrupted }, {}]) {
          const child = startChild('put-and-stall', tested.spec, 7, interrupted - 1000, expected);
          expect(await child.line()).toBe('stalled');
          await child.kill();
          await nothingVisible(digest);
        }
        expect(await blobs.put(pattern(7, 0, interrupted), { digest })).toEqual({ digest, size: interrupted });
      });

      test('does not take more memory for more bytes', async () => {
        type Peak = BlobStat & { readonly peak: number };
        const { peak, ...stat } = await runChild<Peak>('put', tested.spec, 3, large, {});
        expect(stat.size).toBe(large);
        expect(peak).toBeLessThan(memoryLimit);
        const read = await runChild<Peak>('read', tested.spec, stat.digest);
        expect(read).toEqual({ ...stat, peak: expect.any(Number) });
        expect(read.peak).toBeLessThan(memoryLimit);
      }, 180_000);
    });

    describe('open', () => {
      const whole = 'abcdefghij';
      beforeEach(async () => void (await blobs.put(of(whole))));

      test.each([
        [{ start: 0 }, whole],
        [{ start: 0, end: 10 }, whole],
        [{ start: 0, end: 1 }, 'a'],
        [{ start: 3, end: 7 }, 'defg'],
        [{ start: 9 }, 'j'],
        [{ start: 9, end: 10 }, 'j'],
        [{ start: 4, end: 4 }, ''],
        [{ start: 0, end: 0 }, ''],
        [{ start: 10 }, ''],
        [{ start: 10, end: 10 }, ''],
      ] as const)('gives the range %j', async (range, text) => {
        const body = await blobs.open(sha256(whole), range);
        expect(body).toMatchObject({ digest: sha256(whole), size: 10 });
        expect(await textOf(body)).toBe(text);
      });

      test.each([
        [{ start: -1 }],
        [{ start: 11 }],
        [{ start: 0, end: 11 }],
        [{ start: 5, end: 4 }],
        [{ start: 1.5 }],
        [{ start: 0, end: Number.NaN }],
        [{ start: Number.NaN }],
        [{ start: 0, end: Number.POSITIVE_INFINITY }],
      ])('refuses the range %j', async (range: ByteRange) => {
        expect((await failure(blobs.open(sha256(whole), range))).code).toBe('USAGE');
      });

      test('gives ranges of a blob of several chunks', async () => {
        const size = 3 * MiB + 17;
        const { digest } = await blobs.put(pattern(5, 0, size));
        for (const [start, end] of [
          [0, size],
          [1, size - 1],
          [MiB - 1, 2 * MiB + 1],
          [size - 1, size],
        ] as const) {
          const body = await new Response((await blobs.open(digest, { start, end }))!.body).bytes();
          const wanted: Uint8Array[] = [];
          for await (const chunk of pattern(5, start, end - start)) wanted.push(chunk);
          expect(Buffer.compare(body, Buffer.concat(wanted))).toBe(0);
        }
      });

      test('can be left early', async () => {
        const { digest } = await blobs.put(pattern(5, 0, 5 * MiB));
        for await (const chunk of (await blobs.open(digest))!.body) {
          expect(chunk.length).toBeGreaterThan(0);
          break;
        }
        await (await blobs.open(digest))!.body.cancel();
        expect(await blobs.delete(digest)).toBe(true);
      });

      test('refuses what is no digest', async () => {
        for (const digest of ['sha256:../../oci-layout', `sha256:${'A'.repeat(64)}`, 'md5:00', ''] as Digest[]) {
          expect((await failure(blobs.stat(digest))).code).toBe('INVALID_DIGEST');
          expect((await failure(blobs.open(digest))).code).toBe('INVALID_DIGEST');
          expect((await failure(blobs.delete(digest))).code).toBe('INVALID_DIGEST');
          expect((await failure(blobs.put(of('x'), { digest }))).code).toBe('INVALID_DIGEST');
        }
      });
    });

    test('delete tells whether there was something, and lets it be put again', async () => {
      const digest = sha256('hello');
      expect(await blobs.delete(digest)).toBe(false);
      await blobs.put(of('hello'));
      expect(await blobs.delete(digest)).toBe(true);
      await nothingVisible(digest);
      expect(await tested.leftovers()).toEqual([]);
      expect(await blobs.delete(digest)).toBe(false);
      await blobs.put(of('hello'), { digest });
      expect(await textOf(await blobs.open(digest))).toBe('hello');
    });

    test('list pages through all digests in order', async () => {
      const all: Digest[] = [];
      for (let n = 0; n < 23; n++) all.push((await blobs.put(of(`blob ${n}`))).digest);
      const long = `sha512:${createHash('sha512').update('x').digest('hex')}` as const;
      await blobs.put(of('x'), { digest: long });
      all.push(long);
      all.sort();
      for (const limit of [1, 5, 24, 100]) {
        const seen: Digest[] = [];
        for (let after: Digest | undefined; ; ) {
          const page = await blobs.list({ limit, ...(after === undefined ? {} : { after }) });
          seen.push(...page.map(({ digest }) => digest));
          after = page.at(-1)?.digest;
          if (page.length < limit) break;
        }
        expect(seen).toEqual(all);
      }
      expect(await blobs.list({ limit: 1, after: `sha256:${'f'.repeat(64)}` })).toEqual([{ digest: long, size: 1 }]);
    });

    describe('uploads', () => {
      test('go from begin over append to finish', async () => {
        const { id, offset } = await blobs.begin();
        expect(offset).toBe(0);
        expect(await blobs.append(id, 0, of('he', 'l'))).toEqual({ id, offset: 3 });
        expect(await blobs.upload(id)).toEqual({ id, offset: 3 });
        expect(await blobs.append(id, 3, of())).toEqual({ id, offset: 3 });
        expect(await blobs.append(id, 3, of('lo'))).toEqual({ id, offset: 5 });
        await nothingVisible(sha256('hello'));
        const stat = { digest: sha256('hello'), size: 5 };
        expect(await blobs.finish(id, stat)).toEqual(stat);
        expect(await textOf(await blobs.open(stat.digest))).toBe('hello');
        expect(await blobs.upload(id)).toBeUndefined();
        expect((await failure(blobs.append(id, 5, of('!')))).code).toBe('UPLOAD_UNKNOWN');
      });

      test('can be finished with nothing in them, or nothing known', async () => {
        const empty = await blobs.begin();
        expect(await blobs.finish(empty.id, { digest: sha256('') })).toEqual({ digest: sha256(''), size: 0 });
        expect(await textOf(await blobs.open(sha256('')))).toBe('');
        const { id } = await blobs.begin();
        await blobs.append(id, 0, of('hello'));
        expect(await blobs.finish(id, {})).toEqual({ digest: sha256('hello'), size: 5 });
      });

      test('can be finished again, and not as something else', async () => {
        const { id } = await blobs.begin();
        await blobs.append(id, 0, of('hello'));
        const stat = { digest: sha256('hello'), size: 5 };
        await blobs.finish(id, stat);
        expect(await blobs.finish(id, stat)).toEqual(stat);
        expect(await (await tested.another()).finish(id, { digest: stat.digest })).toEqual(stat);
        expect((await failure(blobs.finish(id, { digest: sha256('other') }))).code).toBe('DIGEST_MISMATCH');
        expect((await failure(blobs.finish(id, { ...stat, size: 6 }))).code).toBe('SIZE_MISMATCH');
        await blobs.abort(id);
        expect(await textOf(await blobs.open(stat.digest))).toBe('hello');
      });

      test('whose bytes are there already are finished all the same', async () => {
        await blobs.put(of('hello'));
        for (let round = 0; round < 2; round++) {
          const { id } = await blobs.begin();
          await blobs.append(id, 0, of('hello'));
          const stat = { digest: sha256('hello'), size: 5 };
          expect(await blobs.finish(id, stat)).toEqual(stat);
          expect(await blobs.finish(id, stat)).toEqual(stat);
        }
        expect(await textOf(await blobs.open(sha256('hello')))).toBe('hello');
        expect(await blobs.list({ limit: 10 })).toHaveLength(1);
      });

      test('finished by several at once all succeed', async () => {
        const other = await tested.another();
        const { id } = await blobs.begin();
        await blobs.append(id, 0, of('hello'));
        const outcomes = await Promise.allSettled(
          [blobs, other, blobs, other].map((one) => one.finish(id, { digest: sha256('hello') })),
        );
        // One that meets another at work may be told so; none may say anything else, and the blob is whole.
        for (const outcome of outcomes) {
          if (outcome.status === 'fulfilled') expect(outcome.value).toEqual({ digest: sha256('hello'), size: 5 });
          else expect(outcome.reason).toMatchObject({ code: 'CONFLICT' });
        }
        expect(outcomes.some(({ status }) => status === 'fulfilled')).toBe(true);
        expect(await textOf(await blobs.open(sha256('hello')))).toBe('hello');
      });

      test('stay open after a wrong digest or size', async () => {
        const { id } = await blobs.begin();
        await blobs.append(id, 0, of('hello'));
        expect((await failure(blobs.finish(id, { digest: sha256('other') }))).code).toBe('DIGEST_MISMATCH');
        expect((await failure(blobs.finish(id, { digest: sha256('hello'), size: 4 }))).code).toBe('SIZE_MISMATCH');
        await nothingVisible(sha256('hello'), sha256('other'));
        await blobs.append(id, 5, of('!'));
        expect(await blobs.finish(id, { digest: sha256('hello!') })).toEqual({ digest: sha256('hello!'), size: 6 });
      });

      test('can be finished under a SHA-512 digest', async () => {
        const { id } = await blobs.begin();
        await blobs.append(id, 0, of('hello'));
        const digest = `sha512:${createHash('sha512').update('hello').digest('hex')}` as const;
        expect((await failure(blobs.finish(id, { digest: `sha512:${'0'.repeat(128)}` }))).code).toBe('DIGEST_MISMATCH');
        expect(await blobs.finish(id, { digest, size: 5 })).toEqual({ digest, size: 5 });
        expect(await textOf(await blobs.open(digest))).toBe('hello');
      });

      test('take bytes at their offset only', async () => {
        const { id } = await blobs.begin();
        await blobs.append(id, 0, of('hello'));
        for (const offset of [0, 4, 6, -1, Number.NaN]) {
          const source = watched(of('x'));
          const error = await failure(blobs.append(id, offset, source));
          expect(error.code).toBe('UPLOAD_OFFSET');
          expect(error.details?.offset).toBe(5);
          expect(source).toMatchObject({ read: 0, returned: true });
        }
        expect(await blobs.finish(id, { digest: sha256('hello') })).toMatchObject({ size: 5 });
      });

      test('keep what came before the source failed or was cancelled', async () => {
        const { id } = await blobs.begin();
        const broken = new Error('the client went away');
        await expect(blobs.append(id, 0, failing(broken, 'he', 'l'))).rejects.toBe(broken);
        expect(await blobs.upload(id)).toEqual({ id, offset: 3 });
        const abort = new AbortController();
        async function* stalling(): AsyncGenerator<Uint8Array> {
          yield Buffer.from('l');
          setTimeout(() => abort.abort(), 20);
          await new Promise(() => undefined);
        }
        expect((await failure(blobs.append(id, 3, stalling(), { signal: abort.signal }))).code).toBe('CANCELLED');
        expect(await blobs.upload(id)).toEqual({ id, offset: 4 });
        await blobs.append(id, 4, of('o'));
        expect(await blobs.finish(id, { digest: sha256('hello') })).toMatchObject({ size: 5 });
      });

      test('are forgotten when aborted', async () => {
        const { id } = await blobs.begin();
        await blobs.append(id, 0, pattern(1, 0, 9 * MiB));
        await blobs.abort(id);
        expect(await blobs.upload(id)).toBeUndefined();
        expect((await failure(blobs.append(id, 9 * MiB, of('x')))).code).toBe('UPLOAD_UNKNOWN');
        expect((await failure(blobs.finish(id, {}))).code).toBe('UPLOAD_UNKNOWN');
        await blobs.abort(id);
        await nothingVisible(await patternDigest(1, 9 * MiB));
        expect(await tested.leftovers()).toEqual([]);
      });

      test('that never were are unknown', async () => {
        for (const id of ['nothing', '', '../oci-layout', '.swept', '0'.repeat(32), '..', 'a#state', '\u0000']) {
          expect(await blobs.upload(id)).toBeUndefined();
          const source = watched(of('x'));
          expect((await failure(blobs.append(id, 0, source))).code).toBe('UPLOAD_UNKNOWN');
          expect(source).toMatchObject({ read: 0, returned: true });
          expect((await failure(blobs.finish(id, { digest: sha256('') }))).code).toBe('UPLOAD_UNKNOWN');
          await blobs.abort(id);
        }
      });

      test('go on in another instance and in another process', async () => {
        const sizes = [100, 6 * MiB, 1, 20 * MiB, 3 * MiB + 5, 0, 2 * MiB];
        const total = sizes.reduce((sum, size) => sum + size, 0);
        const { id } = await blobs.begin();
        let offset = 0;
        for (const [n, size] of sizes.entries()) {
          if (n % 2 === 0) {
            const one = n % 4 === 0 ? blobs : await tested.another();
            expect(await one.append(id, offset, pattern(2, offset, size))).toEqual({ id, offset: offset + size });
          } else {
            expect(await runChild('append', tested.spec, id, offset, 2, size)).toMatchObject({ offset: offset + size });
          }
          offset += size;
          expect(await blobs.upload(id)).toEqual({ id, offset });
        }
        const digest = await patternDigest(2, total);
        expect(await runChild('finish', tested.spec, id, { digest, size: total })).toEqual({ digest, size: total });
        const hash = createHash('sha256');
        for await (const chunk of (await blobs.open(digest))!.body) hash.update(chunk);
        expect(`sha256:${hash.digest('hex')}`).toBe(digest);
      });

      test('cut off by SIGKILL go on where they were, with nothing visible between', async () => {
        const digest = await patternDigest(9, interrupted);
        const { id } = await blobs.begin();
        await blobs.append(id, 0, pattern(9, 0, 1000));
        const child = startChild('append-and-stall', tested.spec, id, 1000, 9, interrupted - 2000);
        expect(await child.line()).toBe('stalled');
        await child.kill();
        await nothingVisible(digest);
        const state = (await blobs.upload(id))!;
        expect(state.offset).toBeGreaterThanOrEqual(1000);
        expect(state.offset).toBeLessThanOrEqual(interrupted - 1000);
        await blobs.append(id, state.offset, pattern(9, state.offset, interrupted - state.offset));
        expect(await blobs.finish(id, { digest, size: interrupted })).toEqual({ digest, size: interrupted });
      });

      test('two requests at once never mix their bytes', async () => {
        const other = await tested.another();
        const { id } = await blobs.begin();
        await blobs.append(id, 0, of('start '));
        async function* slow(text: string): AsyncGenerator<Uint8Array> {
          for (const letter of text) {
            await sleep(2);
            yield Buffer.from(letter);
          }
        }
        const texts = ['first first', 'second one!'];
        const outcomes = await Promise.allSettled([blobs.append(id, 6, slow(texts[0]!)), other.append(id, 6, slow(texts[1]!))]);
        for (const outcome of outcomes) {
          if (outcome.status === 'rejected') expect(outcome.reason.code).toMatch(/^(CONFLICT|UPLOAD_OFFSET)$/);
        }
        const winners = outcomes.flatMap(({ status }, n) => (status === 'fulfilled' ? [n] : []));
        expect(winners).toHaveLength(1);
        const text = `start ${texts[winners[0]!]}`;
        expect(await blobs.finish(id, { digest: sha256(text) })).toMatchObject({ size: text.length });
      });

      test('do not take more memory for more bytes', async () => {
        const { id } = await blobs.begin();
        const { peak, offset } = await runChild<UploadState & { peak: number }>('append', tested.spec, id, 0, 4, medium);
        expect(offset).toBe(medium);
        expect(peak).toBeLessThan(memoryLimit);
        const digest = await patternDigest(4, medium);
        expect(await blobs.finish(id, { digest, size: medium })).toEqual({ digest, size: medium });
      }, 180_000);
    });

    test('stops everything when cancelled beforehand', async () => {
      const options = { signal: AbortSignal.abort('enough') };
      const { digest } = await blobs.put(of('hello'));
      const { id } = await blobs.begin();
      for (const work of [
        blobs.stat(digest, options),
        blobs.open(digest, undefined, options),
        blobs.begin(options),
        blobs.upload(id, options),
        blobs.append(id, 0, of('x'), options),
        blobs.finish(id, {}, options),
        blobs.abort(id, options),
        blobs.list({ limit: 1 }, options),
        blobs.delete(digest, options),
      ]) {
        expect((await failure(work)).code).toBe('CANCELLED');
      }
      expect(await blobs.stat(digest)).toBeDefined();
      expect(await blobs.upload(id)).toEqual({ id, offset: 0 });
    });
  });
}
