// What every catalog promises, whatever its table and blobs are: what is committed and tagged is found.
import { describe, expect, it } from 'vitest';
import { sha256 } from '../../shared/oci/digest.ts';
import { mediaType } from '../../shared/oci/media-type.ts';
import { catalogKeys } from '../../shared/store/keys.ts';
import { bytesOf, commitSmall, smallImage, smallIndex } from '../support/small-images.ts';
import { allOn, type CatalogParts } from './catalog-fixture.ts';

export function catalogContract(name: string, open: () => Promise<CatalogParts>): void {
  describe(`catalog on ${name}`, () => {
    const on = allOn(open);

    it('resolves what was committed, by tag and by digest, with the facts of the manifest', async () => {
      const repository = `example.com:5000/team/${on.fresh()}`;
      const image = await smallImage(on.parts.blobs, repository, { annotations: { note: 'n' } });
      const record = await commitSmall(on.catalog, repository, image, 'v1', 'latest');
      expect(record).toEqual({
        digest: image.digest,
        mediaType: mediaType.ociManifest,
        size: image.size,
        committed: on.now / 1000,
        artifactType: mediaType.ociConfig,
        annotations: { note: 'n' },
      });
      for (const reference of ['v1', 'latest', image.digest])
        expect(await on.catalog.resolve(repository, reference)).toEqual(record);
      expect(await on.catalog.resolve(repository, 'v2')).toBeUndefined();
      expect(await on.catalog.resolve(repository, sha256('other'))).toBeUndefined();
      expect(await on.catalog.resolve('nowhere', 'v1')).toBeUndefined();
      expect(await on.parts.blobs.stat(image.digest)).toEqual({ digest: image.digest, size: image.size });
      for (const { digest, size } of image.links) expect(await on.catalog.linked(repository, digest)).toBe(size);
    });

    it('refuses manifests whose blobs the repository may not read, and names them', async () => {
      const repository = on.fresh();
      const image = await smallImage(on.parts.blobs, repository);
      const commit = { bytes: image.bytes, mediaType: image.mediaType, tags: ['t'] };
      const missing = image.links.map(({ digest }) => digest);
      await expect(on.catalog.commit(repository, commit)).rejects.toMatchObject({ code: 'NOT_FOUND', details: { missing } });
      expect(await on.catalog.resolve(repository, 't')).toBeUndefined();
      expect(await on.catalog.tags(repository, { limit: 1 })).toBeUndefined();
      await on.catalog.link(repository, image.links[0]!.digest, image.links[0]!.size);
      await expect(on.catalog.commit(repository, commit)).rejects.toMatchObject({ details: { missing: missing.slice(1) } });
      await on.catalog.link(repository, image.links[1]!.digest, image.links[1]!.size);
      await on.catalog.commit(repository, commit);
      expect((await on.catalog.resolve(repository, 't'))?.digest).toBe(image.digest);
      // Another repository's link is no right here.
      await expect(on.catalog.commit(on.fresh(), commit)).rejects.toMatchObject({ code: 'NOT_FOUND' });
    });

    it('refuses links to blobs that are not stored, and sizes that are wrong', async () => {
      const repository = on.fresh();
      const image = await smallImage(on.parts.blobs, repository);
      const lost = { digest: sha256('never stored'), size: 3 };
      await expect(on.catalog.link(repository, lost.digest, 3)).rejects.toMatchObject({
        code: 'NOT_FOUND',
        details: { missing: [lost.digest] },
      });
      await expect(on.catalog.commit(repository, { ...image, links: [...image.links, lost] })).rejects.toMatchObject({
        code: 'NOT_FOUND',
        details: { missing: [lost.digest] },
      });
      await expect(on.catalog.link(repository, image.links[0]!.digest, 1)).rejects.toMatchObject({ code: 'SIZE_MISMATCH' });
    });

    it('refuses bytes that are not what they are said to be', async () => {
      const image = await smallImage(on.parts.blobs, on.fresh());
      await expect(on.catalog.commit(on.fresh(), { ...image, digest: sha256('x') })).rejects.toMatchObject({
        code: 'DIGEST_MISMATCH',
      });
      await expect(on.catalog.commit(on.fresh(), { ...image, mediaType: mediaType.dockerManifest })).rejects.toMatchObject({
        code: 'INVALID_DOCUMENT',
      });
      await expect(on.catalog.commit(on.fresh(), { ...image, tags: ['a#b'] })).rejects.toMatchObject({
        code: 'INVALID_REFERENCE',
      });
    });

    it('keeps the first commit’s time, and a second commit changes nothing', async () => {
      const repository = on.fresh();
      const image = await smallImage(on.parts.blobs, repository);
      const first = await commitSmall(on.catalog, repository, image, 't');
      on.now += 5000;
      expect(await commitSmall(on.catalog, repository, image, 't')).toEqual(first);
      expect(await on.catalog.moves(repository, 't', { limit: 10 })).toHaveLength(1);
      expect((await on.catalog.tags(repository, { limit: 10 }))?.[0]?.moved).toBe(first.committed);
    });

    it('remembers every move of a tag, newest first, in pages, also when it is gone', async () => {
      const repository = on.fresh();
      const one = await smallImage(on.parts.blobs, `${repository} one`);
      const two = await smallImage(on.parts.blobs, `${repository} two`);
      await on.catalog.commit(repository, { ...one, tags: ['t'], by: 'ann' });
      on.now += 1000;
      await on.catalog.commit(repository, { ...two, tags: ['t'], by: 'bob' });
      // The same millisecond, and then a clock that runs behind: still in the order in which they happened.
      await on.catalog.tag(repository, 't', one.digest, 'cas');
      on.now -= 10_000;
      expect(await on.catalog.untag(repository, 't', 'dan')).toBe(true);
      expect(await on.catalog.untag(repository, 't', 'dan')).toBe(false);
      await on.catalog.tag(repository, 't', two.digest);
      on.now += 10_000;
      const moves = await on.catalog.moves(repository, 't', { limit: 10 });
      expect(moves.map(({ from, to, by }) => [from, to, by])).toEqual([
        [undefined, two.digest, undefined],
        [one.digest, undefined, 'dan'],
        [two.digest, one.digest, 'cas'],
        [one.digest, two.digest, 'bob'],
        [undefined, one.digest, 'ann'],
      ]);
      const paged = [];
      for (let after: string | undefined; ; ) {
        const page = await on.catalog.moves(repository, 't', { limit: 2, ...(after && { after }) });
        paged.push(...page);
        if (page.length < 2) break;
        after = String(page.at(-1)?.at);
      }
      expect(paged).toEqual(moves);
      expect(await on.catalog.moves(repository, 'never', { limit: 10 })).toEqual([]);
    });

    it('tags only what the repository holds', async () => {
      const repository = on.fresh();
      const image = await smallImage(on.parts.blobs, repository);
      await commitSmall(on.catalog, repository, image);
      await expect(on.catalog.tag(repository, 't', sha256('x'))).rejects.toMatchObject({ code: 'NOT_FOUND' });
      await on.catalog.tag(repository, 't', image.digest);
      expect((await on.catalog.resolve(repository, 't'))?.digest).toBe(image.digest);
    });

    it('lists tags in byte order, in pages', async () => {
      const repository = on.fresh();
      const image = await smallImage(on.parts.blobs, repository);
      const tags = ['a', 'a-b', 'a.b', 'A', '_', '0', 'aa', 'Z'];
      await commitSmall(on.catalog, repository, image, ...tags);
      const sorted = tags.toSorted((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)));
      expect((await on.catalog.tags(repository, { limit: 100 }))?.map(({ tag }) => tag)).toEqual(sorted);
      const paged: string[] = [];
      for (let after: string | undefined; ; after = paged.at(-1)) {
        const page = await on.catalog.tags(repository, { limit: 3, ...(after !== undefined && { after }) });
        paged.push(...page!.map(({ tag }) => tag));
        if (page!.length < 3) break;
      }
      expect(paged).toEqual(sorted);
      expect(await on.catalog.tags(repository, { after: 'zzz', limit: 3 })).toEqual([]);
    });

    it('lists repositories that have had a manifest, in pages; not internal ones', async () => {
      const names = ['zz/b', 'zz/a', 'zz-c', 'zz'].map((text) => `${text}-${on.fresh()}`);
      for (const repository of names) await commitSmall(on.catalog, repository, await smallImage(on.parts.blobs, repository));
      await commitSmall(on.catalog, '<none>', await smallImage(on.parts.blobs, 'none'));
      const only = on.fresh();
      await on.catalog.link(only, (await on.parts.blobs.put(bytesOf('only a link'))).digest, 11);
      const found: string[] = [];
      for (let after: string | undefined; ; after = found.at(-1)) {
        const page = await on.catalog.repositories({ limit: 2, ...(after !== undefined && { after }) });
        found.push(...page);
        if (page.length < 2) break;
      }
      expect(found.filter((repository) => names.includes(repository))).toEqual(names.toSorted());
      expect(found).not.toContain('<none>');
      expect(found).not.toContain(only);
    });

    it('takes an index after its members, also in one call, and not without', async () => {
      const repository = on.fresh();
      const arm = await smallImage(on.parts.blobs, `${repository} arm`);
      const amd = await smallImage(on.parts.blobs, `${repository} amd`);
      const index = smallIndex([arm, amd]);
      await commitSmall(on.catalog, repository, arm);
      await expect(commitSmall(on.catalog, repository, index, 't')).rejects.toMatchObject({
        code: 'NOT_FOUND',
        details: { missing: [amd.digest] },
      });
      const other = on.fresh();
      await expect(
        on.catalog.commitAll([
          { ...index, repository: other },
          { ...arm, repository: other },
          { ...amd, repository: other },
        ]),
      ).rejects.toMatchObject({ code: 'NOT_FOUND' });
      expect(await on.catalog.tags(other, { limit: 1 })).toBeUndefined();
      await on.catalog.commitAll([
        { ...arm, repository: other },
        { ...amd, repository: other },
        { ...index, repository: other, tags: ['t'] },
      ]);
      expect((await on.catalog.resolve(other, 't'))?.mediaType).toBe(mediaType.ociIndex);
      expect((await on.catalog.manifests(other, { limit: 10 })).map(({ digest }) => digest)).toEqual(
        [arm.digest, amd.digest, index.digest].toSorted(),
      );
    });

    it('lists referrers, before and after their subject comes, by type and in pages', async () => {
      const repository = on.fresh();
      const subject = await smallImage(on.parts.blobs, repository);
      const signature = await smallImage(on.parts.blobs, 'sig', {
        subject,
        artifactType: 'application/sig',
        annotations: { k: 'v' },
      });
      const sboms = await Promise.all(
        ['1', '2', '3'].map((n) => smallImage(on.parts.blobs, `sbom ${n}`, { subject, artifactType: 'application/sbom' })),
      );
      const plain = await smallImage(on.parts.blobs, 'plain', { subject });
      for (const image of [signature, ...sboms, plain]) await commitSmall(on.catalog, repository, image);
      const all = [signature, ...sboms, plain].map(({ digest }) => digest).toSorted();
      const list = async (page: { limit: number; after?: string; artifactType?: string }) =>
        (await on.catalog.referrers(repository, subject.digest, page)).map(({ digest }) => digest);
      expect(await list({ limit: 100 })).toEqual(all);
      await commitSmall(on.catalog, repository, subject, 't');
      expect(await list({ limit: 2 })).toEqual(all.slice(0, 2));
      expect(await list({ limit: 100, after: all[1]! })).toEqual(all.slice(2));
      expect(await list({ limit: 100, artifactType: 'application/sbom' })).toEqual(sboms.map(({ digest }) => digest).toSorted());
      expect(await list({ limit: 2, artifactType: 'application/sbom' })).toHaveLength(2);
      expect(await list({ limit: 9, artifactType: mediaType.ociConfig })).toEqual([plain.digest]);
      const [record] = await on.catalog.referrers(repository, subject.digest, { limit: 9, artifactType: 'application/sig' });
      expect(record).toMatchObject({ annotations: { k: 'v' }, subject: subject.digest });
      expect(await on.catalog.referrers('nowhere', subject.digest, { limit: 9 })).toEqual([]);
      await on.catalog.remove(repository, signature.digest);
      expect(await list({ limit: 100, artifactType: 'application/sig' })).toEqual([]);
    });

    it('keeps annotations and lists of layers that are too large for a record', async () => {
      const repository = on.fresh();
      const annotations = { long: 'x'.repeat(400_000) };
      const shared = await on.parts.blobs.put(bytesOf('shared by both'));
      const image = await smallImage(on.parts.blobs, repository, {
        annotations,
        layers: [...Array.from({ length: 1100 }, (_, i) => `layer ${repository} ${i % 5}`), 'shared by both'],
      });
      const record = await commitSmall(on.catalog, repository, image, 't');
      expect(record.digest).toBe(image.digest);
      expect((await on.catalog.resolve(repository, 't'))?.annotations).toEqual(annotations);
      expect((await on.catalog.resolve(repository, image.digest))?.annotations).toEqual(annotations);
      expect(await on.catalog.unlinkUnused(repository, [shared.digest])).toEqual([]);
    });

    it('takes manifests with more blobs, and commits with more tags, than one transaction holds', async () => {
      const repository = on.fresh();
      const image = await smallImage(on.parts.blobs, repository, {
        layers: Array.from({ length: 130 }, (_, i) => `${repository} ${i}`),
      });
      const tags = Array.from({ length: 120 }, (_, i) => `t${i}`);
      await commitSmall(on.catalog, repository, image, ...tags);
      for (const tag of tags) expect((await on.catalog.resolve(repository, tag))?.digest).toBe(image.digest);
      for (const { digest, size } of image.links) expect(await on.catalog.linked(repository, digest)).toBe(size);
      expect(await on.catalog.remove(repository, image.digest)).toBe(true);
      expect(await on.catalog.tags(repository, { limit: 1 })).toBeUndefined();
      expect(await on.catalog.moves(repository, 't119', { limit: 5 })).toHaveLength(2);
    });

    it('finds manifests by the start of their digest, in every repository', async () => {
      const image = await smallImage(on.parts.blobs, on.fresh());
      const repositories = [on.fresh(), on.fresh(), '<none>'].toSorted();
      for (const repository of repositories) await commitSmall(on.catalog, repository, image);
      const wanted = repositories.map((repository) => ({ digest: image.digest, repository }));
      expect(await on.catalog.holders(image.digest, { limit: 9 })).toEqual(wanted);
      expect(await on.catalog.holders(image.digest.slice(0, 20), { limit: 9 })).toEqual(wanted);
      expect(await on.catalog.holders(image.digest.slice(0, 8), { limit: 100 })).toEqual(expect.arrayContaining(wanted));
      const [first] = wanted;
      const after = `${first?.digest}#${first?.repository}`;
      expect(await on.catalog.holders(image.digest, { limit: 9, after })).toEqual(wanted.slice(1));
      await on.catalog.remove(repositories[1]!, image.digest);
      expect(await on.catalog.holders(image.digest, { limit: 9 })).toEqual([wanted[0], wanted[2]]);
    });

    it('stops waiting when it is told to', async () => {
      const repository = on.fresh();
      const image = await smallImage(on.parts.blobs, repository);
      await on.parts.table.put(catalogKeys.removal(repository), { busyUntil: on.clock() + 60_000 });
      const signal = AbortSignal.timeout(20);
      await expect(on.catalog.commit(repository, image, { signal })).rejects.toMatchObject({ code: 'CANCELLED' });
    });

    it('links and unlinks', async () => {
      const repository = on.fresh();
      const { digest, size } = await on.parts.blobs.put(bytesOf(`linked ${repository}`));
      await on.catalog.link(repository, digest, size);
      await on.catalog.link(repository, digest, size);
      expect(await on.catalog.linked(repository, digest)).toBe(size);
      expect(await on.catalog.linked(on.fresh(), digest)).toBeUndefined();
      expect(await on.catalog.unlink(repository, digest)).toBe(true);
      expect(await on.catalog.unlink(repository, digest)).toBe(false);
      expect(await on.catalog.linked(repository, digest)).toBeUndefined();
    });
  });
}
