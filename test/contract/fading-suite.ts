// What every driver must do of FadingBlobs: nobody who was told of a blob loses it, however the calls interleave.
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { type Digest, sha256 } from '../../shared/oci/digest.ts';
import type { BlobStat, Blobs, FadingBlobs } from '../../shared/store/blobs.ts';
import type { BlobsUnderTest } from './blobs-fixture.ts';

async function* of(...texts: readonly string[]): AsyncGenerator<Uint8Array> {
  for (const text of texts) yield Buffer.from(text);
}

export function fadingSuite(name: string, open: () => Promise<BlobsUnderTest>): void {
  describe(`${name}, fading`, () => {
    let tested: BlobsUnderTest;
    let blobs: Blobs;
    let fading: FadingBlobs;
    let blob: BlobStat;
    beforeEach(async () => {
      tested = await open();
      blobs = tested.blobs;
      fading = blobs.fading!;
      blob = await blobs.put(of('hello'));
    });
    afterEach(() => tested[Symbol.asyncDispose]());

    test('marks once, and drops what has the mark', async () => {
      expect(await fading.look(blob.digest)).toEqual(blob);
      expect(await fading.fade(blob.digest, 5000)).toBe(5000);
      expect(await fading.fade(blob.digest, 9000)).toBe(5000);
      expect(await fading.look(blob.digest)).toEqual({ ...blob, since: 5000 });
      expect(await fading.list({ limit: 10 })).toEqual([{ ...blob, since: 5000 }]);
      // Neither of which is a question.
      expect(await blobs.list({ limit: 10 })).toEqual([blob]);
      expect(await fading.drop(blob.digest, 9000)).toBe(false);
      expect(await fading.drop(blob.digest, 5000)).toBe(true);
      expect(await fading.drop(blob.digest, 5000)).toBe(false);
      expect(await fading.look(blob.digest)).toBeUndefined();
      expect(await blobs.stat(blob.digest)).toBeUndefined();
      expect(await fading.fade(blob.digest, 1)).toBeUndefined();
      expect(await tested.leftovers()).toEqual([]);
      await blobs.put(of('hello'));
      expect(await fading.look(blob.digest)).toEqual(blob);
    });

    const { digest } = { digest: sha256('hello') };
    const questions: Readonly<Record<string, (asked: Blobs) => Promise<unknown>>> = {
      stat: (asked) => asked.stat(digest),
      open: async (asked) => (await asked.open(digest))!.body.cancel(),
      put: (asked) => asked.put(of('hello'), { digest }),
      'put of an unknown digest': (asked) => asked.put(of('hello')),
      finish: async (asked) => {
        const { id } = await asked.begin();
        await asked.append(id, 0, of('hello'));
        await asked.finish(id, { digest });
      },
      'a URL or a file': async (asked) =>
        asked.local?.path(digest) ?? (await asked.link!.read(digest, { method: 'GET', seconds: 60 })),
    };
    test.each(Object.entries(questions))('%s takes the mark off', async (_, ask) => {
      await fading.fade(digest, 5000);
      await ask(await tested.another());
      expect(await fading.look(digest)).toEqual(blob);
      expect(await fading.drop(digest, 5000)).toBe(false);
      expect(await blobs.stat(digest)).toEqual(blob);
      // Marked anew, it counts from then.
      expect(await fading.fade(digest, 8000)).toBe(8000);
    });

    test('delete and a new put need no mark', async () => {
      await fading.fade(digest, 5000);
      expect(await blobs.delete(digest)).toBe(true);
      await blobs.put(of('hello'));
      expect(await fading.look(digest)).toEqual(blob);
    });

    test('who is told of a blob while it is dropped has it afterwards', async () => {
      const others = await Promise.all([tested.another(), tested.another(), tested.another()]);
      for (let round = 0; round < 40; round++) {
        const text = `round ${round}`;
        const { digest: each } = await blobs.put(of(text));
        await fading.fade(each, 1000 + round);
        const puts = round % 2 === 0;
        const asks = others.map(async (other, n) => {
          for (let wait = 0; wait < (round + n) % 4; wait++) await new Promise((resolve) => setImmediate(resolve));
          return puts && n === 0 ? other.put(of(text), { digest: each }) : other.stat(each);
        });
        const dropped = await fading.drop(each, 1000 + round);
        const told = await Promise.all(asks);
        // The put stores it anew if it has to, so it is there in any case. Without one, it is there for whoever was told so, or gone for all.
        if (puts) expect(told[0]).toMatchObject({ digest: each });
        else expect([round, told.some((one) => one !== undefined)]).toEqual([round, !dropped]);
        const opened = await blobs.open(each);
        if (puts || !dropped) expect(await opened?.body.getReader().read()).toMatchObject({ value: Buffer.from(text) });
        else expect(opened).toBeUndefined();
      }
    });

    test('sweeping leaves everything that is in use', async () => {
      const { id } = await blobs.begin();
      await blobs.append(id, 0, of('part'));
      const done = await blobs.begin();
      await blobs.append(done.id, 0, of('whole'));
      const { digest: whole } = await blobs.finish(done.id, {});
      let swept = 0;
      for (let after: string | undefined; ; ) {
        const page = await fading.sweep({ before: Date.now() + 1e12, ...(after === undefined ? {} : { after }) });
        swept += page.deleted;
        if (page.next === undefined) break;
        after = page.next;
      }
      expect(swept).toBe(0);
      expect(await blobs.stat(whole)).toBeDefined();
      await blobs.append(id, 4, of('s'));
      expect(await blobs.finish(id, { digest: sha256('parts') as Digest })).toMatchObject({ size: 5 });
    });
  });
}
