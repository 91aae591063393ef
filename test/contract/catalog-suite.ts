// What every catalog promises, whatever its table and blobs are.
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Digest } from '../../shared/oci/digest.ts';
import { sha256 } from '../../shared/oci/digest.ts';
import { mediaType } from '../../shared/oci/media-type.ts';
import type { Blobs } from '../../shared/store/blobs.ts';
import { TableCatalog } from '../../shared/store/catalog-table.ts';
import { freeBlobs } from '../../shared/store/condemned.ts';
import { catalogKeys } from '../../shared/store/keys.ts';
import type { Table } from '../../shared/store/table.ts';
import { bytesOf, commitSmall, smallImage, smallIndex } from '../support/small-images.ts';

export interface CatalogParts extends AsyncDisposable {
  readonly table: Table;
  readonly blobs: Blobs;
}

const never = async () => false;

/** The table, with something done just before its first transaction or query that `when` chooses. */
function interrupted(table: Table, when: (call: string, key: string) => boolean, what: () => Promise<void>): Table {
  let done = false;
  const before = async (call: string, key: string) => {
    if (done || !when(call, key)) return;
    done = true;
    await what();
  };
  return new Proxy(table, {
    get(target, name: keyof Table) {
      const method = target[name] as (...args: readonly unknown[]) => Promise<unknown>;
      return async (...args: readonly unknown[]) => {
        const key = Array.isArray(args[0])
          ? args[0].map((write: { key?: { sort: string }; sort?: string }) => write.key?.sort ?? write.sort).join(' ')
          : typeof args[0] === 'string'
            ? `${args[0]} ${(args[1] as { prefix?: string }).prefix ?? ''}`
            : (args[0] as { sort: string }).sort;
        await before(name, key);
        return await method.apply(target, args as never);
      };
    },
  });
}

export function catalogContract(name: string, open: () => Promise<CatalogParts>): void {
  describe(`catalog on ${name}`, () => {
    let parts: CatalogParts;
    let catalog: TableCatalog;
    // Near the table's own time, which decides what has expired.
    let now = Math.floor(Date.now() / 1000) * 1000;
    const clock = () => now;
    let count = 0;
    const fresh = () => `repo-${++count}`;
    const over = (table: Table) => new TableCatalog({ table, blobs: parts.blobs, clock });

    beforeAll(async () => {
      parts = await open();
      catalog = new TableCatalog({ ...parts, clock });
    });
    afterAll(async () => {
      await parts?.[Symbol.asyncDispose]();
    });

    it('resolves what was committed, by tag and by digest, with the facts of the manifest', async () => {
      const repository = `example.com:5000/team/${fresh()}`;
      const image = await smallImage(parts.blobs, repository, { annotations: { note: 'n' } });
      const record = await commitSmall(catalog, repository, image, 'v1', 'latest');
      expect(record).toEqual({
        digest: image.digest,
        mediaType: mediaType.ociManifest,
        size: image.size,
        committed: now / 1000,
        artifactType: mediaType.ociConfig,
        annotations: { note: 'n' },
      });
      for (const reference of ['v1', 'latest', image.digest])
        expect(await catalog.resolve(repository, reference)).toEqual(record);
      expect(await catalog.resolve(repository, 'v2')).toBeUndefined();
      expect(await catalog.resolve(repository, sha256('other'))).toBeUndefined();
      expect(await catalog.resolve('nowhere', 'v1')).toBeUndefined();
      expect(await parts.blobs.stat(image.digest)).toEqual({ digest: image.digest, size: image.size });
      for (const { digest, size } of image.links) expect(await catalog.linked(repository, digest)).toBe(size);
    });

    it('refuses manifests whose blobs the repository may not read, and names them', async () => {
      const repository = fresh();
      const image = await smallImage(parts.blobs, repository);
      const commit = { bytes: image.bytes, mediaType: image.mediaType, tags: ['t'] };
      const missing = image.links.map(({ digest }) => digest);
      await expect(catalog.commit(repository, commit)).rejects.toMatchObject({ code: 'NOT_FOUND', details: { missing } });
      expect(await catalog.resolve(repository, 't')).toBeUndefined();
      expect(await catalog.tags(repository, { limit: 1 })).toBeUndefined();
      await catalog.link(repository, image.links[0]!.digest, image.links[0]!.size);
      await expect(catalog.commit(repository, commit)).rejects.toMatchObject({ details: { missing: missing.slice(1) } });
      await catalog.link(repository, image.links[1]!.digest, image.links[1]!.size);
      await catalog.commit(repository, commit);
      expect((await catalog.resolve(repository, 't'))?.digest).toBe(image.digest);
      // Another repository's link is no right here.
      await expect(catalog.commit(fresh(), commit)).rejects.toMatchObject({ code: 'NOT_FOUND' });
    });

    it('refuses links to blobs that are not stored, and sizes that are wrong', async () => {
      const repository = fresh();
      const image = await smallImage(parts.blobs, repository);
      const lost = { digest: sha256('never stored'), size: 3 };
      await expect(catalog.link(repository, lost.digest, 3)).rejects.toMatchObject({
        code: 'NOT_FOUND',
        details: { missing: [lost.digest] },
      });
      await expect(catalog.commit(repository, { ...image, links: [...image.links, lost] })).rejects.toMatchObject({
        code: 'NOT_FOUND',
        details: { missing: [lost.digest] },
      });
      await expect(catalog.link(repository, image.links[0]!.digest, 1)).rejects.toMatchObject({ code: 'SIZE_MISMATCH' });
    });

    it('refuses bytes that are not what they are said to be', async () => {
      const image = await smallImage(parts.blobs, fresh());
      await expect(catalog.commit(fresh(), { ...image, digest: sha256('x') })).rejects.toMatchObject({ code: 'DIGEST_MISMATCH' });
      await expect(catalog.commit(fresh(), { ...image, mediaType: mediaType.dockerManifest })).rejects.toMatchObject({
        code: 'INVALID_DOCUMENT',
      });
      await expect(catalog.commit(fresh(), { ...image, tags: ['a#b'] })).rejects.toMatchObject({ code: 'INVALID_REFERENCE' });
    });

    it('keeps the first commit’s time, and a second commit changes nothing', async () => {
      const repository = fresh();
      const image = await smallImage(parts.blobs, repository);
      const first = await commitSmall(catalog, repository, image, 't');
      now += 5000;
      expect(await commitSmall(catalog, repository, image, 't')).toEqual(first);
      expect(await catalog.moves(repository, 't', { limit: 10 })).toHaveLength(1);
      expect((await catalog.tags(repository, { limit: 10 }))?.[0]?.moved).toBe(first.committed);
    });

    it('remembers every move of a tag, newest first, in pages, also when it is gone', async () => {
      const repository = fresh();
      const one = await smallImage(parts.blobs, `${repository} one`);
      const two = await smallImage(parts.blobs, `${repository} two`);
      await catalog.commit(repository, { ...one, tags: ['t'], by: 'ann' });
      now += 1000;
      await catalog.commit(repository, { ...two, tags: ['t'], by: 'bob' });
      // The same millisecond, and then a clock that runs behind: still in the order in which they happened.
      await catalog.tag(repository, 't', one.digest, 'cas');
      now -= 10_000;
      expect(await catalog.untag(repository, 't', 'dan')).toBe(true);
      expect(await catalog.untag(repository, 't', 'dan')).toBe(false);
      await catalog.tag(repository, 't', two.digest);
      now += 10_000;
      const moves = await catalog.moves(repository, 't', { limit: 10 });
      expect(moves.map(({ from, to, by }) => [from, to, by])).toEqual([
        [undefined, two.digest, undefined],
        [one.digest, undefined, 'dan'],
        [two.digest, one.digest, 'cas'],
        [one.digest, two.digest, 'bob'],
        [undefined, one.digest, 'ann'],
      ]);
      const paged = [];
      for (let after: string | undefined; ; ) {
        const page = await catalog.moves(repository, 't', { limit: 2, ...(after && { after }) });
        paged.push(...page);
        if (page.length < 2) break;
        after = String(page.at(-1)?.at);
      }
      expect(paged).toEqual(moves);
      expect(await catalog.moves(repository, 'never', { limit: 10 })).toEqual([]);
    });

    it('tags only what the repository holds', async () => {
      const repository = fresh();
      const image = await smallImage(parts.blobs, repository);
      await commitSmall(catalog, repository, image);
      await expect(catalog.tag(repository, 't', sha256('x'))).rejects.toMatchObject({ code: 'NOT_FOUND' });
      await catalog.tag(repository, 't', image.digest);
      expect((await catalog.resolve(repository, 't'))?.digest).toBe(image.digest);
    });

    it('lists tags in byte order, in pages', async () => {
      const repository = fresh();
      const image = await smallImage(parts.blobs, repository);
      const tags = ['a', 'a-b', 'a.b', 'A', '_', '0', 'aa', 'Z'];
      await commitSmall(catalog, repository, image, ...tags);
      const sorted = tags.toSorted((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)));
      expect((await catalog.tags(repository, { limit: 100 }))?.map(({ tag }) => tag)).toEqual(sorted);
      const paged: string[] = [];
      for (let after: string | undefined; ; after = paged.at(-1)) {
        const page = await catalog.tags(repository, { limit: 3, ...(after !== undefined && { after }) });
        paged.push(...page!.map(({ tag }) => tag));
        if (page!.length < 3) break;
      }
      expect(paged).toEqual(sorted);
      expect(await catalog.tags(repository, { after: 'zzz', limit: 3 })).toEqual([]);
    });

    it('lists repositories that have had a manifest, in pages; not internal ones', async () => {
      const names = ['zz/b', 'zz/a', 'zz-c', 'zz'].map((text) => `${text}-${fresh()}`);
      for (const repository of names) await commitSmall(catalog, repository, await smallImage(parts.blobs, repository));
      await commitSmall(catalog, '<none>', await smallImage(parts.blobs, 'none'));
      const only = fresh();
      await catalog.link(only, (await parts.blobs.put(bytesOf('only a link'))).digest, 11);
      const found: string[] = [];
      for (let after: string | undefined; ; after = found.at(-1)) {
        const page = await catalog.repositories({ limit: 2, ...(after !== undefined && { after }) });
        found.push(...page);
        if (page.length < 2) break;
      }
      expect(found.filter((repository) => names.includes(repository))).toEqual(names.toSorted());
      expect(found).not.toContain('<none>');
      expect(found).not.toContain(only);
    });

    it('takes an index after its members, also in one call, and not without', async () => {
      const repository = fresh();
      const arm = await smallImage(parts.blobs, `${repository} arm`);
      const amd = await smallImage(parts.blobs, `${repository} amd`);
      const index = smallIndex([arm, amd]);
      await commitSmall(catalog, repository, arm);
      await expect(commitSmall(catalog, repository, index, 't')).rejects.toMatchObject({
        code: 'NOT_FOUND',
        details: { missing: [amd.digest] },
      });
      const other = fresh();
      await expect(
        catalog.commitAll([
          { ...index, repository: other },
          { ...arm, repository: other },
          { ...amd, repository: other },
        ]),
      ).rejects.toMatchObject({ code: 'NOT_FOUND' });
      expect(await catalog.tags(other, { limit: 1 })).toBeUndefined();
      await catalog.commitAll([
        { ...arm, repository: other },
        { ...amd, repository: other },
        { ...index, repository: other, tags: ['t'] },
      ]);
      expect((await catalog.resolve(other, 't'))?.mediaType).toBe(mediaType.ociIndex);
      expect((await catalog.manifests(other, { limit: 10 })).map(({ digest }) => digest)).toEqual(
        [arm.digest, amd.digest, index.digest].toSorted(),
      );
    });

    it('lists referrers, before and after their subject comes, by type and in pages', async () => {
      const repository = fresh();
      const subject = await smallImage(parts.blobs, repository);
      const signature = await smallImage(parts.blobs, 'sig', {
        subject,
        artifactType: 'application/sig',
        annotations: { k: 'v' },
      });
      const sboms = await Promise.all(
        ['1', '2', '3'].map((n) => smallImage(parts.blobs, `sbom ${n}`, { subject, artifactType: 'application/sbom' })),
      );
      const plain = await smallImage(parts.blobs, 'plain', { subject });
      for (const image of [signature, ...sboms, plain]) await commitSmall(catalog, repository, image);
      const all = [signature, ...sboms, plain].map(({ digest }) => digest).toSorted();
      const list = async (page: { limit: number; after?: string; artifactType?: string }) =>
        (await catalog.referrers(repository, subject.digest, page)).map(({ digest }) => digest);
      expect(await list({ limit: 100 })).toEqual(all);
      await commitSmall(catalog, repository, subject, 't');
      expect(await list({ limit: 2 })).toEqual(all.slice(0, 2));
      expect(await list({ limit: 100, after: all[1]! })).toEqual(all.slice(2));
      expect(await list({ limit: 100, artifactType: 'application/sbom' })).toEqual(sboms.map(({ digest }) => digest).toSorted());
      expect(await list({ limit: 2, artifactType: 'application/sbom' })).toHaveLength(2);
      expect(await list({ limit: 9, artifactType: mediaType.ociConfig })).toEqual([plain.digest]);
      const [record] = await catalog.referrers(repository, subject.digest, { limit: 9, artifactType: 'application/sig' });
      expect(record).toMatchObject({ annotations: { k: 'v' }, subject: subject.digest });
      expect(await catalog.referrers('nowhere', subject.digest, { limit: 9 })).toEqual([]);
      await catalog.remove(repository, signature.digest);
      expect(await list({ limit: 100, artifactType: 'application/sig' })).toEqual([]);
    });

    it('keeps annotations and lists of layers that are too large for a record', async () => {
      const repository = fresh();
      const annotations = { long: 'x'.repeat(400_000) };
      const shared = await parts.blobs.put(bytesOf('shared by both'));
      const image = await smallImage(parts.blobs, repository, {
        annotations,
        layers: [...Array.from({ length: 1100 }, (_, i) => `layer ${repository} ${i % 5}`), 'shared by both'],
      });
      const record = await commitSmall(catalog, repository, image, 't');
      expect(record.digest).toBe(image.digest);
      expect((await catalog.resolve(repository, 't'))?.annotations).toEqual(annotations);
      expect((await catalog.resolve(repository, image.digest))?.annotations).toEqual(annotations);
      expect(await catalog.unlinkUnused(repository, [shared.digest])).toEqual([]);
    });

    it('takes manifests with more blobs, and commits with more tags, than one transaction holds', async () => {
      const repository = fresh();
      const image = await smallImage(parts.blobs, repository, {
        layers: Array.from({ length: 130 }, (_, i) => `${repository} ${i}`),
      });
      const tags = Array.from({ length: 120 }, (_, i) => `t${i}`);
      await commitSmall(catalog, repository, image, ...tags);
      for (const tag of tags) expect((await catalog.resolve(repository, tag))?.digest).toBe(image.digest);
      for (const { digest, size } of image.links) expect(await catalog.linked(repository, digest)).toBe(size);
      expect(await catalog.remove(repository, image.digest)).toBe(true);
      expect(await catalog.tags(repository, { limit: 1 })).toBeUndefined();
      expect(await catalog.moves(repository, 't119', { limit: 5 })).toHaveLength(2);
    });

    it('finds manifests by the start of their digest, in every repository', async () => {
      const image = await smallImage(parts.blobs, fresh());
      const repositories = [fresh(), fresh(), '<none>'].toSorted();
      for (const repository of repositories) await commitSmall(catalog, repository, image);
      const wanted = repositories.map((repository) => ({ digest: image.digest, repository }));
      expect(await catalog.holders(image.digest, { limit: 9 })).toEqual(wanted);
      expect(await catalog.holders(image.digest.slice(0, 20), { limit: 9 })).toEqual(wanted);
      expect(await catalog.holders(image.digest.slice(0, 8), { limit: 100 })).toEqual(expect.arrayContaining(wanted));
      const [first] = wanted;
      const after = `${first?.digest}#${first?.repository}`;
      expect(await catalog.holders(image.digest, { limit: 9, after })).toEqual(wanted.slice(1));
      await catalog.remove(repositories[1]!, image.digest);
      expect(await catalog.holders(image.digest, { limit: 9 })).toEqual([wanted[0], wanted[2]]);
    });

    it('removes a manifest with its tags, and the repository from the list with its last one', async () => {
      const repository = fresh();
      const one = await smallImage(parts.blobs, `${repository} one`);
      const two = await smallImage(parts.blobs, `${repository} two`);
      await commitSmall(catalog, repository, one, 'a', 'b');
      await commitSmall(catalog, repository, two, 'c');
      expect(await catalog.remove(repository, one.digest, 'me')).toBe(true);
      expect(await catalog.remove(repository, one.digest)).toBe(false);
      expect(await catalog.resolve(repository, 'a')).toBeUndefined();
      expect(await catalog.resolve(repository, one.digest)).toBeUndefined();
      expect((await catalog.tags(repository, { limit: 9 }))?.map(({ tag }) => tag)).toEqual(['c']);
      expect((await catalog.moves(repository, 'a', { limit: 1 }))[0]).toMatchObject({ from: one.digest, by: 'me' });
      expect(await catalog.untag(repository, 'c')).toBe(true);
      expect(await catalog.tags(repository, { limit: 9 })).toEqual([]);
      expect(await catalog.remove(repository, two.digest)).toBe(true);
      expect(await catalog.tags(repository, { limit: 9 })).toBeUndefined();
      expect(await catalog.repositories({ limit: 1000 })).not.toContain(repository);
      await commitSmall(catalog, repository, two, 'c');
      expect(await catalog.repositories({ limit: 1000 })).toContain(repository);
    });

    it('unlinks what no manifest of the repository needs, and tells what nothing needs', async () => {
      const [repository, other] = [fresh(), fresh()];
      const base = `base of ${repository}`;
      const one = await smallImage(parts.blobs, `${repository} one`, { layers: [base, `${repository} 1`] });
      const two = await smallImage(parts.blobs, `${repository} two`, { layers: [base, `${repository} 2`] });
      await commitSmall(catalog, repository, one, 'one');
      await commitSmall(catalog, repository, two, 'two');
      await commitSmall(catalog, other, two, 'two');
      const uses = (image: typeof one) => image.links.map(({ digest }) => digest);
      const [, baseLayer] = uses(one);
      expect(await catalog.unlinkUnused(repository, uses(one))).toEqual([]);
      await catalog.remove(repository, one.digest);
      const freeable = [one.digest, ...uses(one)];
      expect(await catalog.unlinkUnused(repository, freeable)).toEqual(freeable.filter((digest) => digest !== baseLayer));
      await catalog.remove(repository, two.digest);
      expect(await catalog.unlinkUnused(repository, [two.digest, ...uses(two)])).toEqual([]);
      expect(await catalog.linked(repository, baseLayer!)).toBeUndefined();
      expect(await catalog.linked(other, baseLayer!)).toBeDefined();
      const { freed } = await freeBlobs({ ...parts, clock }, [...freeable, two.digest, ...uses(two)], never);
      expect(freed.toSorted()).toEqual(freeable.filter((digest) => digest !== baseLayer).toSorted());
      expect((await catalog.resolve(other, 'two'))?.digest).toBe(two.digest);
      for (const digest of uses(two)) expect(await parts.blobs.stat(digest)).toBeDefined();
      // What was freed can come again.
      await smallImage(parts.blobs, `${repository} one`, { layers: [base, `${repository} 1`] });
      await commitSmall(catalog, repository, one, 'again');
      expect((await catalog.resolve(repository, 'again'))?.digest).toBe(one.digest);
    });

    it('frees nothing that others need', async () => {
      const { digest } = await parts.blobs.put(bytesOf(`needed by the cache ${fresh()}`));
      expect(await freeBlobs({ ...parts, clock }, [digest], async () => true)).toEqual({ freed: [], bytes: 0 });
      expect(await freeBlobs({ ...parts, clock }, [digest, digest, sha256('not there')], never)).toMatchObject({
        freed: [digest],
      });
    });

    it('refuses a manifest that it has, when a blob of it was unlinked since', async () => {
      const repository = fresh();
      const image = await smallImage(parts.blobs, repository);
      await commitSmall(catalog, repository, image, 't');
      const [, layer] = image.links;
      await catalog.unlink(repository, layer!.digest);
      const commit = { bytes: image.bytes, mediaType: image.mediaType, tags: ['u'] };
      await expect(catalog.commit(repository, commit)).rejects.toMatchObject({
        code: 'NOT_FOUND',
        details: { missing: [layer!.digest] },
      });
      await commitSmall(catalog, repository, image, 'u');
      expect(await catalog.linked(repository, layer!.digest)).toBe(layer!.size);
    });

    it('stops waiting when it is told to', async () => {
      const repository = fresh();
      const image = await smallImage(parts.blobs, repository);
      await parts.table.put(catalogKeys.removal(repository), { busyUntil: clock() + 60_000 });
      const signal = AbortSignal.timeout(20);
      await expect(catalog.commit(repository, image, { signal })).rejects.toMatchObject({ code: 'CANCELLED' });
    });

    it('links and unlinks', async () => {
      const repository = fresh();
      const { digest, size } = await parts.blobs.put(bytesOf(`linked ${repository}`));
      await catalog.link(repository, digest, size);
      await catalog.link(repository, digest, size);
      expect(await catalog.linked(repository, digest)).toBe(size);
      expect(await catalog.linked(fresh(), digest)).toBeUndefined();
      expect(await catalog.unlink(repository, digest)).toBe(true);
      expect(await catalog.unlink(repository, digest)).toBe(false);
      expect(await catalog.linked(repository, digest)).toBeUndefined();
    });

    describe('with several writers', () => {
      it('the last move of a tag holds, and all are in its history as one chain', async () => {
        const repository = fresh();
        const images = await Promise.all(Array.from({ length: 12 }, (_, i) => smallImage(parts.blobs, `${repository} ${i}`)));
        await Promise.all(images.map((image) => commitSmall(catalog, repository, image, 'latest')));
        const moves = (await catalog.moves(repository, 'latest', { limit: 100 })).toReversed();
        expect(new Set(moves.map(({ to }) => to))).toEqual(new Set(images.map(({ digest }) => digest)));
        let previous: Digest | undefined;
        for (const { from, to } of moves) {
          expect(from).toBe(previous);
          previous = to;
        }
        expect((await catalog.resolve(repository, 'latest'))?.digest).toBe(previous);
      });

      it('a removal between a commit’s look and its transaction makes it look again', async () => {
        const repository = fresh();
        const base = await smallImage(parts.blobs, `${repository} old`, { layers: [`${repository} shared`] });
        const next = await smallImage(parts.blobs, `${repository} new`, { layers: [`${repository} shared`] });
        await commitSmall(catalog, repository, base, 'old');
        const [, layer] = base.links;
        await catalog.link(repository, next.links[0]!.digest, next.links[0]!.size);
        const table = interrupted(
          parts.table,
          (call) => call === 'transact',
          async () => {
            await catalog.remove(repository, base.digest);
            await catalog.unlinkUnused(
              repository,
              base.links.map(({ digest }) => digest),
            );
          },
        );
        // As a registry's client does: it saw that the layer is there, so it does not bring it.
        await expect(
          over(table).commit(repository, { bytes: next.bytes, mediaType: next.mediaType, tags: ['new'] }),
        ).rejects.toMatchObject({
          code: 'NOT_FOUND',
          details: { missing: [layer?.digest] },
        });
        expect(await catalog.resolve(repository, 'new')).toBeUndefined();
      });

      it('a commit while a removal is under way waits, and what it needs is still there or it says so', async () => {
        const repository = fresh();
        const base = await smallImage(parts.blobs, `${repository} old`, { layers: [`${repository} shared`] });
        const next = await smallImage(parts.blobs, `${repository} new`, { layers: [`${repository} shared`] });
        await commitSmall(catalog, repository, base, 'old');
        let commit: Promise<unknown> | undefined;
        const table = interrupted(
          parts.table,
          (call, key) => call === 'query' && key.includes(catalogKeys.manifestPrefix),
          async () => {
            commit = commitSmall(catalog, repository, next, 'new');
            await new Promise((resolve) => setTimeout(resolve, 20));
            expect(await catalog.resolve(repository, 'new')).toBeUndefined();
          },
        );
        await catalog.remove(repository, base.digest);
        await over(table).unlinkUnused(
          repository,
          base.links.map(({ digest }) => digest),
        );
        await commit;
        expect((await catalog.resolve(repository, 'new'))?.digest).toBe(next.digest);
        for (const { digest } of next.links) expect(await catalog.linked(repository, digest)).toBeDefined();
      });

      it('a blob that is freed between a commit’s look and its transaction is missed, not linked', async () => {
        const repository = fresh();
        const image = await smallImage(parts.blobs, `${repository} freed`);
        const digests = image.links.map(({ digest }) => digest);
        const table = interrupted(
          parts.table,
          (call) => call === 'transact',
          async () => {
            expect((await freeBlobs({ ...parts, clock }, digests, never)).freed).toEqual(digests);
          },
        );
        await expect(commitSmall(over(table), repository, image, 't')).rejects.toMatchObject({
          code: 'NOT_FOUND',
          details: { missing: digests },
        });
        expect(await catalog.resolve(repository, 't')).toBeUndefined();
      });

      it('a link that comes while a blob is being freed waits, and one that was first keeps the blob', async () => {
        const repository = fresh();
        const { digest, size } = await parts.blobs.put(bytesOf(`raced ${repository}`));
        let link: Promise<unknown> | undefined;
        // Condemned already, about to look for links once more: the link has to wait, and finds the blob gone.
        let queries = 0;
        const late = interrupted(
          parts.table,
          (call, key) => call === 'query' && key.startsWith(catalogKeys.blobLinks(digest)) && ++queries === 2,
          async () => {
            link = catalog.link(repository, digest, size).catch((error: unknown) => error);
            await new Promise((resolve) => setTimeout(resolve, 20));
          },
        );
        expect((await freeBlobs({ table: late, blobs: parts.blobs, clock }, [digest], never)).freed).toEqual([digest]);
        expect(await link).toMatchObject({ code: 'NOT_FOUND' });
        // Seen free, not yet condemned: the link comes first, and the blob stays.
        await parts.blobs.put(bytesOf(`raced ${repository}`));
        const early = interrupted(
          parts.table,
          (call, key) => call === 'put' && key === 'condemned',
          () => catalog.link(repository, digest, size),
        );
        expect((await freeBlobs({ table: early, blobs: parts.blobs, clock }, [digest], never)).freed).toEqual([]);
        expect(await parts.blobs.stat(digest)).toBeDefined();
        expect(await catalog.linked(repository, digest)).toBe(size);
      });

      it('a removal whose process died is passed over when its time is up', async () => {
        const repository = fresh();
        const image = await smallImage(parts.blobs, repository);
        await parts.table.put(catalogKeys.removal(repository), { busyUntil: clock() - 1 });
        await commitSmall(catalog, repository, image, 't');
        expect((await catalog.resolve(repository, 't'))?.digest).toBe(image.digest);
      });

      it('commits and removals of one image at the same time end in one of the two states', async () => {
        const repository = fresh();
        const image = await smallImage(parts.blobs, repository);
        await Promise.all(
          Array.from({ length: 20 }, (_, i) =>
            i % 2 ? catalog.remove(repository, image.digest) : commitSmall(catalog, repository, image, `t${i % 3}`),
          ),
        );
        const there = await catalog.resolve(repository, image.digest);
        for (const { digest } of (await catalog.tags(repository, { limit: 100 })) ?? []) {
          expect(there?.digest).toBe(digest);
        }
        expect((await catalog.holders(image.digest, { limit: 10 })).length).toBe(there ? 1 : 0);
        expect((await catalog.repositories({ limit: 1000 })).includes(repository)).toBe(there !== undefined);
      });
    });
  });
}
