// What the uploads of every Blobs driver must do: resumable, in other instances and processes too.
import { createHash } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, test } from 'vitest';
import { sha256 } from '../../shared/oci/digest.ts';
import { type BlobsUnderTest, eachOn, failing, MiB, of, textOf, watched } from './blobs-fixture.ts';
import { runChild, startChild } from './child-process.ts';
import { pattern, patternDigest } from './pattern.ts';
import { failure } from './table-suite.ts';

/** `interrupted`: bytes of the uploads that are cut off in the middle. */
export function uploadsSuite(name: string, open: () => Promise<BlobsUnderTest>, { interrupted }: { interrupted: number }): void {
  describe(name, () => {
    const on = eachOn(open);

    describe('uploads', () => {
      test('go from begin over append to finish', async () => {
        const { id, offset } = await on.blobs.begin();
        expect(offset).toBe(0);
        expect(await on.blobs.append(id, 0, of('he', 'l'))).toEqual({ id, offset: 3 });
        expect(await on.blobs.upload(id)).toEqual({ id, offset: 3 });
        expect(await on.blobs.append(id, 3, of())).toEqual({ id, offset: 3 });
        expect(await on.blobs.append(id, 3, of('lo'))).toEqual({ id, offset: 5 });
        await on.nothingVisible(sha256('hello'));
        const stat = { digest: sha256('hello'), size: 5 };
        expect(await on.blobs.finish(id, stat)).toEqual(stat);
        expect(await textOf(await on.blobs.open(stat.digest))).toBe('hello');
        expect(await on.blobs.upload(id)).toBeUndefined();
        expect((await failure(on.blobs.append(id, 5, of('!')))).code).toBe('UPLOAD_UNKNOWN');
      });

      test('can be finished with nothing in them, or nothing known', async () => {
        const empty = await on.blobs.begin();
        expect(await on.blobs.finish(empty.id, { digest: sha256('') })).toEqual({ digest: sha256(''), size: 0 });
        expect(await textOf(await on.blobs.open(sha256('')))).toBe('');
        const { id } = await on.blobs.begin();
        await on.blobs.append(id, 0, of('hello'));
        expect(await on.blobs.finish(id, {})).toEqual({ digest: sha256('hello'), size: 5 });
      });

      test('can be finished again, and not as something else', async () => {
        const { id } = await on.blobs.begin();
        await on.blobs.append(id, 0, of('hello'));
        const stat = { digest: sha256('hello'), size: 5 };
        await on.blobs.finish(id, stat);
        expect(await on.blobs.finish(id, stat)).toEqual(stat);
        expect(await (await on.tested.another()).finish(id, { digest: stat.digest })).toEqual(stat);
        expect((await failure(on.blobs.finish(id, { digest: sha256('other') }))).code).toBe('DIGEST_MISMATCH');
        expect((await failure(on.blobs.finish(id, { ...stat, size: 6 }))).code).toBe('SIZE_MISMATCH');
        await on.blobs.abort(id);
        expect(await textOf(await on.blobs.open(stat.digest))).toBe('hello');
      });

      test('whose bytes are there already are finished all the same', async () => {
        await on.blobs.put(of('hello'));
        for (let round = 0; round < 2; round++) {
          const { id } = await on.blobs.begin();
          await on.blobs.append(id, 0, of('hello'));
          const stat = { digest: sha256('hello'), size: 5 };
          expect(await on.blobs.finish(id, stat)).toEqual(stat);
          expect(await on.blobs.finish(id, stat)).toEqual(stat);
        }
        expect(await textOf(await on.blobs.open(sha256('hello')))).toBe('hello');
        expect(await on.blobs.list({ limit: 10 })).toHaveLength(1);
      });

      test('finished by several at once all succeed', async () => {
        const other = await on.tested.another();
        const { id } = await on.blobs.begin();
        await on.blobs.append(id, 0, of('hello'));
        const outcomes = await Promise.allSettled(
          [on.blobs, other, on.blobs, other].map((one) => one.finish(id, { digest: sha256('hello') })),
        );
        // One that meets another at work may be told so; none may say anything else, and the blob is whole.
        for (const outcome of outcomes) {
          if (outcome.status === 'fulfilled') expect(outcome.value).toEqual({ digest: sha256('hello'), size: 5 });
          else expect(outcome.reason).toMatchObject({ code: 'CONFLICT' });
        }
        expect(outcomes.some(({ status }) => status === 'fulfilled')).toBe(true);
        expect(await textOf(await on.blobs.open(sha256('hello')))).toBe('hello');
      });

      test('stay open after a wrong digest or size', async () => {
        const { id } = await on.blobs.begin();
        await on.blobs.append(id, 0, of('hello'));
        expect((await failure(on.blobs.finish(id, { digest: sha256('other') }))).code).toBe('DIGEST_MISMATCH');
        expect((await failure(on.blobs.finish(id, { digest: sha256('hello'), size: 4 }))).code).toBe('SIZE_MISMATCH');
        await on.nothingVisible(sha256('hello'), sha256('other'));
        await on.blobs.append(id, 5, of('!'));
        expect(await on.blobs.finish(id, { digest: sha256('hello!') })).toEqual({ digest: sha256('hello!'), size: 6 });
      });

      test('can be finished under a SHA-512 digest', async () => {
        const { id } = await on.blobs.begin();
        await on.blobs.append(id, 0, of('hello'));
        const digest = `sha512:${createHash('sha512').update('hello').digest('hex')}` as const;
        expect((await failure(on.blobs.finish(id, { digest: `sha512:${'0'.repeat(128)}` }))).code).toBe('DIGEST_MISMATCH');
        expect(await on.blobs.finish(id, { digest, size: 5 })).toEqual({ digest, size: 5 });
        expect(await textOf(await on.blobs.open(digest))).toBe('hello');
      });

      test('take bytes at their offset only', async () => {
        const { id } = await on.blobs.begin();
        await on.blobs.append(id, 0, of('hello'));
        for (const offset of [0, 4, 6, -1, Number.NaN]) {
          const source = watched(of('x'));
          const error = await failure(on.blobs.append(id, offset, source));
          expect(error.code).toBe('UPLOAD_OFFSET');
          expect(error.details?.offset).toBe(5);
          expect(source).toMatchObject({ read: 0, returned: true });
        }
        expect(await on.blobs.finish(id, { digest: sha256('hello') })).toMatchObject({ size: 5 });
      });

      test('keep what came before the source failed or was cancelled', async () => {
        const { id } = await on.blobs.begin();
        const broken = new Error('the client went away');
        await expect(on.blobs.append(id, 0, failing(broken, 'he', 'l'))).rejects.toBe(broken);
        expect(await on.blobs.upload(id)).toEqual({ id, offset: 3 });
        const abort = new AbortController();
        async function* stalling(): AsyncGenerator<Uint8Array> {
          yield Buffer.from('l');
          setTimeout(() => abort.abort(), 20);
          await new Promise(() => undefined);
        }
        expect((await failure(on.blobs.append(id, 3, stalling(), { signal: abort.signal }))).code).toBe('CANCELLED');
        expect(await on.blobs.upload(id)).toEqual({ id, offset: 4 });
        await on.blobs.append(id, 4, of('o'));
        expect(await on.blobs.finish(id, { digest: sha256('hello') })).toMatchObject({ size: 5 });
      });

      test('are forgotten when aborted', async () => {
        const { id } = await on.blobs.begin();
        await on.blobs.append(id, 0, pattern(1, 0, 9 * MiB));
        await on.blobs.abort(id);
        expect(await on.blobs.upload(id)).toBeUndefined();
        expect((await failure(on.blobs.append(id, 9 * MiB, of('x')))).code).toBe('UPLOAD_UNKNOWN');
        expect((await failure(on.blobs.finish(id, {}))).code).toBe('UPLOAD_UNKNOWN');
        await on.blobs.abort(id);
        await on.nothingVisible(await patternDigest(1, 9 * MiB));
        expect(await on.tested.leftovers()).toEqual([]);
      });

      test('that never were are unknown', async () => {
        for (const id of ['nothing', '', '../oci-layout', '.swept', '0'.repeat(32), '..', 'a#state', '\u0000']) {
          expect(await on.blobs.upload(id)).toBeUndefined();
          const source = watched(of('x'));
          expect((await failure(on.blobs.append(id, 0, source))).code).toBe('UPLOAD_UNKNOWN');
          expect(source).toMatchObject({ read: 0, returned: true });
          expect((await failure(on.blobs.finish(id, { digest: sha256('') }))).code).toBe('UPLOAD_UNKNOWN');
          await on.blobs.abort(id);
        }
      });

      test('go on in another instance and in another process', async () => {
        const sizes = [100, 6 * MiB, 1, 20 * MiB, 3 * MiB + 5, 0, 2 * MiB];
        const total = sizes.reduce((sum, size) => sum + size, 0);
        const { id } = await on.blobs.begin();
        let offset = 0;
        for (const [n, size] of sizes.entries()) {
          if (n % 2 === 0) {
            const one = n % 4 === 0 ? on.blobs : await on.tested.another();
            expect(await one.append(id, offset, pattern(2, offset, size))).toEqual({ id, offset: offset + size });
          } else {
            expect(await runChild('append', on.tested.spec, id, offset, 2, size)).toMatchObject({ offset: offset + size });
          }
          offset += size;
          expect(await on.blobs.upload(id)).toEqual({ id, offset });
        }
        const digest = await patternDigest(2, total);
        expect(await runChild('finish', on.tested.spec, id, { digest, size: total })).toEqual({ digest, size: total });
        const hash = createHash('sha256');
        for await (const chunk of (await on.blobs.open(digest))!.body) hash.update(chunk);
        expect(`sha256:${hash.digest('hex')}`).toBe(digest);
      });

      test('cut off by SIGKILL go on where they were, with nothing visible between', async () => {
        const digest = await patternDigest(9, interrupted);
        const { id } = await on.blobs.begin();
        await on.blobs.append(id, 0, pattern(9, 0, 1000));
        const child = startChild('append-and-stall', on.tested.spec, id, 1000, 9, interrupted - 2000);
        expect(await child.line()).toBe('stalled');
        await child.kill();
        await on.nothingVisible(digest);
        const state = (await on.blobs.upload(id))!;
        expect(state.offset).toBeGreaterThanOrEqual(1000);
        expect(state.offset).toBeLessThanOrEqual(interrupted - 1000);
        await on.blobs.append(id, state.offset, pattern(9, state.offset, interrupted - state.offset));
        expect(await on.blobs.finish(id, { digest, size: interrupted })).toEqual({ digest, size: interrupted });
      });

      test('two requests at once never mix their bytes', async () => {
        const other = await on.tested.another();
        const { id } = await on.blobs.begin();
        await on.blobs.append(id, 0, of('start '));
        async function* slow(text: string): AsyncGenerator<Uint8Array> {
          for (const letter of text) {
            await sleep(2);
            yield Buffer.from(letter);
          }
        }
        const texts = ['first first', 'second one!'];
        const outcomes = await Promise.allSettled([
          on.blobs.append(id, 6, slow(texts[0]!)),
          other.append(id, 6, slow(texts[1]!)),
        ]);
        for (const outcome of outcomes) {
          if (outcome.status === 'rejected') expect(outcome.reason.code).toMatch(/^(CONFLICT|UPLOAD_OFFSET)$/);
        }
        const winners = outcomes.flatMap(({ status }, n) => (status === 'fulfilled' ? [n] : []));
        expect(winners).toHaveLength(1);
        const text = `start ${texts[winners[0]!]}`;
        expect(await on.blobs.finish(id, { digest: sha256(text) })).toMatchObject({ size: text.length });
      });
    });
  });
}
