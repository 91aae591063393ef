// What a collection promises, whatever the table and the blobs are: it takes what is unused, and nobody loses what he was told is there.
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { BuildRecords } from '../../shared/build/build-records.ts';
import { BuildCache } from '../../shared/build/cache.ts';
import type { KeyStruct } from '../../shared/build/key.ts';
import type { BuildRequest } from '../../shared/build/request.ts';
import { collectionParts, markUnused, runCollection } from '../../shared/collection/collect.ts';
import { ContextStore } from '../../shared/context/context-store.ts';
import { Context } from '../../shared/context/list.ts';
import { LayerRecords } from '../../shared/layer/record.ts';
import { type Digest, sha256 } from '../../shared/oci/digest.ts';
import { mediaType } from '../../shared/oci/media-type.ts';
import type { Blobs } from '../../shared/store/blobs.ts';
import { TableCatalog } from '../../shared/store/catalog-table.ts';
import { buildKeys, collectionKeys, contextKeys, layerKeys } from '../../shared/store/keys.ts';
import type { Table } from '../../shared/store/table.ts';
import { breakableStores, noFaults } from '../support/faulty.ts';
import { bytesOf, commitSmall, type Small, smallImage, smallIndex } from '../support/small-images.ts';

export interface CollectionHome extends AsyncDisposable {
  readonly table: Table;
  readonly blobs: Blobs;
}

const hour = 3600_000;
const grace = 24 * hour;
const keepBuilds = 30 * grace;

/** A clock near the table's own, which decides what has expired. */
function time(): { now: number; readonly clock: () => number } {
  const at = { now: Math.floor(Date.now() / 1000) * 1000, clock: () => at.now };
  return at;
}

/** `scale`: how many of the possible interleavings are tried, as "every n-th". */
export function collectionSuite(name: string, open: () => Promise<CollectionHome>, scale = 1): void {
  describe(`collection on ${name}`, () => {
    const homes: AsyncDisposable[] = [];
    const at = time();
    async function fresh() {
      const home = await open();
      homes.push(home);
      const { table, blobs } = home;
      const catalog = new TableCatalog({ table, blobs, clock: at.clock });
      const parts = collectionParts({ table, blobs, clock: at.clock });
      const collect = (options: Partial<Parameters<typeof runCollection>[1]> = {}) =>
        runCollection(parts, { grace, keepBuilds, oldestWork: async () => undefined, ...options });
      const put = async (text: string): Promise<Digest> => (await blobs.put(bytesOf(text))).digest;
      const has = async (digest: Digest): Promise<boolean> => (await blobs.fading!.look(digest)) !== undefined;
      return { table, blobs, catalog, parts, collect, put, has };
    }
    type Home = Awaited<ReturnType<typeof fresh>>;
    beforeAll(() => undefined);
    afterAll(async () => {
      for (const home of homes) await home[Symbol.asyncDispose]();
    });

    test('takes what nothing holds, once nobody has asked for it for the time of grace', async () => {
      const home = await fresh();
      const unused = await home.put('unused');
      const asked = await home.put('asked for');
      const image = await smallImage(home.blobs, 'app');
      await commitSmall(home.catalog, 'app', image, 'latest');
      expect((await home.collect()).collected).toMatchObject({ blobs: 0, waiting: 2, waitingBytes: 15 });
      at.now += grace - 1;
      expect((await home.collect()).collected).toMatchObject({ blobs: 0, waiting: 2 });
      await home.blobs.stat(asked);
      at.now += 1;
      expect(await home.collect()).toMatchObject({ done: true, collected: { blobs: 1, bytes: 6, waiting: 1, waitingBytes: 9 } });
      expect([await home.has(unused), await home.has(asked)]).toEqual([false, true]);
      at.now += 10 * grace;
      await home.collect();
      expect(await home.has(asked)).toBe(false);
      for (const { digest } of [image, ...image.links]) expect(await home.has(digest)).toBe(true);
    });

    test('takes what a deleted manifest leaves, and what a push left that never came to its manifest', async () => {
      const home = await fresh();
      const shared = 'a layer of both';
      const kept = await smallImage(home.blobs, 'kept', { layers: [shared, 'kept'] });
      const gone = await smallImage(home.blobs, 'gone', { layers: [shared, 'gone'] });
      await commitSmall(home.catalog, 'team/app', kept, 'kept');
      await commitSmall(home.catalog, 'team/app', gone, 'gone');
      await home.catalog.untag('team/app', 'kept');
      const layer = await home.put('pushed and forgotten');
      await home.catalog.link('team/new', layer, 20);
      await home.catalog.remove('team/app', gone.digest);
      await home.collect();
      at.now += grace;
      const { collected } = await home.collect();
      // Its own layer and config, and the layer that was pushed.
      expect(collected).toMatchObject({ links: 3, blobs: 4, waiting: 0 });
      expect(await home.catalog.linked('team/new', layer)).toBeUndefined();
      expect(await home.catalog.linked('team/app', sha256('gone'))).toBeUndefined();
      for (const { digest } of kept.links) expect(await home.catalog.linked('team/app', digest)).toBeDefined();
      for (const digest of [kept.digest, sha256(shared), sha256('kept')]) expect(await home.has(digest)).toBe(true);
    });

    test('leaves the push alone that is going on: HEAD, mount and manifest of what was idle for long', async () => {
      const home = await fresh();
      const image = await smallImage(home.blobs, 'slow');
      for (const { digest, size } of image.links) await home.catalog.link('slow', digest, size);
      await home.collect();
      at.now += grace;
      // The client asks, is told that they are there, and sends the manifest after a collection.
      for (const { digest } of image.links) {
        expect(await home.catalog.linked('slow', digest)).toBeDefined();
        await home.blobs.stat(digest);
      }
      expect((await home.collect()).collected).toMatchObject({ links: 0, blobs: 0 });
      await home.catalog.commit('slow', { bytes: image.bytes, mediaType: image.mediaType, tags: ['v1'] });
      at.now += 3 * grace;
      expect((await home.collect()).collected).toMatchObject({ links: 0, blobs: 0, waiting: 0 });
      // Marks that were overtaken by use do not count when the image goes later.
      await home.catalog.remove('slow', image.digest);
      expect((await home.collect()).collected).toMatchObject({ links: 0, blobs: 0 });
      at.now += grace;
      expect((await home.collect()).collected).toMatchObject({ links: 2, blobs: 3 });
    });

    test('keeps indexes and their members, and the index that a pull kept as a blob', async () => {
      const home = await fresh();
      const member = await smallImage(home.blobs, 'member');
      const other = await smallImage(home.blobs, 'other');
      const index = smallIndex([member, other]);
      const { digest: kept } = await home.blobs.put(bytesOf(index.bytes));
      await commitSmall(home.catalog, 'pulled', member, 'latest');
      await home.catalog.link('pulled', kept, index.size);
      for (let run = 0; run < 3; run++) {
        at.now += grace;
        await home.collect();
      }
      expect(await home.catalog.linked('pulled', kept)).toBe(index.size);
      expect(await home.has(kept)).toBe(true);
      await home.catalog.remove('pulled', member.digest);
      for (let run = 0; run < 2; run++) {
        await home.collect();
        at.now += grace;
      }
      await home.collect();
      expect(await home.has(kept)).toBe(false);
    });

    test('keeps what is noted of layers as long as it keeps the layers, and the records of neither for longer', async () => {
      const home = await fresh();
      const layers = new LayerRecords(home.table, home.blobs);
      const cache = new BuildCache(home.table);
      const image = await smallImage(home.blobs, 'noted', { layers: ['the layer'] });
      const diffId = sha256('its diffID');
      const [toc, members] = [await home.put('contents'), await home.put('members')];
      const form = { mediaType: mediaType.ociLayerTar, digest: sha256('the layer'), size: 9, members };
      await home.table.put(layerKeys.record(diffId), { toc, forms: [form] });
      const struct = { version: 1, operation: { kind: 'none' } } as unknown as KeyStruct;
      await cache.save(struct, { diffId, made: 1 });
      await cache.remember({ scope: 's', instruction: 'COPY' }, diffId);
      await commitSmall(home.catalog, 'noted', image, 'v1');
      for (let run = 0; run < 3; run++) {
        await home.collect();
        at.now += grace;
      }
      expect([await home.has(toc), await home.has(members)]).toEqual([true, true]);
      expect(await cache.lookup(struct)).toBeDefined();
      await home.catalog.remove('noted', image.digest);
      for (let run = 0; run < 4; run++) {
        await home.collect();
        at.now += grace;
      }
      expect([await home.has(toc), await home.has(members)]).toEqual([false, false]);
      expect(await layers.get(diffId)).toBeUndefined();
      expect(await cache.lookup(struct)).toBeUndefined();
      expect(await cache.previous({ scope: 's', instruction: 'COPY' })).toBeUndefined();
    });

    test('takes contexts that nobody builds from any more, with their records', async () => {
      const home = await fresh();
      const store = new ContextStore({ table: home.table, blobs: home.blobs, project: 'team' });
      const body = Buffer.alloc(5 << 20, 'x');
      const digest = sha256(body);
      await store.receiveBody(bytesOf(body), digest, body.length);
      const list = Context.decode(new Context([]).encode());
      const id = await store.saveList(list, { complete: true });
      const bodies = async () =>
        (await Promise.all(contextKeys.bodies('team').map((partition) => home.table.query(partition, { limit: 10 })))).flat();
      expect(await bodies()).toHaveLength(1);
      await home.collect();
      at.now += grace;
      expect(await store.missing([digest])).toEqual([]);
      const { collected } = await home.collect();
      expect(collected).toMatchObject({ blobs: 1, records: 1 });
      expect(await store.listFacts(id)).toBeUndefined();
      expect(await bodies()).toHaveLength(1);
      await home.collect();
      at.now += grace;
      await home.collect();
      expect(await bodies()).toHaveLength(0);
      expect(await store.missing([digest])).toEqual([digest]);
    });

    test('takes nothing that was marked since the oldest work under way began', async () => {
      const home = await fresh();
      const layer = await home.put('found in the cache by a long build');
      const began = at.now;
      await home.collect();
      at.now += 20 * grace;
      await home.collect({ oldestWork: async () => began });
      expect(await home.has(layer)).toBe(true);
      await home.collect({ oldestWork: async () => began + 1 });
      expect(await home.has(layer)).toBe(false);
    });

    test('forgets builds that ended long ago, with all that was kept of them, and no other', async () => {
      const home = await fresh();
      const records = new BuildRecords({ table: home.table, blobs: home.blobs, clock: at.clock });
      const request = {
        context: { kind: 'none' },
        dockerfile: { name: 'Dockerfile', text: 'FROM scratch' },
        tags: [],
      } as unknown as BuildRequest;
      const make = async (end: boolean): Promise<string> => {
        const { build } = await records.create(request);
        await records.start(build.id);
        if (end) await records.fail(build.id, { code: 'INTERNAL', message: 'on purpose' });
        return build.id;
      };
      const old = await make(true);
      const running = await make(false);
      at.now += keepBuilds;
      const young = await make(true);
      at.now += 1;
      expect((await home.collect()).collected).toMatchObject({ builds: 1 });
      expect(await records.get(old)).toBeUndefined();
      expect(await home.table.query(buildKeys.partition(old), { limit: 10 })).toEqual([]);
      expect(await records.get(running)).toMatchObject({ state: 'running' });
      expect(await records.events(young, { after: 0, limit: 10 })).not.toEqual([]);
      expect((await home.collect()).collected).toMatchObject({ builds: 0 });
    });

    test('takes at once what it marked, when nobody else is at work', async () => {
      const home = await fresh();
      const layer = await home.put('unused');
      expect(await markUnused(home.parts)).toMatchObject({ waiting: 1, waitingBytes: 6 });
      expect((await home.collect({ grace: 0 })).collected).toMatchObject({ blobs: 1, bytes: 6 });
      expect(await home.has(layer)).toBe(false);
    });

    test('goes on where it was stopped, and does its work once', async () => {
      const home = await fresh();
      for (let n = 0; n < 5; n++) await home.put(`unused ${n}`);
      await markUnused(home.parts);
      at.now += grace;
      let calls = 0;
      let last = await home.collect({ stop: () => true });
      for (; !last.done; calls++) {
        expect(calls).toBeLessThan(1000);
        last = await home.collect({ stop: () => true });
      }
      expect(calls).toBeGreaterThan(1);
      expect(last.collected).toMatchObject({ blobs: 5 });
      // The next one begins anew.
      at.now += 1;
      expect(await home.collect()).toMatchObject({ began: at.now, collected: { blobs: 0 } });
    });

    test('is one at a time; one that died is passed over', async () => {
      const home = await fresh();
      const busy = { began: at.now, at: 'blobs', collected: {}, busyUntil: at.now + 1000 };
      await home.table.put(collectionKeys.state, busy);
      await expect(home.collect()).rejects.toMatchObject({ code: 'CONFLICT' });
      at.now += 1000;
      expect(await home.collect()).toMatchObject({ done: true });
    });

    /** One image that stays, one that was deleted, a push under way, and rubbish: all marked for as long as it takes. */
    async function scene(): Promise<{
      readonly home: Home;
      readonly kept: Small;
      readonly push: Small;
      readonly rubbish: Digest;
    }> {
      const home = await fresh();
      const kept = await smallImage(home.blobs, 'kept');
      const gone = await smallImage(home.blobs, 'gone');
      await commitSmall(home.catalog, 'app', kept, 'v1');
      await commitSmall(home.catalog, 'app', gone, 'v2');
      await home.catalog.remove('app', gone.digest);
      const push = await smallImage(home.blobs, 'push');
      await home.catalog.link('app', push.links[1]!.digest, push.links[1]!.size);
      const rubbish = await home.put('rubbish');
      await home.collect();
      at.now += grace;
      return { home, kept, push, rubbish };
    }

    test('killed before or after any of its writes: the next one ends the work, and nothing is lost', async () => {
      for (const when of ['before', 'after'] as const) {
        for (let number = 1; ; number += scale) {
          const { home, kept, rubbish } = await scene();
          const faults = noFaults();
          faults.plan = ({ write, isWrite }) => (isWrite && write >= number ? when : undefined);
          const broken = breakableStores(home, faults, { dead: false });
          const parts = collectionParts({ ...broken, clock: at.clock });
          const ended = await runCollection(parts, { grace, keepBuilds, oldestWork: async () => undefined }).then(
            () => true,
            (error: unknown) => {
              expect(error).toMatchObject({ code: 'STORE' });
              return false;
            },
          );
          // The process is gone, and its lease runs out.
          at.now += 2 * 60_000;
          await home.collect();
          expect(await home.has(rubbish)).toBe(false);
          expect(await home.has(sha256('layer of gone'))).toBe(false);
          for (const { digest } of kept.links) {
            expect(await home.catalog.linked('app', digest)).toBeDefined();
            expect(await home.has(digest)).toBe(true);
          }
          if (ended) break;
        }
      }
    }, 120_000);

    test('a client between any two of its calls: what he is told is there can be committed later', async () => {
      const calls = await countCalls();
      let committed = 0;
      expect(calls).toBeGreaterThan(8);
      for (let first = 1; first <= calls; first += 2 * scale - 1) {
        for (const gap of [0, 1, 4, 1000]) {
          const { home, push } = await scene();
          const { catalog, blobs } = home;
          const [config, layer] = [push.links[0]!, push.links[1]!];
          // A push of the image: the first blob is linked already, the other is sent again, although it is stored.
          const begin = async (): Promise<void> => {
            if ((await catalog.linked('app', layer.digest)) === undefined) {
              await blobs.put(bytesOf('layer of push'), { digest: layer.digest });
              await catalog.link('app', layer.digest, layer.size);
            }
            await blobs.stat(layer.digest);
            if ((await blobs.stat(config.digest)) !== undefined) await catalog.link('app', config.digest, config.size);
          };
          const told = new Set<Digest>();
          const end = async (): Promise<void> => {
            if ((await Promise.all(push.links.map(({ digest }) => catalog.linked('app', digest)))).includes(undefined)) return;
            await catalog.commit('app', { bytes: push.bytes, mediaType: push.mediaType, tags: ['v3'] });
            for (const { digest } of push.links) told.add(digest);
          };
          let begun: Promise<void> | undefined;
          let ended: Promise<void> | undefined;
          const table = counting(home.table, async (call) => {
            if (call >= first) begun ??= begin();
            if (call >= first + gap) ended ??= begun?.then(end);
            // It may be waiting for the collection itself, which is taking something out of the repository.
            await Promise.race([ended ?? begun, sleep(10)]);
          });
          await runCollection(collectionParts({ table, blobs: home.blobs, clock: at.clock }), {
            grace,
            keepBuilds,
            oldestWork: async () => undefined,
          });
          await (begun ?? begin());
          await (ended ?? end());
          committed += told.size > 0 ? 1 : 0;
          for (const digest of told) expect(await home.has(digest)).toBe(true);
          if (told.size > 0) expect(await catalog.resolve('app', 'v3')).toMatchObject({ digest: push.digest });
          at.now += grace;
          await home.collect();
          for (const digest of told) expect(await home.has(digest)).toBe(true);
        }
      }
      expect(committed).toBeGreaterThan(0);
    }, 240_000);

    async function countCalls(): Promise<number> {
      const { home } = await scene();
      let count = 0;
      const table = counting(home.table, async () => {
        count++;
      });
      await runCollection(collectionParts({ table, blobs: home.blobs, clock: at.clock }), {
        grace,
        keepBuilds,
        oldestWork: async () => undefined,
      });
      return count;
    }
  });
}

/** The table, with something done before each of its calls that touches an image; the records of the rest are of no interest. */
function counting(table: Table, before: (call: number) => Promise<void>): Table {
  let calls = 0;
  return new Proxy(table, {
    get(target, name: keyof Table) {
      const method = target[name] as (...args: readonly unknown[]) => Promise<unknown>;
      return async (...args: readonly unknown[]) => {
        const about = JSON.stringify(args.slice(0, 2));
        if (/repository#|links#|holders#|removal/.test(about)) await before(++calls);
        return await method.apply(target, args as never);
      };
    },
  });
}
