// What every catalog promises when manifests and blobs go.
import { describe, expect, it } from 'vitest';
import { sha256 } from '../../shared/oci/digest.ts';
import { freeBlobs } from '../../shared/store/condemned.ts';
import { bytesOf, commitSmall, smallImage } from '../support/small-images.ts';
import { allOn, type CatalogParts } from './catalog-fixture.ts';

const never = async () => false;

export function removalContract(name: string, open: () => Promise<CatalogParts>): void {
  describe(`catalog on ${name}, removal`, () => {
    const on = allOn(open);

    it('removes a manifest with its tags, and the repository from the list with its last one', async () => {
      const repository = on.fresh();
      const one = await smallImage(on.parts.blobs, `${repository} one`);
      const two = await smallImage(on.parts.blobs, `${repository} two`);
      await commitSmall(on.catalog, repository, one, 'a', 'b');
      await commitSmall(on.catalog, repository, two, 'c');
      expect(await on.catalog.remove(repository, one.digest, 'me')).toBe(true);
      expect(await on.catalog.remove(repository, one.digest)).toBe(false);
      expect(await on.catalog.resolve(repository, 'a')).toBeUndefined();
      expect(await on.catalog.resolve(repository, one.digest)).toBeUndefined();
      expect((await on.catalog.tags(repository, { limit: 9 }))?.map(({ tag }) => tag)).toEqual(['c']);
      expect((await on.catalog.moves(repository, 'a', { limit: 1 }))[0]).toMatchObject({ from: one.digest, by: 'me' });
      expect(await on.catalog.untag(repository, 'c')).toBe(true);
      expect(await on.catalog.tags(repository, { limit: 9 })).toEqual([]);
      expect(await on.catalog.remove(repository, two.digest)).toBe(true);
      expect(await on.catalog.tags(repository, { limit: 9 })).toBeUndefined();
      expect(await on.catalog.repositories({ limit: 1000 })).not.toContain(repository);
      await commitSmall(on.catalog, repository, two, 'c');
      expect(await on.catalog.repositories({ limit: 1000 })).toContain(repository);
    });

    it('unlinks what no manifest of the repository needs, and tells what nothing needs', async () => {
      const [repository, other] = [on.fresh(), on.fresh()];
      const base = `base of ${repository}`;
      const one = await smallImage(on.parts.blobs, `${repository} one`, { layers: [base, `${repository} 1`] });
      const two = await smallImage(on.parts.blobs, `${repository} two`, { layers: [base, `${repository} 2`] });
      await commitSmall(on.catalog, repository, one, 'one');
      await commitSmall(on.catalog, repository, two, 'two');
      await commitSmall(on.catalog, other, two, 'two');
      const uses = (image: typeof one) => image.links.map(({ digest }) => digest);
      const [, baseLayer] = uses(one);
      expect(await on.catalog.unlinkUnused(repository, uses(one))).toEqual([]);
      await on.catalog.remove(repository, one.digest);
      const freeable = [one.digest, ...uses(one)];
      expect(await on.catalog.unlinkUnused(repository, freeable)).toEqual(freeable.filter((digest) => digest !== baseLayer));
      await on.catalog.remove(repository, two.digest);
      expect(await on.catalog.unlinkUnused(repository, [two.digest, ...uses(two)])).toEqual([]);
      expect(await on.catalog.linked(repository, baseLayer!)).toBeUndefined();
      expect(await on.catalog.linked(other, baseLayer!)).toBeDefined();
      const { freed } = await freeBlobs({ ...on.parts, clock: on.clock }, [...freeable, two.digest, ...uses(two)], never);
      expect(freed.toSorted()).toEqual(freeable.filter((digest) => digest !== baseLayer).toSorted());
      expect((await on.catalog.resolve(other, 'two'))?.digest).toBe(two.digest);
      for (const digest of uses(two)) expect(await on.parts.blobs.stat(digest)).toBeDefined();
      // What was freed can come again.
      await smallImage(on.parts.blobs, `${repository} one`, { layers: [base, `${repository} 1`] });
      await commitSmall(on.catalog, repository, one, 'again');
      expect((await on.catalog.resolve(repository, 'again'))?.digest).toBe(one.digest);
    });

    it('frees nothing that others need', async () => {
      const { digest } = await on.parts.blobs.put(bytesOf(`needed by the cache ${on.fresh()}`));
      expect(await freeBlobs({ ...on.parts, clock: on.clock }, [digest], async () => true)).toEqual({ freed: [], bytes: 0 });
      expect(await freeBlobs({ ...on.parts, clock: on.clock }, [digest, digest, sha256('not there')], never)).toMatchObject({
        freed: [digest],
      });
    });

    it('refuses a manifest that it has, when a blob of it was unlinked since', async () => {
      const repository = on.fresh();
      const image = await smallImage(on.parts.blobs, repository);
      await commitSmall(on.catalog, repository, image, 't');
      const [, layer] = image.links;
      await on.catalog.unlink(repository, layer!.digest);
      const commit = { bytes: image.bytes, mediaType: image.mediaType, tags: ['u'] };
      await expect(on.catalog.commit(repository, commit)).rejects.toMatchObject({
        code: 'NOT_FOUND',
        details: { missing: [layer!.digest] },
      });
      await commitSmall(on.catalog, repository, image, 'u');
      expect(await on.catalog.linked(repository, layer!.digest)).toBe(layer!.size);
    });
  });
}
