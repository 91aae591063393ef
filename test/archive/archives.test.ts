import { gzipSync, zstdCompressSync } from 'node:zlib';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { loadArchive } from '../../shared/archive/load.ts';
import { saveImages } from '../../shared/archive/save.ts';
import { unnamed } from '../../shared/image/commit.ts';
import { Images } from '../../shared/image/images.ts';
import { openImage, validate } from '../../shared/image/read.ts';
import { removeImage } from '../../shared/image/remove.ts';
import type { EntryWithBody } from '../../shared/layer/entry.ts';
import { type Digest, sha256 } from '../../shared/oci/digest.ts';
import { encodeConfig } from '../../shared/oci/encode.ts';
import { mediaType } from '../../shared/oci/media-type.ts';
import { parsePlatform } from '../../shared/oci/platform.ts';
import { readTar } from '../../shared/tar/read.ts';
import { writeTar } from '../../shared/tar/write.ts';
import { bytesOf, commitSmall, type Small, smallImage, smallIndex } from '../support/small-images.ts';
import { blobsOf, type StoreHome, storeHome } from '../support/store-home.ts';

let home: StoreHome;
let other: StoreHome;
beforeEach(async () => {
  home = await storeHome();
  other = await storeHome();
});
afterEach(async () => {
  await home[Symbol.asyncDispose]();
  await other[Symbol.asyncDispose]();
});

const platform = (text: string) => parsePlatform(text);
const all = async (source: AsyncIterable<Uint8Array>) => Buffer.concat(await Array.fromAsync(source));
const save = async (from: StoreHome, words: string[], asked?: string) =>
  await all(await saveImages(from, words, asked ? { platform: platform(asked) } : {}));
const load = (into: StoreHome, bytes: Uint8Array, asked?: string) =>
  loadArchive(into, bytesOf(bytes), asked ? { platform: platform(asked) } : {});
const listed = async (of: StoreHome) =>
  (await new Images(of).list()).map(({ digest, names }) => [digest, names.map(({ repository, tag }) => `${repository}:${tag}`)]);

type Members = Record<string, string | Uint8Array | { readonly link: string } | { readonly fifo: true }>;

/** A tar of the given members, in order; pairs allow a name twice. */
async function tarOf(members: Members | readonly (readonly [string, string | Uint8Array])[]): Promise<Buffer> {
  const entries: EntryWithBody[] = (Array.isArray(members) ? members : Object.entries(members)).map(([path, content]) => {
    const base = { path, mode: 0o644, uid: 0, gid: 0, size: 0, mtime: 0 };
    if (typeof content === 'object' && 'link' in content)
      return { entry: { ...base, type: 'symlink' as const, link: content.link } };
    if (typeof content === 'object' && 'fifo' in content) return { entry: { ...base, type: 'fifo' as const } };
    const bytes = Buffer.from(content);
    const entry = { ...base, type: 'file' as const, size: bytes.length };
    return bytes.length > 0 ? { entry, body: { kind: 'bytes' as const, bytes } } : { entry };
  });
  return await all(writeTar(entries));
}

async function membersOf(archive: Uint8Array): Promise<Record<string, Buffer>> {
  const members: Record<string, Buffer> = {};
  for await (const { entry, body } of readTar(bytesOf(archive))) {
    if (entry.type === 'file') members[entry.path] = await all(body);
  }
  return members;
}

const json = (value: unknown) => JSON.stringify(value);

/** Nothing of a failed load stays. */
async function refused(archive: Uint8Array, expected: object, asked?: string): Promise<void> {
  const before = await blobsOf(other);
  const list = await listed(other);
  await expect(load(other, archive, asked)).rejects.toMatchObject(expected);
  expect(await blobsOf(other)).toEqual(before);
  expect(await listed(other)).toEqual(list);
}

async function twoImages(): Promise<[Small, Small]> {
  const one = await smallImage(home.blobs, 'one', { layers: ['shared', 'own'] });
  const two = await smallImage(home.blobs, 'two', { layers: ['shared'], created: '2026-05-05T05:05:05Z' });
  await commitSmall(home.catalog, 'app', one, 'v1', 'latest');
  await commitSmall(home.catalog, 'reg.example:5000/team/two', two, 'x');
  return [one, two];
}

describe('saved and loaded', () => {
  it('images come back with names, IDs and everything they need; twice is harmless', async () => {
    const [one, two] = await twoImages();
    const archive = await save(home, ['app', 'reg.example:5000/team/two:x']);
    for (const _ of [1, 2]) {
      const { images } = await load(other, archive);
      expect(images).toEqual([
        {
          digest: one.digest,
          names: [
            { repository: 'app', tag: 'latest' },
            { repository: 'app', tag: 'v1' },
          ],
        },
        { digest: two.digest, names: [{ repository: 'reg.example:5000/team/two', tag: 'x' }] },
      ]);
    }
    expect(await listed(other)).toEqual(await listed(home));
    expect(await blobsOf(other)).toEqual(await blobsOf(home));
    expect(await validate(other.blobs, one.digest)).toEqual([]);
    expect(await save(other, ['app', 'reg.example:5000/team/two:x'])).toEqual(archive);
  });

  it('the archive is an OCI layout and a docker archive, each blob once, the same bytes each time', async () => {
    const [one, two] = await twoImages();
    const archive = await save(home, ['app:v1', two.digest]);
    expect(await save(home, ['app:v1', two.digest])).toEqual(archive);
    const members = await membersOf(archive);
    const path = (digest: Digest) => `blobs/sha256/${digest.slice(7)}`;
    const blobs = [...new Set([one.digest, two.digest, ...one.links.map((l) => l.digest), ...two.links.map((l) => l.digest)])];
    expect(Object.keys(members)).toEqual(['oci-layout', 'index.json', 'manifest.json', ...blobs.map(path).toSorted()]);
    for (const digest of blobs) expect(sha256(members[path(digest)]!)).toBe(digest);
    expect(JSON.parse(members['index.json']!.toString()).manifests).toEqual([
      {
        mediaType: mediaType.ociManifest,
        digest: one.digest,
        size: one.size,
        annotations: { 'io.containerd.image.name': 'docker.io/library/app:v1', 'org.opencontainers.image.ref.name': 'v1' },
      },
      { mediaType: mediaType.ociManifest, digest: two.digest, size: two.size },
    ]);
    expect(JSON.parse(members['manifest.json']!.toString())).toEqual([
      { Config: path(one.links[0]!.digest), RepoTags: ['app:v1'], Layers: one.links.slice(1).map((l) => path(l.digest)) },
      { Config: path(two.links[0]!.digest), RepoTags: null, Layers: two.links.slice(1).map((l) => path(l.digest)) },
    ]);
  });

  it('an image saved by ID comes back without a name, and a name that exists is moved', async () => {
    const [one, two] = await twoImages();
    expect((await load(other, await save(home, [one.digest]))).images).toEqual([{ digest: one.digest, names: [] }]);
    expect(await listed(other)).toEqual([[one.digest, []]]);
    await commitSmall(other.catalog, 'app', await smallImage(other.blobs, 'in the way'), 'v1');
    await load(other, await save(home, ['app:v1']));
    expect((await new Images(other).find('app:v1')).digest).toBe(one.digest);
    expect(two).toBeDefined();
  });

  it.each([
    ['gzip', gzipSync],
    ['zstd', zstdCompressSync],
  ])('%s around it', async (_, compress) => {
    const [one] = await twoImages();
    await load(other, compress(await save(home, ['app:v1'])));
    expect((await new Images(other).find('app:v1')).digest).toBe(one.digest);
  });

  it('an index goes whole, or as the image for one platform', async () => {
    const arm = await smallImage(home.blobs, 'arm', { platform: platform('linux/arm64') });
    const amd = await smallImage(home.blobs, 'amd', { platform: platform('linux/amd64') });
    const index = smallIndex([
      { ...arm, platform: platform('linux/arm64') },
      { ...amd, platform: platform('linux/amd64') },
    ]);
    for (const image of [arm, amd]) await commitSmall(home.catalog, 'app', image);
    await commitSmall(home.catalog, 'app', index, 'latest');
    const whole = await save(home, ['app']);
    await load(other, whole);
    expect(await listed(other)).toEqual([[index.digest, ['app:latest']]]);
    expect(await validate(other.blobs, index.digest)).toEqual([]);
    await load(other, whole, 'linux/arm64');
    expect((await new Images(other).find('app')).digest).toBe(arm.digest);
    await removeImage(other, 'app');
    await removeImage(other, index.digest);
    expect(await blobsOf(other)).toEqual([]);
    await load(other, await save(home, ['app'], 'linux/amd64'));
    expect(await listed(other)).toEqual([[amd.digest, ['app:latest']]]);
    await refused(whole, { code: 'NOT_FOUND', hint: 'It has linux/arm64, linux/amd64.' }, 'linux/s390x');
    await expect(save(home, ['app'], 'linux/s390x')).rejects.toMatchObject({ code: 'NOT_FOUND' });
  });

  it('of an index that lacks members what is there is loaded, and said', async () => {
    const arm = await smallImage(home.blobs, 'arm', { platform: platform('linux/arm64') });
    const amd = await smallImage(home.blobs, 'amd', { platform: platform('linux/amd64') });
    const index = smallIndex([
      { ...arm, platform: platform('linux/arm64') },
      { ...amd, platform: platform('linux/amd64') },
    ]);
    for (const image of [arm, amd]) await commitSmall(home.catalog, 'app', image);
    await commitSmall(home.catalog, 'app', index, 'latest');
    const members = await membersOf(await save(home, ['app']));
    for (const { digest } of [arm, ...arm.links]) delete members[`blobs/sha256/${digest.slice(7)}`];
    const { images } = await load(other, await tarOf(members));
    expect(images).toEqual([
      {
        digest: amd.digest,
        names: [{ repository: 'app', tag: 'latest' }],
        note: expect.stringContaining('linux/amd64 was loaded'),
      },
    ]);
    expect(await blobsOf(other)).toEqual([amd.digest, ...amd.links.map(({ digest }) => digest)].toSorted());
  });

  it('words that name nothing fail before anything is written', async () => {
    await twoImages();
    await expect(saveImages(home, ['app:v1', 'nope'])).rejects.toMatchObject({ message: 'No such image: nope:latest' });
    const [one] = await twoImages();
    await home.blobs.delete(one.links[2]!.digest);
    await expect(saveImages(home, ['app:v1'])).rejects.toMatchObject({
      code: 'STORE',
      details: { missing: [one.links[2]!.digest] },
    });
  });
});

describe('docker’s own archives', () => {
  const layers = ['first layer', 'second layer'].map((text) => Buffer.from(text.repeat(100)));
  const configOf = (diffIds: readonly Buffer[]) =>
    Buffer.from(
      encodeConfig({
        architecture: 'amd64',
        os: 'linux',
        rootfs: { type: 'layers', diff_ids: diffIds.map((bytes) => sha256(bytes)) },
        history: [{ created_by: 'x' }, { created_by: 'y' }],
      }),
    );
  const config = configOf(layers);
  const configName = `${sha256(config).slice(7)}.json`;
  const manifestOf = (extra: object = {}) =>
    json([
      { Config: configName, RepoTags: ['old/app:1.0', 'old/app:latest'], Layers: ['aaa/layer.tar', 'bbb/layer.tar'], ...extra },
    ]);
  const classic: Members = {
    [configName]: config,
    'aaa/VERSION': '1.0',
    'aaa/json': '{"id":"aaa"}',
    'aaa/layer.tar': layers[0]!,
    'bbb/VERSION': '1.0',
    'bbb/json': '{"id":"bbb","parent":"aaa"}',
    'bbb/layer.tar': layers[1]!,
    'manifest.json': manifestOf(),
    repositories: '{"old/app":{"latest":"bbb"}}',
  };

  it('of the classic kind: uncompressed layers, config kept byte for byte', async () => {
    const { images } = await load(other, await tarOf(classic));
    expect(images[0]?.names.map(({ repository, tag }) => `${repository}:${tag}`)).toEqual(['old/app:1.0', 'old/app:latest']);
    const image = await openImage(other.blobs, images[0]!.digest);
    expect(image.manifest).toEqual({
      schemaVersion: 2,
      mediaType: mediaType.dockerManifest,
      config: { mediaType: mediaType.dockerConfig, digest: sha256(config), size: config.length },
      layers: layers.map((bytes) => ({ mediaType: mediaType.dockerLayerTar, digest: sha256(bytes), size: bytes.length })),
    });
    // What was in the archive besides is not kept.
    expect((await blobsOf(other)).length).toBe(4);
    await removeImage(other, 'old/app:1.0');
    expect(await removeImage(other, 'old/app')).toHaveLength(2);
    expect(await blobsOf(other)).toEqual([]);
  });

  it('with layers that are links, also to what comes later', async () => {
    const twice = configOf([layers[0]!, layers[0]!]);
    await load(
      other,
      await tarOf({
        'aaa/layer.tar': { link: '../ccc/layer.tar' },
        'bbb/layer.tar': { link: '../aaa/layer.tar' },
        'ccc/layer.tar': layers[0]!,
        'c.json': twice,
        'manifest.json': manifestOf({ Config: 'c.json' }),
      }),
    );
    expect((await openImage(other.blobs, (await new Images(other).find('old/app')).digest)).layers).toHaveLength(2);
  });

  it('with compressed layers, which are checked against the config, and kept if registries take them', async () => {
    await load(
      other,
      await tarOf({ ...classic, 'aaa/layer.tar': gzipSync(layers[0]!), 'bbb/layer.tar': zstdCompressSync(layers[1]!) }),
    );
    const { manifest } = await openImage(other.blobs, (await new Images(other).find('old/app')).digest);
    expect(manifest.layers.map((layer) => layer.mediaType)).toEqual([mediaType.dockerLayerGzip, mediaType.dockerLayerZstd]);
    await refused(await tarOf({ ...classic, 'aaa/layer.tar': gzipSync('another layer') }), { code: 'DIGEST_MISMATCH' });
  });

  it('with no names, null names and no layers', async () => {
    const empty = configOf([]);
    const { images } = await load(
      other,
      await tarOf({ 'c.json': empty, 'manifest.json': json([{ Config: 'c.json', RepoTags: null, Layers: null }]) }),
    );
    expect(images).toEqual([{ digest: expect.any(String), names: [] }]);
    expect(await other.catalog.manifests(unnamed, { limit: 5 })).toHaveLength(1);
  });

  it.each<[string, Members | readonly (readonly [string, string | Uint8Array])[], object]>([
    [
      'a layer that is missing',
      { ...classic, 'manifest.json': manifestOf({ Layers: ['aaa/layer.tar', 'zzz/layer.tar'] }) },
      { code: 'INVALID_ARCHIVE' },
    ],
    ['a config that is missing', { ...classic, 'manifest.json': manifestOf({ Config: 'x.json' }) }, { code: 'INVALID_ARCHIVE' }],
    ['a layer of other bytes', { ...classic, 'bbb/layer.tar': 'other' }, { code: 'DIGEST_MISMATCH' }],
    ['a config of other bytes', { ...classic, [configName]: `${config.toString()} ` }, { code: 'DIGEST_MISMATCH' }],
    ['too few layers', { ...classic, 'manifest.json': manifestOf({ Layers: ['aaa/layer.tar'] }) }, { code: 'INVALID_ARCHIVE' }],
    [
      'a traversal in Layers',
      { ...classic, 'manifest.json': manifestOf({ Layers: ['aaa/layer.tar', '../../etc/passwd'] }) },
      { code: 'UNSAFE_PATH' },
    ],
    [
      'an absolute path in Config',
      { ...classic, 'manifest.json': manifestOf({ Config: '/etc/passwd' }) },
      { code: 'UNSAFE_PATH' },
    ],
    ['a link out of the archive', { ...classic, 'x/layer.tar': { link: '../../../etc/passwd' } }, { code: 'UNSAFE_PATH' }],
    [
      'links in a circle',
      { ...classic, 'aaa/layer.tar': { link: '../bbb/layer.tar' }, 'bbb/layer.tar': { link: '../aaa/layer.tar' } },
      { code: 'INVALID_ARCHIVE' },
    ],
    [
      'a name that is none',
      { ...classic, 'manifest.json': manifestOf({ RepoTags: ['Old/App:1'] }) },
      { code: 'INVALID_ARCHIVE' },
    ],
    ['the reserved name', { ...classic, 'manifest.json': manifestOf({ RepoTags: ['scratch:1'] }) }, { code: 'INVALID_ARCHIVE' }],
    ['a manifest.json of another shape', { ...classic, 'manifest.json': '{}' }, { code: 'INVALID_DOCUMENT' }],
    ['a manifest.json that is no JSON', { ...classic, 'manifest.json': '[' }, { code: 'INVALID_DOCUMENT' }],
    ['a manifest.json beyond all bounds', { ...classic, 'manifest.json': ' '.repeat(5 * 1024 * 1024) }, { code: 'TOO_LARGE' }],
    ['no description', { 'aaa/layer.tar': 'x' }, { code: 'INVALID_ARCHIVE', hint: expect.stringContaining('import') }],
    ['no images', { 'manifest.json': '[]' }, { code: 'INVALID_ARCHIVE' }],
    [
      'two members of one name',
      [...Object.entries(classic), ['aaa/layer.tar', 'other']] as [string, string][],
      { code: 'INVALID_ARCHIVE' },
    ],
    [
      'two descriptions',
      [...Object.entries(classic), ['manifest.json', '[]']] as [string, string][],
      { code: 'INVALID_ARCHIVE' },
    ],
    ['a pipe', { ...classic, pipe: { fifo: true } }, { code: 'INVALID_ARCHIVE' }],
    ['a blob whose name is no digest', { ...classic, 'blobs/sha256/../x': 'x' }, { code: 'UNSAFE_PATH' }],
    ['a blob whose name is no digest', { ...classic, 'blobs/sha256/abc': 'x' }, { code: 'INVALID_ARCHIVE' }],
    ['a blob of other bytes', { ...classic, [`blobs/sha256/${'0'.repeat(64)}`]: 'x' }, { code: 'DIGEST_MISMATCH' }],
    ['nothing', {}, { code: 'INVALID_ARCHIVE' }],
  ])('with %s are refused, and nothing is kept', async (_, members, expected) => {
    await refused(await tarOf(members), expected);
  });

  it('that are cut off are refused wherever they are cut', async () => {
    const archive = await tarOf(classic);
    for (let at = 100; at < archive.length - 1024; at += 700) {
      await refused(archive.subarray(0, at), { name: 'SlipwayError' });
    }
    const packed = gzipSync(archive);
    await refused(packed.subarray(0, packed.length - 20), { code: 'INVALID_ARCHIVE' });
    await refused(Buffer.from('not an archive at all'), { name: 'SlipwayError' });
    await refused(Buffer.alloc(0), { name: 'SlipwayError' });
  });
});

describe('OCI layouts', () => {
  async function layout(change: (members: Record<string, Buffer>, index: { manifests: Record<string, unknown>[] }) => void) {
    const [one] = await twoImages();
    const members = await membersOf(await save(home, ['app:v1']));
    delete members['manifest.json'];
    const index = JSON.parse(members['index.json']!.toString());
    change(members, index);
    members['index.json'] ??= Buffer.from('');
    if (!('raw' in index)) members['index.json'] = Buffer.from(json(index));
    return { one, archive: await tarOf(members) };
  }

  it('are named by containerd’s annotation, a whole ref.name, or not at all by a bare tag', async () => {
    const ref = 'org.opencontainers.image.ref.name';
    for (const [annotations, names] of [
      [{ 'io.containerd.image.name': 'docker.io/library/app:v9', [ref]: 'v9' }, ['app:v9']],
      [{ [ref]: 'localhost/app:v8' }, ['localhost/app:v8']],
      [{ [ref]: 'latest' }, []],
      [undefined, []],
    ] as const) {
      const { archive } = await layout((_, index) => {
        index.manifests[0]!.annotations = annotations;
      });
      const { images } = await load(other, archive);
      expect(images[0]?.names.map(({ repository, tag }) => `${repository}:${tag}`)).toEqual(names);
    }
  });

  it('take names from manifest.json where index.json has none', async () => {
    const { one } = await layout(() => undefined);
    const members = await membersOf(await save(home, ['app:v1']));
    const index = JSON.parse(members['index.json']!.toString());
    delete index.manifests[0].annotations;
    const { images } = await load(other, await tarOf({ ...members, 'index.json': json(index) }));
    expect(images).toEqual([{ digest: one.digest, names: [{ repository: 'app', tag: 'v1' }] }]);
  });

  it('that name what they do not bring are refused, also when the home has it', async () => {
    const { archive, one } = await layout((members) => {
      delete members[
        `blobs/sha256/${
          members &&
          Object.keys(members)
            .find((path) => path.startsWith('blobs/'))!
            .slice(13)
        }`
      ];
    });
    await refused(archive, { code: 'INVALID_ARCHIVE', message: expect.stringContaining('does not have the blob') });
    // The bytes are here, under another name that whoever made the archive may not read.
    for (const { digest } of one.links) {
      const blob = await home.blobs.open(digest);
      await other.blobs.put(blob!.body);
    }
    await commitSmall(other.catalog, 'private', one, 'x');
    await refused(archive, { code: 'INVALID_ARCHIVE' });
  });

  it('that claim a blob the home has, with other bytes, are refused', async () => {
    const [one] = await twoImages();
    const members = await membersOf(await save(home, ['app:v1']));
    await load(other, await save(home, ['app:v1']));
    const { digest, size } = one.links[1]!;
    members[`blobs/sha256/${digest.slice(7)}`] = Buffer.alloc(size);
    await refused(await tarOf(members), { code: 'DIGEST_MISMATCH' });
  });

  it('with a wrong size, version or index are refused', async () => {
    await refused((await layout((_, index) => Object.assign(index.manifests[0]!, { size: 1 }))).archive, {
      code: 'SIZE_MISMATCH',
    });
    await refused(
      (await layout((members) => Object.assign(members, { 'oci-layout': Buffer.from('{"imageLayoutVersion":"9"}') }))).archive,
      {
        code: 'UNSUPPORTED',
      },
    );
    await refused((await layout((members) => delete members['oci-layout'])).archive, { code: 'INVALID_ARCHIVE' });
    await refused((await layout((_, index) => Object.assign(index, { manifests: [] }))).archive, { code: 'INVALID_ARCHIVE' });
    await refused((await layout((_, index) => Object.assign(index, { manifests: [{}] }))).archive, { code: 'INVALID_DOCUMENT' });
    await refused(
      (await layout((_, index) => Object.assign(index.manifests[0]!, { annotations: { 'io.containerd.image.name': 'A/B' } })))
        .archive,
      {
        code: 'INVALID_ARCHIVE',
      },
    );
  });

  it('with one good and one bad image load neither', async () => {
    const { archive } = await layout((_, index) => {
      index.manifests.push({ ...index.manifests[0]!, digest: sha256('gone') });
    });
    await refused(archive, { code: 'INVALID_ARCHIVE' });
  });

  it('stop when they are told to, and leave nothing', async () => {
    await twoImages();
    const archive = await save(home, ['app']);
    const stop = new AbortController();
    async function* slowly() {
      for (let at = 0; at < archive.length; at += 512) {
        if (at > archive.length / 2) stop.abort();
        yield archive.subarray(at, at + 512);
      }
    }
    await expect(loadArchive(other, slowly(), { signal: stop.signal })).rejects.toMatchObject({ code: 'CANCELLED' });
    expect(await blobsOf(other)).toEqual([]);
  });
});
