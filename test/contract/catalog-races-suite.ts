// What every catalog promises when several write at once.
import { describe, expect, it } from 'vitest';
import type { Digest } from '../../shared/oci/digest.ts';
import { TableCatalog } from '../../shared/store/catalog-table.ts';
import { freeBlobs } from '../../shared/store/condemned.ts';
import { catalogKeys } from '../../shared/store/keys.ts';
import type { Table } from '../../shared/store/table.ts';
import { bytesOf, commitSmall, smallImage } from '../support/small-images.ts';
import { allOn, type CatalogParts } from './catalog-fixture.ts';

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

export function racesContract(name: string, open: () => Promise<CatalogParts>): void {
  describe(`catalog on ${name}, with several writers`, () => {
    const on = allOn(open);

    const over = (table: Table) => new TableCatalog({ table, blobs: on.parts.blobs, clock: on.clock });

    it('the last move of a tag holds, and all are in its history as one chain', async () => {
      const repository = on.fresh();
      const images = await Promise.all(Array.from({ length: 12 }, (_, i) => smallImage(on.parts.blobs, `${repository} ${i}`)));
      await Promise.all(images.map((image) => commitSmall(on.catalog, repository, image, 'latest')));
      const moves = (await on.catalog.moves(repository, 'latest', { limit: 100 })).toReversed();
      expect(new Set(moves.map(({ to }) => to))).toEqual(new Set(images.map(({ digest }) => digest)));
      let previous: Digest | undefined;
      for (const { from, to } of moves) {
        expect(from).toBe(previous);
        previous = to;
      }
      expect((await on.catalog.resolve(repository, 'latest'))?.digest).toBe(previous);
    });

    it('a removal between a commit’s look and its transaction makes it look again', async () => {
      const repository = on.fresh();
      const base = await smallImage(on.parts.blobs, `${repository} old`, { layers: [`${repository} shared`] });
      const next = await smallImage(on.parts.blobs, `${repository} new`, { layers: [`${repository} shared`] });
      await commitSmall(on.catalog, repository, base, 'old');
      const [, layer] = base.links;
      await on.catalog.link(repository, next.links[0]!.digest, next.links[0]!.size);
      const table = interrupted(
        on.parts.table,
        (call) => call === 'transact',
        async () => {
          await on.catalog.remove(repository, base.digest);
          await on.catalog.unlinkUnused(
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
      expect(await on.catalog.resolve(repository, 'new')).toBeUndefined();
    });

    it('a commit while a removal is under way waits, and what it needs is still there or it says so', async () => {
      const repository = on.fresh();
      const base = await smallImage(on.parts.blobs, `${repository} old`, { layers: [`${repository} shared`] });
      const next = await smallImage(on.parts.blobs, `${repository} new`, { layers: [`${repository} shared`] });
      await commitSmall(on.catalog, repository, base, 'old');
      let commit: Promise<unknown> | undefined;
      const table = interrupted(
        on.parts.table,
        (call, key) => call === 'query' && key.includes(catalogKeys.manifestPrefix),
        async () => {
          commit = commitSmall(on.catalog, repository, next, 'new');
          await new Promise((resolve) => setTimeout(resolve, 20));
          expect(await on.catalog.resolve(repository, 'new')).toBeUndefined();
        },
      );
      await on.catalog.remove(repository, base.digest);
      await over(table).unlinkUnused(
        repository,
        base.links.map(({ digest }) => digest),
      );
      await commit;
      expect((await on.catalog.resolve(repository, 'new'))?.digest).toBe(next.digest);
      for (const { digest } of next.links) expect(await on.catalog.linked(repository, digest)).toBeDefined();
    });

    it('a blob that is freed between a commit’s look and its transaction is missed, not linked', async () => {
      const repository = on.fresh();
      const image = await smallImage(on.parts.blobs, `${repository} freed`);
      const digests = image.links.map(({ digest }) => digest);
      const table = interrupted(
        on.parts.table,
        (call) => call === 'transact',
        async () => {
          expect((await freeBlobs({ ...on.parts, clock: on.clock }, digests, never)).freed).toEqual(digests);
        },
      );
      await expect(commitSmall(over(table), repository, image, 't')).rejects.toMatchObject({
        code: 'NOT_FOUND',
        details: { missing: digests },
      });
      expect(await on.catalog.resolve(repository, 't')).toBeUndefined();
    });

    it('a link that comes while a blob is being freed waits, and one that was first keeps the blob', async () => {
      const repository = on.fresh();
      const { digest, size } = await on.parts.blobs.put(bytesOf(`raced ${repository}`));
      let link: Promise<unknown> | undefined;
      // Condemned already, about to look for links once more: the link has to wait, and finds the blob gone.
      let queries = 0;
      const late = interrupted(
        on.parts.table,
        (call, key) => call === 'query' && key.startsWith(catalogKeys.blobLinks(digest)) && ++queries === 2,
        async () => {
          link = on.catalog.link(repository, digest, size).catch((error: unknown) => error);
          await new Promise((resolve) => setTimeout(resolve, 20));
        },
      );
      expect((await freeBlobs({ table: late, blobs: on.parts.blobs, clock: on.clock }, [digest], never)).freed).toEqual([digest]);
      expect(await link).toMatchObject({ code: 'NOT_FOUND' });
      // Seen free, not yet condemned: the link comes first, and the blob stays.
      await on.parts.blobs.put(bytesOf(`raced ${repository}`));
      const early = interrupted(
        on.parts.table,
        (call, key) => call === 'put' && key === 'condemned',
        () => on.catalog.link(repository, digest, size),
      );
      expect((await freeBlobs({ table: early, blobs: on.parts.blobs, clock: on.clock }, [digest], never)).freed).toEqual([]);
      expect(await on.parts.blobs.stat(digest)).toBeDefined();
      expect(await on.catalog.linked(repository, digest)).toBe(size);
    });

    it('a removal whose process died is passed over when its time is up', async () => {
      const repository = on.fresh();
      const image = await smallImage(on.parts.blobs, repository);
      await on.parts.table.put(catalogKeys.removal(repository), { busyUntil: on.clock() - 1 });
      await commitSmall(on.catalog, repository, image, 't');
      expect((await on.catalog.resolve(repository, 't'))?.digest).toBe(image.digest);
    });

    it('commits and removals of one image at the same time end in one of the two states', async () => {
      const repository = on.fresh();
      const image = await smallImage(on.parts.blobs, repository);
      await Promise.all(
        Array.from({ length: 20 }, (_, i) =>
          i % 2 ? on.catalog.remove(repository, image.digest) : commitSmall(on.catalog, repository, image, `t${i % 3}`),
        ),
      );
      const there = await on.catalog.resolve(repository, image.digest);
      for (const { digest } of (await on.catalog.tags(repository, { limit: 100 })) ?? []) {
        expect(there?.digest).toBe(digest);
      }
      expect((await on.catalog.holders(image.digest, { limit: 10 })).length).toBe(there ? 1 : 0);
      expect((await on.catalog.repositories({ limit: 1000 })).includes(repository)).toBe(there !== undefined);
    });
  });
}
