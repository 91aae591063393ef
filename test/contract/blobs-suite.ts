// What every Blobs driver must do, but for uploads. `open` gives a fresh, empty store; `spec` lets other OS processes open the same one.
import { createHash } from 'node:crypto';
import { Readable } from 'node:stream';
import { beforeEach, describe, expect, test } from 'vitest';
import { type Digest, sha256 } from '../../shared/oci/digest.ts';
import type { ByteRange } from '../../shared/store/blobs.ts';
import { type BlobsUnderTest, eachOn, failing, MiB, of, textOf, watched } from './blobs-fixture.ts';
import { startChild } from './child-process.ts';
import { pattern, patternDigest } from './pattern.ts';
import { failure } from './table-suite.ts';

/** `interrupted`: bytes of the blobs that are cut off in the middle. */
export function blobsSuite(name: string, open: () => Promise<BlobsUnderTest>, { interrupted }: { interrupted: number }): void {
  describe(name, () => {
    const on = eachOn(open);

    describe('put', () => {
      test('keeps bytes under their digest', async () => {
        const digest = sha256('hello');
        await on.nothingVisible(digest);
        const stat = { digest, size: 5 };
        expect(await on.blobs.put(of('he', '', 'llo'), stat)).toEqual(stat);
        expect(await on.blobs.stat(digest)).toEqual(stat);
        const body = await on.blobs.open(digest);
        expect({ digest: body?.digest, size: body?.size, text: await textOf(body) }).toEqual({ ...stat, text: 'hello' });
        expect(await (await on.tested.another()).stat(digest)).toEqual(stat);
        expect(await on.tested.leftovers()).toEqual([]);
      });

      test.each([
        ['nothing', {}],
        ['the digest', { digest: sha256('hello') }],
        ['the size', { size: 5 }],
      ])('takes bytes of which %s is known', async (_, expected) => {
        expect(await on.blobs.put(of('hel', 'lo'), expected)).toEqual({ digest: sha256('hello'), size: 5 });
        expect(await textOf(await on.blobs.open(sha256('hello')))).toBe('hello');
      });

      test('takes no bytes at all', async () => {
        const digest = sha256('');
        expect(await on.blobs.put(of())).toEqual({ digest, size: 0 });
        expect(await textOf(await on.blobs.open(digest))).toBe('');
        expect(await textOf(await on.blobs.open(digest, { start: 0, end: 0 }))).toBe('');
      });

      test('takes web streams, Node streams, and sources that reuse their buffer', async () => {
        const web = new Response('web stream').body!;
        expect((await on.blobs.put(web)).digest).toBe(sha256('web stream'));
        expect((await on.blobs.put(Readable.from([Buffer.from('node '), Buffer.from('stream')]))).digest).toBe(
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
        const { digest } = await on.blobs.put(reusing());
        expect(digest).toBe(`sha256:${hash.digest('hex')}`);
        const read = createHash('sha256');
        for await (const chunk of (await on.blobs.open(digest))!.body) read.update(chunk);
        expect(`sha256:${read.digest('hex')}`).toBe(digest);
      });

      test('takes SHA-512 digests', async () => {
        const digest = `sha512:${createHash('sha512').update('hello').digest('hex')}` as const;
        expect(await on.blobs.put(of('hello'), { digest })).toEqual({ digest, size: 5 });
        expect((await failure(on.blobs.put(of('other'), { digest: `sha512:${'0'.repeat(128)}` }))).code).toBe('DIGEST_MISMATCH');
        expect(await textOf(await on.blobs.open(digest))).toBe('hello');
        expect(await on.blobs.list({ limit: 10 })).toEqual([{ digest, size: 5 }]);
      });

      test.each([
        ['other bytes', 'DIGEST_MISMATCH', { digest: sha256('hello') }, 'jello'],
        ['other bytes of the right size', 'DIGEST_MISMATCH', { digest: sha256('hello'), size: 5 }, 'jello'],
        ['too few bytes', 'SIZE_MISMATCH', { digest: sha256('hello'), size: 5 }, 'hell'],
        ['too many bytes', 'SIZE_MISMATCH', { digest: sha256('hello'), size: 5 }, 'hello!'],
        ['too few bytes of no known digest', 'SIZE_MISMATCH', { size: 6 }, 'hello'],
      ] as const)('refuses %s and shows nothing', async (_, code, expected, text) => {
        expect((await failure(on.blobs.put(of(text), expected))).code).toBe(code);
        await on.nothingVisible(sha256('hello'), sha256(text));
        expect(await on.tested.leftovers()).toEqual([]);
      });

      test('stops reading a source that gives more than was announced', async () => {
        const source = watched(pattern(1, 0, 100 * MiB));
        expect((await failure(on.blobs.put(source, { size: 3 * MiB }))).code).toBe('SIZE_MISMATCH');
        expect(source.read).toBeLessThan(8);
        expect(source.returned).toBe(true);
      });

      test('passes on the failure of its source, and shows nothing', async () => {
        const broken = new Error('the client went away');
        await expect(on.blobs.put(failing(broken, 'hel'), { digest: sha256('hello') })).rejects.toBe(broken);
        await on.nothingVisible(sha256('hello'), sha256('hel'));
        expect(await on.tested.leftovers()).toEqual([]);
      });

      test('does not read a source whose blob is there', async () => {
        await on.blobs.put(of('hello'));
        const source = watched(of('hello'));
        const stat = { digest: sha256('hello'), size: 5 };
        expect(await on.blobs.put(source, { digest: stat.digest })).toEqual(stat);
        expect(source).toMatchObject({ read: 0, returned: true });
        let cancelled = false;
        const web = new ReadableStream<Uint8Array>({
          cancel() {
            cancelled = true;
          },
        });
        expect(await on.blobs.put(web, { digest: stat.digest })).toEqual(stat);
        expect(cancelled).toBe(true);
        const node = new Readable({ read: () => undefined });
        expect(await on.blobs.put(node, { digest: stat.digest })).toEqual(stat);
        expect(node.destroyed).toBe(true);
        expect((await failure(on.blobs.put(of(), { digest: stat.digest, size: 6 }))).code).toBe('SIZE_MISMATCH');
        expect(await on.blobs.put(of('hello'))).toEqual(stat);
        expect(await on.tested.leftovers()).toEqual([]);
      });

      test('of the same bytes by many at once succeeds for all and keeps one', async () => {
        const writers = [on.blobs, await on.tested.another(), await on.tested.another()];
        const puts = Array.from({ length: 12 }, (_, n) => {
          const expected = n % 2 === 0 ? {} : { digest: sha256('hello') };
          return writers[n % 3]!.put(of('he', 'llo'), expected);
        });
        for (const stat of await Promise.all(puts)) expect(stat).toEqual({ digest: sha256('hello'), size: 5 });
        expect(await on.blobs.list({ limit: 10 })).toHaveLength(1);
        expect(await textOf(await on.blobs.open(sha256('hello')))).toBe('hello');
        expect(await on.tested.leftovers()).toEqual([]);
      });

      test('ends when cancelled, even while the source stalls', async () => {
        const before = watched(of('hello'));
        expect((await failure(on.blobs.put(before, {}, { signal: AbortSignal.abort() }))).code).toBe('CANCELLED');
        expect(before).toMatchObject({ read: 0, returned: true });
        const abort = new AbortController();
        async function* stalling(): AsyncGenerator<Uint8Array> {
          yield Buffer.from('hel');
          setTimeout(() => abort.abort(), 20);
          await new Promise(() => undefined);
        }
        expect((await failure(on.blobs.put(stalling(), {}, { signal: abort.signal }))).code).toBe('CANCELLED');
        await on.nothingVisible(sha256('hel'), sha256('hello'));
        expect(await on.tested.leftovers()).toEqual([]);
      });

      test('cut off by SIGKILL shows nothing, and can be done again', async () => {
        const digest = await patternDigest(7, interrupted);
        for (const expected of [{ digest, size: interrupted }, {}]) {
          const child = startChild('put-and-stall', on.tested.spec, 7, interrupted - 1000, expected);
          expect(await child.line()).toBe('stalled');
          await child.kill();
          await on.nothingVisible(digest);
        }
        expect(await on.blobs.put(pattern(7, 0, interrupted), { digest })).toEqual({ digest, size: interrupted });
      });
    });

    describe('open', () => {
      const whole = 'abcdefghij';
      beforeEach(async () => void (await on.blobs.put(of(whole))));

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
        const body = await on.blobs.open(sha256(whole), range);
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
        expect((await failure(on.blobs.open(sha256(whole), range))).code).toBe('USAGE');
      });

      test('gives ranges of a blob of several chunks', async () => {
        const size = 3 * MiB + 17;
        const { digest } = await on.blobs.put(pattern(5, 0, size));
        for (const [start, end] of [
          [0, size],
          [1, size - 1],
          [MiB - 1, 2 * MiB + 1],
          [size - 1, size],
        ] as const) {
          const body = await new Response((await on.blobs.open(digest, { start, end }))!.body).bytes();
          const wanted: Uint8Array[] = [];
          for await (const chunk of pattern(5, start, end - start)) wanted.push(chunk);
          expect(Buffer.compare(body, Buffer.concat(wanted))).toBe(0);
        }
      });

      test('can be left early', async () => {
        const { digest } = await on.blobs.put(pattern(5, 0, 5 * MiB));
        for await (const chunk of (await on.blobs.open(digest))!.body) {
          expect(chunk.length).toBeGreaterThan(0);
          break;
        }
        await (await on.blobs.open(digest))!.body.cancel();
        expect(await on.blobs.delete(digest)).toBe(true);
      });

      test('refuses what is no digest', async () => {
        for (const digest of ['sha256:../../oci-layout', `sha256:${'A'.repeat(64)}`, 'md5:00', ''] as Digest[]) {
          expect((await failure(on.blobs.stat(digest))).code).toBe('INVALID_DIGEST');
          expect((await failure(on.blobs.open(digest))).code).toBe('INVALID_DIGEST');
          expect((await failure(on.blobs.delete(digest))).code).toBe('INVALID_DIGEST');
          expect((await failure(on.blobs.put(of('x'), { digest }))).code).toBe('INVALID_DIGEST');
        }
      });
    });

    test('delete tells whether there was something, and lets it be put again', async () => {
      const digest = sha256('hello');
      expect(await on.blobs.delete(digest)).toBe(false);
      await on.blobs.put(of('hello'));
      expect(await on.blobs.delete(digest)).toBe(true);
      await on.nothingVisible(digest);
      expect(await on.tested.leftovers()).toEqual([]);
      expect(await on.blobs.delete(digest)).toBe(false);
      await on.blobs.put(of('hello'), { digest });
      expect(await textOf(await on.blobs.open(digest))).toBe('hello');
    });

    test('list pages through all digests in order', async () => {
      const all: Digest[] = [];
      for (let n = 0; n < 23; n++) all.push((await on.blobs.put(of(`blob ${n}`))).digest);
      const long = `sha512:${createHash('sha512').update('x').digest('hex')}` as const;
      await on.blobs.put(of('x'), { digest: long });
      all.push(long);
      all.sort();
      for (const limit of [1, 5, 24, 100]) {
        const seen: Digest[] = [];
        for (let after: Digest | undefined; ; ) {
          const page = await on.blobs.list({ limit, ...(after === undefined ? {} : { after }) });
          seen.push(...page.map(({ digest }) => digest));
          after = page.at(-1)?.digest;
          if (page.length < limit) break;
        }
        expect(seen).toEqual(all);
      }
      expect(await on.blobs.list({ limit: 1, after: `sha256:${'f'.repeat(64)}` })).toEqual([{ digest: long, size: 1 }]);
    });

    test('stops everything when cancelled beforehand', async () => {
      const options = { signal: AbortSignal.abort('enough') };
      const { digest } = await on.blobs.put(of('hello'));
      const { id } = await on.blobs.begin();
      for (const work of [
        on.blobs.stat(digest, options),
        on.blobs.open(digest, undefined, options),
        on.blobs.begin(options),
        on.blobs.upload(id, options),
        on.blobs.append(id, 0, of('x'), options),
        on.blobs.finish(id, {}, options),
        on.blobs.abort(id, options),
        on.blobs.list({ limit: 1 }, options),
        on.blobs.delete(digest, options),
      ]) {
        expect((await failure(work)).code).toBe('CANCELLED');
      }
      expect(await on.blobs.stat(digest)).toBeDefined();
      expect(await on.blobs.upload(id)).toEqual({ id, offset: 0 });
    });
  });
}
