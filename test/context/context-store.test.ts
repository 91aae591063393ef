import { writeFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import type { Bodies } from '../../shared/context/bodies.ts';
import { ContextStore } from '../../shared/context/context-store.ts';
import type { Context } from '../../shared/context/list.ts';
import { encodePack, maxPackedBody, type Parcel, packBodies } from '../../shared/context/pack.ts';
import { type Walked, walkDirectory } from '../../shared/context/walk.ts';
import type { Entry } from '../../shared/layer/entry.ts';
import { type Digest, sha256 } from '../../shared/oci/digest.ts';
import type { Blobs, Bytes } from '../../shared/store/blobs.ts';
import { collect } from '../../shared/stream/collect.ts';
import { openBody } from '../../shared/tar/write.ts';
import { blobsOf, type StoreHome, storeHome } from '../support/store-home.ts';
import { Folder } from './folder.ts';

async function* once(bytes: Uint8Array): Bytes {
  for (let at = 0; at < bytes.length; at += 100_000) yield bytes.subarray(at, at + 100_000);
}

const storeOf = (home: StoreHome, project = 'p', blobs: Blobs = home.blobs): ContextStore =>
  new ContextStore({ blobs, table: home.table, project });

const digestsOf = (context: Context): Digest[] =>
  context.entries.flatMap((entry) => (entry.type === 'file' && entry.size > 0 ? [entry.digest!] : []));

/** What a client does; answers the bytes that travelled. */
async function send(store: ContextStore, { context, bodies }: Walked): Promise<number> {
  const missing = new Set(await store.missing(digestsOf(context)));
  let bytes = 0;
  for await (const parcel of packBodies(context.entries, missing, bodies)) {
    if (parcel.kind === 'pack') {
      bytes += parcel.bytes.length;
      await store.receivePack(once(parcel.bytes));
    } else {
      bytes += parcel.size;
      await store.receiveBody(await parcel.open(), parcel.digest, parcel.size);
    }
  }
  return bytes;
}

const textOf = async (bodies: Bodies, entry: Entry): Promise<string> =>
  Buffer.from(await collect(await openBody(await bodies.body(entry), entry.size), 1 << 26)).toString('latin1');

const walk = async (folder: Folder): Promise<Walked> => walkDirectory(folder.path, { now: Date.now });

const big = Buffer.alloc(maxPackedBody + 1, 'big body ');

describe('a context that travels', () => {
  it('sends each body once, and later only what is new', async () => {
    await using home = await storeHome();
    using folder = new Folder({ a: 'one', 'd/b': 'two', same: 'one', empty: '' });
    folder.write('big', big);
    const store = storeOf(home);
    const first = await send(store, await walk(folder));
    expect(first).toBe(big.length + 20 + 2 * 36 + 6);
    expect(await send(store, await walk(folder))).toBe(0);
    folder.write('d/b', 'three');
    folder.write('d/c', 'one');
    const walked = await walk(folder);
    const { context } = walked;
    expect(await send(store, walked)).toBe(20 + 36 + 5);
    const received = await store.bodies(context.entries);
    expect(await textOf(received, context.get('d/b')!)).toBe('three');
    expect(await textOf(received, context.get('d/c')!)).toBe('one');
    expect(await textOf(received, context.get('big')!)).toBe(big.toString('latin1'));
  });

  it('holds thousands of files in few objects', async () => {
    await using home = await storeHome();
    const entries: Entry[] = [];
    for (let i = 0; i < 10_000; i++) {
      const text = `file number ${i} `.repeat(1 + (i % 40));
      const path = `d${String(i % 100).padStart(2, '0')}/f${String(i).padStart(5, '0')}`;
      entries.push({ path, type: 'file', mode: 0o644, uid: 0, gid: 0, size: text.length, mtime: 1, digest: sha256(text) });
    }
    const texts: Bodies = {
      body: (entry) => {
        const i = Number(entry.path.slice(5));
        return { kind: 'bytes', bytes: Buffer.from(`file number ${i} `.repeat(1 + (i % 40))) };
      },
    };
    const store = storeOf(home);
    const wanted = new Set(entries.map((entry) => entry.digest!));
    let packs = 0;
    for await (const parcel of packBodies(entries, wanted, texts)) {
      expect(parcel.kind).toBe('pack');
      packs++;
      await store.receivePack(once((parcel as Parcel & { kind: 'pack' }).bytes));
    }
    expect(packs).toBeLessThan(5);
    expect(await store.missing(wanted)).toEqual([]);
    const received = await store.bodies(entries);
    for (const i of [0, 1, 5000, 9999]) expect(await textOf(received, entries[i]!)).toContain(`file number ${i} `);
  }, 60_000);

  it('comes back in packs where blobs are no files', async () => {
    await using home = await storeHome();
    using folder = new Folder({ a: 'one', b: 'two' });
    folder.write('big', big);
    let opened = 0;
    const { blobs } = home;
    const remote: Blobs = {
      stat: (digest) => blobs.stat(digest),
      open: (digest, range) => {
        opened++;
        return blobs.open(digest, range);
      },
      put: (source, expected) => blobs.put(source, expected),
      begin: () => blobs.begin(),
      upload: (id) => blobs.upload(id),
      append: (id, offset, source) => blobs.append(id, offset, source),
      finish: (id, expected) => blobs.finish(id, expected),
      abort: (id) => blobs.abort(id),
      list: (page) => blobs.list(page),
      delete: (digest) => blobs.delete(digest),
    };
    const store = storeOf(home, 'p', remote);
    const walked = await walk(folder);
    const { context } = walked;
    await send(store, walked);
    const received = await store.bodies(context.entries);
    expect(await textOf(received, context.get('a')!)).toBe('one');
    expect(await textOf(received, context.get('b')!)).toBe('two');
    expect(opened).toBe(1);
    expect(await textOf(received, context.get('big')!)).toBe(big.toString('latin1'));
  });

  it('fails when a file changes before it is sent', async () => {
    await using home = await storeHome();
    for (const change of ['ONE', 'longer', '']) {
      using folder = new Folder({ a: 'one', b: 'two' });
      const walked = await walk(folder);
      writeFileSync(folder.at('a'), change);
      await expect(send(storeOf(home), walked), change).rejects.toMatchObject({
        code: 'CONTEXT_CHANGED',
        message: expect.stringContaining('"a"'),
      });
    }
    using folder = new Folder({ a: '' });
    folder.write('big', big);
    const walked = await walk(folder);
    folder.remove('big');
    await expect(send(storeOf(home), walked)).rejects.toMatchObject({
      code: 'CONTEXT_CHANGED',
    });
  });

  it('keeps lists by project', async () => {
    await using home = await storeHome();
    using folder = new Folder({ a: 'one' });
    const walked = await walk(folder);
    const { context } = walked;
    const id = await storeOf(home).saveList(context);
    expect((await storeOf(home).loadList(id))?.digest).toBe(context.digest);
    expect(await storeOf(home, 'other').loadList(id)).toBeUndefined();
  });
});

describe('what a stranger gets', () => {
  const secret = 'a secret of another project';

  it('is nothing for knowing a digest', async () => {
    await using home = await storeHome();
    using folder = new Folder({ s: secret });
    folder.write('big', big);
    const walked = await walk(folder);
    const { context } = walked;
    await send(storeOf(home, 'owner'), walked);
    const stranger = storeOf(home, 'stranger');
    expect(await stranger.missing(digestsOf(context))).toEqual(digestsOf(context));
    await expect(stranger.bodies(context.entries)).rejects.toMatchObject({ code: 'CONTEXT' });
    // a large body that the home has already must still be sent in full
    const digest = sha256(big);
    await expect(stranger.receiveBody(once(Buffer.alloc(0)), digest, big.length)).rejects.toMatchObject({
      code: 'SIZE_MISMATCH',
    });
    await expect(stranger.receiveBody(once(Buffer.alloc(big.length)), digest, big.length)).rejects.toMatchObject({
      code: 'DIGEST_MISMATCH',
    });
    expect(await stranger.missing([digest])).toEqual([digest]);
    await stranger.receiveBody(once(big), digest, big.length);
    expect(await stranger.missing([digest])).toEqual([]);
  });

  it('is a refusal for bytes that are not what they say', async () => {
    await using home = await storeHome();
    const store = storeOf(home);
    const good = { digest: sha256('good'), bytes: Buffer.from('good') };
    const pack = Buffer.from(encodePack([good, { digest: sha256('other'), bytes: Buffer.from('wrong') }]).bytes);
    await expect(store.receivePack(once(pack))).rejects.toMatchObject({ code: 'DIGEST_MISMATCH' });
    const whole = Buffer.from(encodePack([good]).bytes);
    const edited = (edit: (bytes: Buffer) => void): Buffer => {
      const bytes = Buffer.from(whole);
      edit(bytes);
      return bytes;
    };
    for (const [what, bytes] of Object.entries({
      empty: Buffer.alloc(0),
      'no pack': Buffer.from('x'.repeat(100)),
      'cut in the index': whole.subarray(0, 30),
      'cut in a body': whole.subarray(0, whole.length - 1),
      'more at the end': Buffer.concat([whole, Buffer.from('x')]),
      'no bodies': edited((bytes) => bytes.writeUInt32BE(0, 16)),
      'too many bodies': edited((bytes) => bytes.writeUInt32BE(0xffffffff, 16)),
      'an empty body': edited((bytes) => bytes.writeUInt32BE(0, 20 + 32)),
      'a huge body': edited((bytes) => bytes.writeUInt32BE(0xffffffff, 20 + 32)),
    })) {
      await expect(store.receivePack(once(bytes)), what).rejects.toMatchObject({ code: 'INVALID_ARCHIVE' });
    }
    expect(await blobsOf(home)).toEqual([]);
    expect(await store.missing([good.digest])).toEqual([good.digest]);
  });

  it('can be sent twice', async () => {
    await using home = await storeHome();
    const store = storeOf(home);
    const { bytes, digest } = encodePack([{ digest: sha256('x'), bytes: Buffer.from('x') }]);
    expect(await store.receivePack(once(bytes))).toEqual(await store.receivePack(once(bytes)));
    expect(await store.adoptPack(digest)).toHaveLength(1);
    await expect(store.adoptPack(sha256('none'))).rejects.toMatchObject({ code: 'NOT_FOUND' });
    expect(await blobsOf(home)).toEqual([digest]);
    // a body whose pack was collected is missing again
    await home.blobs.delete(digest);
    expect(await store.missing([sha256('x')])).toEqual([sha256('x')]);
  });
});
