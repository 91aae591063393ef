// Pulls and pushes that are carried out elsewhere: started, followed from any number, stopped, delivered twice, cut off.
import { expect, test } from 'vitest';
import { oldestTransfer } from '../../shared/collection/oldest-transfer.ts';
import { SlipwayError } from '../../shared/errors.ts';
import { type Digest, sha256 } from '../../shared/oci/digest.ts';
import { mediaType } from '../../shared/oci/media-type.ts';
import type { Table } from '../../shared/store/table.ts';
import type { NumberedTransferEvent, TransferService } from '../../shared/transfer/service.ts';
import { lease, longest, patience } from '../../shared/transfer/transfer-records.ts';
import { atWrite, breakableStores, noFaults, rearm } from '../support/faulty.ts';
import { bytesOf } from '../support/small-images.ts';
import { storeHome } from '../support/store-home.ts';
import { transfersInProcess } from '../support/transfers-in-process.ts';
import { startUpstream, type Upstream } from '../support/upstream.ts';

const layerOf = (size: number, fill: string): string => fill.repeat(size);

/** An image of one layer at the other registry. */
async function published(upstream: Upstream, name: string, layers: readonly string[], tag = 'v1'): Promise<Digest> {
  const config = JSON.stringify({
    os: 'linux',
    architecture: 'amd64',
    rootfs: { type: 'layers', diff_ids: layers.map((one) => sha256(one)) },
  });
  const manifest = JSON.stringify({
    schemaVersion: 2,
    mediaType: mediaType.ociManifest,
    config: { mediaType: mediaType.ociConfig, digest: await upstream.pushBlob(name, config), size: config.length },
    layers: layers.map((one) => ({ mediaType: mediaType.ociLayerTar, digest: sha256(one), size: one.length })),
  });
  for (const one of layers) await upstream.pushBlob(name, one);
  const put = await upstream.ask('PUT', `/v2/${name}/manifests/${tag}`, manifest, { 'content-type': mediaType.ociManifest });
  expect(put.status).toBe(201);
  return sha256(manifest);
}

/** Serves the layer a piece at a time, while `go` lets it. */
function slowly(upstream: Upstream, layer: string, pieces: number, go: (piece: number) => Promise<void> | void): void {
  upstream.hook = async (call, next) => {
    const reply = await next(call);
    if (call.method !== 'GET' || !call.path.endsWith(sha256(layer))) return reply;
    const bytes = Buffer.from(layer);
    const length = Math.ceil(bytes.length / pieces);
    return {
      ...reply,
      body: {
        size: bytes.length,
        open: async () => {
          let piece = 0;
          return new ReadableStream<Uint8Array>(
            {
              async pull(controller) {
                await go(piece);
                controller.enqueue(bytes.subarray(piece * length, ++piece * length));
                if (piece === pieces) controller.close();
              },
            },
            { highWaterMark: 0 },
          );
        },
      },
    };
  };
}

async function followed(
  service: TransferService,
  id: string,
  after = 0,
  see: (event: NumberedTransferEvent) => void = () => undefined,
): Promise<readonly NumberedTransferEvent[]> {
  const events: NumberedTransferEvent[] = [];
  while (!['done', 'failed'].includes(events.at(-1)?.kind ?? '')) {
    for await (const event of service.events(id, { after: events.at(-1)?.number ?? after })) {
      events.push(event);
      see(event);
    }
  }
  return events;
}
const numbers = (events: readonly NumberedTransferEvent[]): readonly number[] => events.map(({ number }) => number);
const login = 'nobody' as const;

test('a pull is begun once for a token, followed from any number, and the image is there at its end', async () => {
  await using upstream = await startUpstream();
  await using home = await storeHome();
  await using transfers = transfersInProcess(home);
  const { service, orders } = transfers;
  const layer = layerOf(400_000, 'a');
  const digest = await published(upstream, 'team/app', [layer, 'other']);
  // Forty pieces, most of them at once; the rest comes when those before were told of.
  const progress: number[] = [];
  const told = [13, 26].map((piece, index) => ({ piece, count: index + 1, ...Promise.withResolvers<void>() }));
  slowly(upstream, layer, 40, (piece) => told.find((one) => one.piece === piece)?.promise);
  const reference = `${upstream.host}/team/app:v1`;
  const id = await service.start('pull', { reference }, { clientToken: 'once', by: 'ann', login });
  expect(await service.start('pull', { reference }, { clientToken: 'once', by: 'ann', login })).toBe(id);
  await expect(
    service.start('pull', { reference, allTags: true }, { clientToken: 'once', by: 'ann', login }),
  ).rejects.toMatchObject({ code: 'CONFLICT' });
  const events = await followed(service, id, 0, (one) => {
    if (one.kind === 'layer' && one.digest === sha256(layer) && one.current !== undefined) progress.push(one.current);
    for (const { count, resolve } of told) if (progress.length >= count) resolve();
  });
  expect(await service.start('pull', { reference }, { clientToken: 'once', by: 'bob', login })).not.toBe(id);
  expect(numbers(events)).toEqual(events.map((_, i) => i + 1));
  expect(events[0]).toMatchObject({ kind: 'pulling', reference: 'v1', path: 'team/app' });
  expect(events.at(-1)).toMatchObject({ kind: 'done', fresh: true });
  // Gathered: seen on the way, and not each by itself.
  expect(progress.length).toBeGreaterThan(1);
  expect(progress.length).toBeLessThan(40);
  expect(progress).toEqual(progress.toSorted((a, b) => a - b));
  for (const after of [1, 3, events.length - 1]) expect(await followed(service, id, after)).toEqual(events.slice(after));
  // Nothing comes after the last.
  expect(await Array.fromAsync(service.events(id, { after: events.length }))).toEqual([]);
  expect((await home.catalog.resolve(`${upstream.host}/team/app`, 'v1'))?.digest).toBe(digest);
  const facts = await service.get(id);
  expect(facts).toMatchObject({ verb: 'pull', reference, state: 'succeeded', by: 'ann' });
  expect(Object.keys(facts).toSorted()).toEqual(
    ['by', 'created', 'ended', 'id', 'reference', 'started', 'state', 'verb'].toSorted(),
  );
  expect(orders.filter((one) => one.transfer === id)).toHaveLength(1);
  await service.cancel(id);
  expect(await service.get(id)).toEqual(facts);
  for (const unknown of ['x', '019a8b1c-2d3e-7f40-8a5b-6c7d8e9f0a1b']) {
    await expect(service.get(unknown)).rejects.toMatchObject({ code: 'NOT_FOUND' });
    await expect(service.cancel(unknown)).rejects.toMatchObject({ code: 'NOT_FOUND' });
    await expect(Array.fromAsync(service.events(unknown))).rejects.toMatchObject({ code: 'NOT_FOUND' });
  }
});

test('an event that is delivered twice is carried out once', async () => {
  await using upstream = await startUpstream();
  await using home = await storeHome();
  await using transfers = transfersInProcess(home);
  transfers.state.lambda = 'delivers twice';
  await published(upstream, 'app', ['layer']);
  const id = await transfers.service.start('pull', { reference: `${upstream.host}/app:v1` }, { login });
  const events = await followed(transfers.service, id);
  expect(events.filter(({ kind }) => kind === 'pulling' || kind === 'done')).toHaveLength(2);
  expect(upstream.calls.filter((call) => call === 'HEAD /v2/app/manifests/v1')).toHaveLength(1);
  // And again when all is over.
  upstream.calls.length = 0;
  expect(await transfers.deliver(transfers.orders[0]!)).toBeUndefined();
  expect(upstream.calls).toEqual([]);
  expect(await followed(transfers.service, id)).toEqual(events);
});

test('what fails is kept with its code, message and hint', async () => {
  await using upstream = await startUpstream();
  await using home = await storeHome();
  await using transfers = transfersInProcess(home);
  const id = await transfers.service.start('pull', { reference: `${upstream.host}/nowhere:v1` }, { login });
  const last = (await followed(transfers.service, id)).at(-1);
  expect(last).toMatchObject({ kind: 'failed', failure: { code: 'NOT_FOUND', message: expect.stringContaining('not found') } });
  const push = await transfers.service.start('push', { reference: `${upstream.host}/none:v1` }, { login });
  expect((await followed(transfers.service, push)).at(-1)).toMatchObject({
    failure: { code: 'NOT_FOUND', hint: expect.stringContaining('slipway images') },
  });
  expect(await transfers.service.get(push)).toMatchObject({ state: 'failed', failure: { code: 'NOT_FOUND' } });
});

test('cancelled on its way: it stops, and no tag has moved; queued, it never begins', async () => {
  await using upstream = await startUpstream();
  await using home = await storeHome();
  await using transfers = transfersInProcess(home);
  const { service, state } = transfers;
  const layer = layerOf(100_000, 'b');
  await published(upstream, 'app', [layer]);
  const begun = Promise.withResolvers<void>();
  slowly(upstream, layer, 10, async (piece) => {
    if (piece < 5) return;
    begun.resolve();
    await new Promise(() => undefined);
  });
  const id = await service.start('pull', { reference: `${upstream.host}/app:v1` }, { login });
  await begun.promise;
  expect(await oldestTransfer(home.table, Date.now())).toBe((await service.get(id)).created);
  await service.cancel(id);
  expect((await followed(service, id)).at(-1)).toMatchObject({ kind: 'failed', failure: { code: 'CANCELLED' } });
  expect(await service.get(id)).toMatchObject({ state: 'cancelled', cancelRequested: expect.any(Number) });
  await Promise.all(transfers.runs);
  expect(await home.catalog.resolve(`${upstream.host}/app`, 'v1')).toBeUndefined();
  expect(await oldestTransfer(home.table, Date.now())).toBeUndefined();

  state.lambda = 'holds';
  upstream.hook = undefined;
  const waiting = await service.start('pull', { reference: `${upstream.host}/app:v1` }, { login });
  expect(await oldestTransfer(home.table, Date.now())).toBe((await service.get(waiting)).created);
  await service.cancel(waiting);
  expect(await service.get(waiting)).toMatchObject({ state: 'cancelled' });
  expect(await transfers.deliver(transfers.orders.at(-1)!)).toBeUndefined();
  expect(await home.catalog.resolve(`${upstream.host}/app`, 'v1')).toBeUndefined();
});

test('a function that dies without a word ends the transfer for whoever follows it, and what it still writes is refused', async () => {
  let now = 1_800_000_000_000;
  const clock = () => now;
  await using upstream = await startUpstream();
  await using home = await storeHome(clock);
  let afterRead: (() => Promise<void>) | undefined;
  const table: Table = {
    ...only(home.table, home.table),
    async get(...asked) {
      const found = await home.table.get(...asked);
      await afterRead?.();
      return found;
    },
  };
  await using transfers = transfersInProcess({ blobs: home.blobs, table }, { clock });
  transfers.state.lambda = 'holds';
  const { service } = transfers;
  const layer = layerOf(100_000, 'c');
  await published(upstream, 'app', [layer]);
  const begun = Promise.withResolvers<void>();
  slowly(upstream, layer, 10, async (piece) => {
    if (piece < 5) return;
    begun.resolve();
    await new Promise(() => undefined);
  });
  const id = await service.start('pull', { reference: `${upstream.host}/app:v1` }, { login });
  const faults = noFaults();
  const process = { dead: false };
  const dying = transfers.deliver(transfers.orders[0]!, breakableStores(home, faults, process));
  await begun.promise;
  await expect.poll(async () => (await transfers.records.get(id))?.events, { timeout: 30_000 }).toBeGreaterThan(0);
  process.dead = true;
  const silent = (await transfers.records.get(id))!.seen!;
  now = silent + lease;
  expect(await service.get(id)).toMatchObject({ state: 'running' });
  now += 1;
  // Not dead, but slow, or its clock is another: it is looked at twice.
  const { run } = (await transfers.records.get(id))!;
  let between: unknown;
  afterRead = async () => {
    afterRead = undefined;
    between = await transfers.records.append(id, run!, 0, []);
  };
  expect(await service.get(id)).toMatchObject({ state: 'running' });
  expect(between).toBe('go on');
  now += lease + 1;
  const last = (await followed(service, id)).at(-1);
  expect(last).toMatchObject({
    failure: { code: 'INTERNAL', message: expect.stringContaining('no sign of life for 30 seconds'), hint: expect.any(String) },
  });
  expect(await service.get(id)).toMatchObject({ state: 'failed' });
  expect(await transfers.records.append(id, 'whoever', 0, [])).toBe('over');
  // Come back to life, it hears that it is over.
  process.dead = false;
  expect(await dying).toBeUndefined();
  expect(await home.catalog.resolve(`${upstream.host}/app`, 'v1')).toBeUndefined();
  // And again at once, it goes through.
  upstream.hook = undefined;
  transfers.state.lambda = 'delivers';
  const again = await service.start('pull', { reference: `${upstream.host}/app:v1` }, { login });
  expect((await followed(service, again)).at(-1)).toMatchObject({ kind: 'done' });
});

test('one that is never begun ends too, and an event that comes after that changes nothing', async () => {
  let now = 1_800_000_000_000;
  const clock = () => now;
  await using upstream = await startUpstream();
  await using home = await storeHome(clock);
  await using transfers = transfersInProcess(home, { clock });
  const { service, state } = transfers;
  await published(upstream, 'app', ['layer']);
  state.lambda = 'holds';
  const id = await service.start('pull', { reference: `${upstream.host}/app:v1` }, { login });
  const dead = await service.start('pull', { reference: `${upstream.host}/app:v1` }, { login });
  now += patience;
  expect(await service.get(id)).toMatchObject({ state: 'queued' });
  now += 1;
  expect(await followed(service, id)).toMatchObject([{ number: 1, kind: 'failed', failure: { code: 'TOO_MANY_REQUESTS' } }]);
  expect(await transfers.deliver(transfers.orders[0]!)).toBeUndefined();
  expect(upstream.calls).toEqual([]);
  // Nobody asks for the other: it keeps nothing from being collected for ever.
  expect(await oldestTransfer(home.table, now)).toBe((await transfers.records.get(dead))!.created);
  now += longest;
  expect(await oldestTransfer(home.table, now)).toBeUndefined();
  state.lambda = 'refuses';
  await expect(service.start('pull', { reference: 'x' }, { login })).rejects.toMatchObject({ code: 'STORE' });
});

test('time that is too short is said before it is over', async () => {
  await using upstream = await startUpstream();
  await using home = await storeHome();
  await using transfers = transfersInProcess(home, { times: { reserve: 500 } });
  transfers.state.within = 700;
  const layer = layerOf(100_000, 'd');
  await published(upstream, 'app', [layer]);
  slowly(upstream, layer, 10, (piece) => (piece < 5 ? undefined : new Promise(() => undefined)));
  const id = await transfers.service.start('pull', { reference: `${upstream.host}/app:v1` }, { login });
  expect((await followed(transfers.service, id)).at(-1)).toMatchObject({
    failure: {
      code: 'UPSTREAM',
      message: expect.stringContaining('took more than'),
      hint: expect.stringContaining('same command'),
    },
  });
});

test('each write of a transfer fails once, or its answer is lost: the same image, the same events', async () => {
  await using upstream = await startUpstream();
  const digest = await published(upstream, 'app', ['one', 'two']);
  let broken = 0;
  for (const fault of ['before', 'after'] as const) {
    for (let at = 1; ; at++) {
      await using home = await storeHome();
      const faults = noFaults();
      const stores = breakableStores(home, faults, { dead: false });
      await using transfers = transfersInProcess(home);
      transfers.state.lambda = 'holds';
      const id = await transfers.service.start('pull', { reference: `${upstream.host}/app:v1` }, { login });
      // Of the record and its events alone: the blobs and the catalog have suites of their own.
      const plan = atWrite(at, fault);
      rearm(faults, (call) => (call.name.startsWith('blobs') ? undefined : plan(call)));
      await transfers.deliver(transfers.orders[0]!, { blobs: home.blobs, table: only(home.table, stores.table) });
      if (faults.thrown === 0) break;
      broken++;
      expect(await transfers.records.get(id)).toMatchObject({ state: 'succeeded' });
      const events = await followed(transfers.service, id);
      expect(events.filter(({ kind }) => kind === 'pulling')).toHaveLength(1);
      expect(events.filter((one) => one.kind === 'layer' && one.state === 'Pull complete')).toHaveLength(2);
      expect(numbers(events)).toEqual(events.map((_, i) => i + 1));
      expect((await home.catalog.resolve(`${upstream.host}/app`, 'v1'))?.digest).toBe(digest);
    }
  }
  expect(broken).toBeGreaterThan(3);
});

/** Breaks what is written of transfers, and nothing else. */
function only(whole: Table, breaking: Table): Table {
  const isTransfer = (partition: string): boolean => partition.startsWith('transfer');
  return {
    get: (key, options) => whole.get(key, options),
    getMany: (keys, options) => whole.getMany(keys, options),
    query: (partition, query, options) => whole.query(partition, query, options),
    put: (key, value, write, options) => (isTransfer(key.partition) ? breaking : whole).put(key, value, write, options),
    delete: (key, write, options) => whole.delete(key, write, options),
    transact: (writes, options) =>
      (writes.some(({ key }) => isTransfer(key.partition)) ? breaking : whole).transact(writes, options),
  };
}

test('a table that is throttled for a while costs events nothing; one that stays away ends the work', async () => {
  await using upstream = await startUpstream();
  await using home = await storeHome();
  const layer = layerOf(100_000, 'e');
  await published(upstream, 'app', [layer]);
  let throttled = false;
  const refused = Promise.withResolvers<void>();
  const refuse = () => {
    if (!throttled) return;
    refused.resolve();
    throw new SlipwayError('TOO_MANY_REQUESTS', 'throttled');
  };
  const table: Table = {
    ...only(home.table, home.table),
    async put(key, ...rest) {
      refuse();
      return await home.table.put(key, ...rest);
    },
    async transact(...given) {
      refuse();
      await home.table.transact(...given);
    },
  };
  await using transfers = transfersInProcess(home);
  transfers.state.lambda = 'holds';
  slowly(upstream, layer, 10, async (piece) => {
    throttled = piece > 2 && piece < 8;
    if (piece === 7) await refused.promise;
  });
  const reference = `${upstream.host}/app:v1`;
  const id = await transfers.service.start('pull', { reference }, { login });
  await transfers.deliver(transfers.orders[0]!, { blobs: home.blobs, table });
  const events = await followed(transfers.service, id);
  expect(events.at(-1)).toMatchObject({ kind: 'done' });
  expect(numbers(events)).toEqual(events.map((_, i) => i + 1));

  await home.catalog.untag(`${upstream.host}/app`, 'v1');
  const other = layerOf(100_000, 'f');
  await published(upstream, 'app', [other]);
  slowly(upstream, other, 10, async (piece) => {
    throttled = piece > 2;
    if (throttled) await new Promise(() => undefined);
  });
  await using impatient = transfersInProcess(home, { times: { silence: 400, reserve: 1000 } });
  impatient.state.lambda = 'holds';
  const stuck = await impatient.service.start('pull', { reference }, { login });
  await expect(impatient.deliver(impatient.orders[0]!, { blobs: home.blobs, table })).rejects.toMatchObject({
    code: 'TOO_MANY_REQUESTS',
  });
  expect(await impatient.records.get(stuck)).toMatchObject({ state: 'running' });
  expect(await home.catalog.resolve(`${upstream.host}/app`, 'v1')).toBeUndefined();
});

test('pushes, one tag and all of them, with the caller’s login and no other', async () => {
  const credentials = { username: 'ann', password: 'secret' };
  await using upstream = await startUpstream();
  await using home = await storeHome();
  await using transfers = transfersInProcess(home);
  const { service } = transfers;
  const basic = `Basic ${Buffer.from('ann:secret').toString('base64')}`;
  const seen = new Set<string | undefined>();
  upstream.hook = (call, next) => {
    seen.add(call.header('authorization'));
    if (call.header('authorization') === basic) return next(call);
    return { status: 401, headers: { 'www-authenticate': 'Basic realm="x"' }, body: undefined };
  };
  const digest = await published(upstream, 'src', ['layer']);
  const repository = `${upstream.host}/src`;
  const pull = await service.start('pull', { reference: `${repository}:v1` }, { login: credentials });
  expect((await followed(service, pull)).at(-1)).toMatchObject({ kind: 'done' });
  const target = `${upstream.host}/dst`;
  for (const { digest: blob, size } of await home.blobs.list({ limit: 10 })) await home.catalog.link(target, blob, size);
  const bytes = await home.blobs.open(digest);
  const body = Buffer.concat(await Array.fromAsync(bytes!.body));
  await home.catalog.commit(target, { bytes: body, mediaType: mediaType.ociManifest, digest, tags: ['1', '2'] });
  const denied = await service.start('push', { reference: `${target}:1` }, { login });
  expect((await followed(service, denied)).at(-1)).toMatchObject({
    failure: { code: 'DENIED', hint: expect.stringContaining('docker login') },
  });
  const all = await service.start('push', { reference: target, allTags: true }, { login: credentials });
  const events = await followed(service, all);
  expect(events.filter(({ kind }) => kind === 'pushed')).toMatchObject([{ tag: '1' }, { tag: '2' }]);
  expect((await upstream.home.catalog.resolve('dst', '2'))?.digest).toBe(digest);
  expect([...seen]).toEqual([undefined, basic]);
  // Kept nowhere.
  for (const { id } of [{ id: pull }, { id: denied }, { id: all }]) {
    expect(JSON.stringify([await transfers.records.get(id), await followed(service, id)])).not.toContain('secret');
  }
});

test('a caller gets no layer by its digest alone: what he may not read has to come from the registry', async () => {
  await using upstream = await startUpstream();
  await using home = await storeHome();
  await using transfers = transfersInProcess(home);
  const { service } = transfers;
  const secret = 'a layer of somebody else';
  await home.blobs.put(bytesOf(secret));
  await home.catalog.link('private/app', sha256(secret), secret.length);
  await published(upstream, 'evil', [secret]);
  // It names the digest, and has not got the bytes.
  const withheld = (call: { readonly method: string; readonly path: string }) =>
    call.method === 'GET' && call.path.endsWith(sha256(secret));
  upstream.hook = async (call, next) => {
    const reply = await next(call);
    return withheld(call) ? { ...reply, body: Buffer.from('x'.repeat(secret.length)) as Uint8Array<ArrayBuffer> } : reply;
  };
  const repository = `${upstream.host}/evil`;
  const asked = { reference: `${repository}:v1` };
  const stolen = await service.start('pull', asked, { by: 'eve', reads: [repository], login });
  expect((await followed(service, stolen)).at(-1)).toMatchObject({ failure: { code: 'DIGEST_MISMATCH' } });
  expect(await home.catalog.linked(repository, sha256(secret))).toBeUndefined();
  // Who has it, may have it: it is taken from the registry, and not stored again.
  upstream.hook = undefined;
  const honest = await service.start('pull', asked, { by: 'ann', reads: [repository], login });
  expect((await followed(service, honest)).at(-1)).toMatchObject({ kind: 'done' });
  expect(upstream.calls).toContain(`GET /v2/evil/blobs/${sha256(secret)}`);
  // Who may read it here anyway takes it from here.
  upstream.calls.length = 0;
  await published(upstream, 'more', [secret]);
  const more = await service.start(
    'pull',
    { reference: `${upstream.host}/more:v1` },
    { by: 'bob', reads: ['private/app'], login },
  );
  expect((await followed(service, more)).at(-1)).toMatchObject({ kind: 'done' });
  expect(upstream.calls).not.toContain(`GET /v2/more/blobs/${sha256(secret)}`);
});
