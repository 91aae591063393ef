import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { commitImages, unnamed } from '../../shared/image/commit.ts';
import { factsFor } from '../../shared/image/facts.ts';
import { Images } from '../../shared/image/images.ts';
import { openImage, validate } from '../../shared/image/read.ts';
import { removeImage } from '../../shared/image/remove.ts';
import { sha256 } from '../../shared/oci/digest.ts';
import { mediaType } from '../../shared/oci/media-type.ts';
import { parsePlatform } from '../../shared/oci/platform.ts';
import { bytesOf, commitSmall, smallImage, smallIndex } from '../support/small-images.ts';
import { blobsOf, type StoreHome, storeHome } from '../support/store-home.ts';

let home: StoreHome;
let images: Images;
beforeEach(async () => {
  home = await storeHome();
  images = new Images(home);
});
afterEach(() => home[Symbol.asyncDispose]());

const platform = (text: string) => parsePlatform(text);

async function builtIndex(repository: string, ...tags: string[]) {
  const arm = await smallImage(home.blobs, `${repository} arm`, {
    platform: platform('linux/arm64'),
    created: '2026-03-01T00:00:00Z',
  });
  const amd = await smallImage(home.blobs, `${repository} amd`, {
    platform: platform('linux/amd64'),
    created: '2026-02-01T00:00:00Z',
  });
  const index = smallIndex([
    { ...arm, platform: platform('linux/arm64') },
    { ...amd, platform: platform('linux/amd64') },
  ]);
  for (const image of [arm, amd]) await commitSmall(home.catalog, repository, image);
  await commitSmall(home.catalog, repository, index, ...tags);
  return { arm, amd, index };
}

describe('the list', () => {
  it('has one line per image, newest first, with all names, size and platform; dangling ones too', async () => {
    const old = await smallImage(home.blobs, 'old', { created: '2025-01-01T00:00:00Z', labels: { a: 'b' } });
    const young = await smallImage(home.blobs, 'young', { created: '2026-06-01T00:00:00Z' });
    await commitSmall(home.catalog, 'app', old, 'v1', 'latest');
    await commitSmall(home.catalog, 'example.com/other', old, 'x');
    await commitSmall(home.catalog, 'app', young);
    const list = await images.list();
    expect(list.map(({ digest }) => digest)).toEqual([young.digest, old.digest]);
    expect(list[0]).toMatchObject({ names: [], repositories: ['app'], platforms: ['linux/amd64'] });
    expect(list[1]).toMatchObject({
      names: [
        { repository: 'app', tag: 'latest' },
        { repository: 'app', tag: 'v1' },
        { repository: 'example.com/other', tag: 'x' },
      ],
      repositories: ['app', 'example.com/other'],
      labels: { a: 'b' },
      size: old.size + old.links.reduce((sum, { size }) => sum + size, 0),
    });
  });

  it('shows an index once and not its members, and no signatures', async () => {
    const { index, amd } = await builtIndex('app', 'latest');
    const signature = await smallImage(home.blobs, 'sig', { subject: index, artifactType: 'application/sig' });
    await commitSmall(home.catalog, 'app', signature);
    const list = await images.list();
    expect(list.map(({ digest, kind }) => [digest, kind])).toEqual([[index.digest, 'index']]);
    expect(list[0]?.platforms).toEqual(['linux/arm64', 'linux/amd64']);
    // A member that has a name of its own is an image.
    await home.catalog.tag('app', 'amd64', amd.digest);
    expect((await images.list()).map(({ digest }) => digest).toSorted()).toEqual([index.digest, amd.digest].toSorted());
  });

  it('counts shared blobs of an index once', async () => {
    const one = await smallImage(home.blobs, 'one', { layers: ['same', '1'] });
    const two = await smallImage(home.blobs, 'two', { layers: ['same', '2'], platform: platform('linux/arm64') });
    const index = smallIndex([one, two]);
    for (const image of [one, two, index]) await commitSmall(home.catalog, 'app', image);
    const sizes = new Map([...one.links, ...two.links, one, two, index].map(({ digest, size }) => [digest, size]));
    expect((await factsFor(home, index.digest)).size).toBe([...sizes.values()].reduce((sum, size) => sum + size));
  });
});

describe('finding', () => {
  it('by tag, by default tag, by digest and by the start of an ID; a name wins', async () => {
    const image = await smallImage(home.blobs, 'x');
    await commitSmall(home.catalog, 'app', image, 'latest', 'v1');
    for (const word of ['app', 'app:v1', 'docker.io/library/app', `app@${image.digest}`, image.digest, image.digest.slice(7)]) {
      expect((await images.find(word)).digest).toBe(image.digest);
    }
    const short = image.digest.slice(7, 19);
    expect(await images.find(short)).toEqual({ digest: image.digest, by: 'id' });
    expect(await images.find(`sha256:${short}`)).toEqual({ digest: image.digest, by: 'id' });
    const other = await smallImage(home.blobs, 'named like an ID');
    await commitSmall(home.catalog, short, other, 'latest');
    expect((await images.find(short)).digest).toBe(other.digest);
    expect((await images.find(`sha256:${short}`)).digest).toBe(image.digest);
  });

  it.each([
    ['nope', 'No such image: nope:latest'],
    ['nope:1', 'No such image: nope:1'],
    ['abcd', 'No such image: abcd:latest'],
    [`app@${sha256('x')}`, `No such image: app@${sha256('x')}`],
    [sha256('x'), `No such image: ${sha256('x')}`],
    ['Nope', 'must be lowercase'],
  ])('%s is not there', async (word, message) => {
    await expect(images.find(word)).rejects.toThrow(message);
  });

  it('refuses the start of several IDs, but prefers images to members of indexes', async () => {
    const many = await Promise.all(Array.from({ length: 24 }, (_, i) => smallImage(home.blobs, `image ${i}`)));
    for (const image of many) await commitSmall(home.catalog, 'app', image);
    const firsts = new Map<string, number>();
    for (const { digest } of many) firsts.set(digest.slice(0, 8), (firsts.get(digest.slice(0, 8)) ?? 0) + 1);
    // 24 digests, 16 first digits.
    expect(Math.max(...firsts.values())).toBeGreaterThan(1);
    const holders = await home.catalog.holders([...firsts].find(([, n]) => n > 1)![0], { limit: 100 });
    expect(holders.length).toBeGreaterThan(1);
    const { catalog } = home;
    const same = new Images({
      ...home,
      catalog: new Proxy(catalog, {
        get: (target, name) =>
          name === 'holders'
            ? async () => many.slice(0, 2).map(({ digest }) => ({ digest, repository: 'app' }))
            : (Reflect.get(target, name) as (...args: unknown[]) => unknown).bind(target),
      }),
    });
    await expect(same.find('abcd')).rejects.toMatchObject({ code: 'CONFLICT', message: expect.stringContaining('ambiguous') });
  });
});

describe('naming', () => {
  it('gives equal names, in other repositories too, and moves a name that exists', async () => {
    const one = await smallImage(home.blobs, 'one');
    const two = await smallImage(home.blobs, 'two');
    await commitSmall(home.catalog, 'app', one, 'latest');
    await commitSmall(home.catalog, 'app', two, 'two');
    const before = await blobsOf(home);
    await images.tag('app', 'registry.example/team/app:v1');
    await images.tag(two.digest.slice(7, 20), 'app');
    expect((await images.find('registry.example/team/app:v1')).digest).toBe(one.digest);
    expect((await images.find('app')).digest).toBe(two.digest);
    expect(await blobsOf(home)).toEqual(before);
    await expect(images.tag('app', 'scratch')).rejects.toThrow("'scratch' is a reserved name");
    await expect(images.tag('nope', 'x')).rejects.toThrow('No such image: nope:latest');
    await expect(images.tag('app', `x@${one.digest}`)).rejects.toThrow('digest reference');
  });

  it('takes the members of an index along', async () => {
    const { index, arm } = await builtIndex('app', 'latest');
    await images.tag('app', 'copy');
    expect((await openImage(home.blobs, index.digest, { platform: platform('linux/arm64') })).digest).toBe(arm.digest);
    expect((await home.catalog.resolve('copy', arm.digest))?.digest).toBe(arm.digest);
    for (const { digest } of arm.links) expect(await home.catalog.linked('copy', digest)).toBeDefined();
  });
});

describe('removing', () => {
  it('one of two names only takes the name; the last one takes the image and its own blobs', async () => {
    const one = await smallImage(home.blobs, 'one', { layers: ['shared', 'own'] });
    const two = await smallImage(home.blobs, 'two', { layers: ['shared'] });
    await commitSmall(home.catalog, 'app', one, 'v1');
    await commitSmall(home.catalog, 'other', one, 'v2');
    await commitSmall(home.catalog, 'app', two, 'two');
    expect(await removeImage(home, 'app:v1')).toEqual([{ untagged: 'app:v1' }]);
    expect(await removeImage(home, 'other:v2')).toEqual([{ untagged: 'other:v2' }, { deleted: one.digest }]);
    expect(await blobsOf(home)).toEqual([two.digest, ...two.links.map(({ digest }) => digest)].toSorted());
    expect(await validate(home.blobs, two.digest)).toEqual([]);
    await expect(images.find(one.digest)).rejects.toMatchObject({ code: 'NOT_FOUND' });
    expect(await home.catalog.repositories({ limit: 10 })).toEqual(['app']);
    expect(await removeImage(home, 'app:two')).toHaveLength(2);
    expect(await blobsOf(home)).toEqual([]);
  });

  it('by ID takes all names of one repository, and asks for force with several', async () => {
    const image = await smallImage(home.blobs, 'one');
    await commitSmall(home.catalog, 'app', image, 'a', 'b');
    await commitSmall(home.catalog, 'other', image, 'c');
    const id = image.digest.slice(7, 19);
    await expect(removeImage(home, id)).rejects.toMatchObject({
      code: 'CONFLICT',
      message: `conflict: unable to delete ${id} (must be forced) - image is referenced in multiple repositories`,
    });
    await removeImage(home, 'other:c');
    expect(await removeImage(home, id)).toEqual([{ untagged: 'app:a' }, { untagged: 'app:b' }, { deleted: image.digest }]);
    await smallImage(home.blobs, 'one');
    await commitSmall(home.catalog, 'app', image, 'a');
    await commitSmall(home.catalog, 'other', image, 'c');
    expect(await removeImage(home, id, { force: true })).toEqual([
      { untagged: 'app:a' },
      { untagged: 'other:c' },
      { deleted: image.digest },
    ]);
    expect(await blobsOf(home)).toEqual([]);
  });

  it('of a dangling image', async () => {
    const image = await smallImage(home.blobs, 'one');
    await commitSmall(home.catalog, unnamed, image);
    expect(await removeImage(home, image.digest.slice(7, 19))).toEqual([{ deleted: image.digest }]);
    expect(await images.list()).toEqual([]);
    expect(await blobsOf(home)).toEqual([]);
  });

  it('of an index takes members and signatures, but not what else is named or needed', async () => {
    const { index, arm, amd } = await builtIndex('app', 'latest');
    await home.catalog.tag('app', 'arm', arm.digest);
    const signature = await smallImage(home.blobs, 'sig', { subject: amd, artifactType: 'application/sig' });
    await commitSmall(home.catalog, 'app', signature);
    expect(await removeImage(home, 'app')).toEqual([{ untagged: 'app:latest' }, { deleted: index.digest }]);
    expect(await blobsOf(home)).toEqual([arm.digest, ...arm.links.map(({ digest }) => digest)].toSorted());
    expect(await validate(home.blobs, arm.digest)).toEqual([]);
  });

  it('of a named member leaves it to the index that needs it', async () => {
    const { index, arm } = await builtIndex('app', 'latest');
    await home.catalog.tag('app', 'arm', arm.digest);
    expect(await removeImage(home, 'app:arm')).toEqual([{ untagged: 'app:arm' }]);
    expect(await validate(home.blobs, index.digest)).toEqual([]);
    expect((await home.catalog.resolve('app', arm.digest))?.digest).toBe(arm.digest);
    // By its ID nothing of it can go, and that is said.
    for (const force of [false, true]) {
      await expect(removeImage(home, arm.digest, { force })).rejects.toMatchObject({
        code: 'CONFLICT',
        message: `conflict: unable to delete ${arm.digest.slice(7, 19)} (cannot be forced) - it is a part of an image for several platforms`,
      });
    }
    expect(await validate(home.blobs, index.digest)).toEqual([]);
  });

  it('asks those who use the image, and keeps blobs that others need', async () => {
    const image = await smallImage(home.blobs, 'one', { layers: ['cached'] });
    await commitSmall(home.catalog, 'app', image, 'a');
    const asked: unknown[] = [];
    const users = {
      check: async (removal: unknown) => {
        asked.push(removal);
        return 'untag-only' as const;
      },
    };
    expect(await removeImage({ ...home, users }, 'app:a', { force: true })).toEqual([{ untagged: 'app:a' }]);
    expect(asked).toMatchObject([{ digest: image.digest, last: true, force: true }]);
    expect((await images.list())[0]?.names).toEqual([]);
    const cached = sha256('cached');
    await removeImage({ ...home, alsoNeeded: async (digest) => digest === cached }, image.digest);
    expect(await blobsOf(home)).toEqual([cached]);
  });
});

describe('committing', () => {
  const config = (architecture: string, diffIds: readonly string[]) => ({
    architecture,
    os: 'linux',
    rootfs: { type: 'layers' as const, diff_ids: diffIds.map((text) => sha256(text)) },
  });
  const layer = async (text: string) => ({ mediaType: mediaType.ociLayerGzip, ...(await home.blobs.put(bytesOf(text))) });

  it('gives the same bytes each time, in OCI or docker types', async () => {
    const image = { config: config('amd64', ['l']), layers: [await layer('l')] };
    const first = await commitImages(home, [image], { names: [{ repository: 'app', tag: 'a' }] });
    const again = await commitImages(home, [image], { names: [{ repository: 'app', tag: 'b' }] });
    expect(again).toEqual(first);
    // Held still: a change here changes the ID of every image.
    expect(first.digest).toBe('sha256:9c6a507e676ce3a1f223679339cf6aab480e22ea600c19e0b4315c8b0cc62e6a');
    const docker = await commitImages(home, [image], { docker: true, names: [{ repository: 'app', tag: 'c' }] });
    const opened = await openImage(home.blobs, docker.digest);
    expect(opened.mediaType).toBe(mediaType.dockerManifest);
    expect(opened.manifest.config.mediaType).toBe(mediaType.dockerConfig);
    expect(opened.layers[0]?.descriptor.mediaType).toBe(mediaType.dockerLayerGzip);
    expect((await images.find('app:b')).digest).toBe(first.digest);
  });

  it('of several platforms makes an index, in every repository named', async () => {
    const made = await commitImages(
      home,
      [
        { config: config('amd64', ['1']), layers: [await layer('1')] },
        { config: { ...config('arm64', ['2']), variant: 'v8' }, layers: [await layer('2')] },
      ],
      {
        names: [
          { repository: 'app', tag: 'a' },
          { repository: 'b.example/app', tag: 'x' },
        ],
      },
    );
    expect(made.mediaType).toBe(mediaType.ociIndex);
    expect(made.images.map((one) => one.platform)).toEqual([
      { os: 'linux', architecture: 'amd64' },
      { os: 'linux', architecture: 'arm64' },
    ]);
    expect((await images.find('b.example/app:x')).digest).toBe(made.digest);
    expect((await images.list()).map(({ names }) => names.length)).toEqual([2]);
    expect((await openImage(home.blobs, made.digest, { platform: platform('linux/arm64') })).config.architecture).toBe('arm64');
    await expect(openImage(home.blobs, made.digest, { platform: platform('linux/s390x') })).rejects.toMatchObject({
      code: 'NOT_FOUND',
      hint: 'It has linux/amd64, linux/arm64: choose one with --platform.',
    });
  });

  it('without a name is dangling, and reached by ID', async () => {
    const { digest } = await commitImages(home, [{ config: config('amd64', []), layers: [] }]);
    expect((await images.list()).map(({ names, repositories }) => [names, repositories])).toEqual([[[], []]]);
    expect((await images.find(digest.slice(7, 19))).digest).toBe(digest);
    await images.tag(digest, 'named');
    expect((await images.list()).map(({ names }) => names)).toEqual([[{ repository: 'named', tag: 'latest' }]]);
  });
});

describe('reading', () => {
  it('refuses artifacts and documents that contradict each other', async () => {
    const chart = Buffer.from(
      JSON.stringify({
        schemaVersion: 2,
        config: { mediaType: 'application/vnd.helm', ...(await home.blobs.put(bytesOf('{}'))) },
        layers: [],
      }),
    );
    const { digest } = await home.blobs.put(bytesOf(chart));
    await expect(openImage(home.blobs, digest)).rejects.toMatchObject({ code: 'UNSUPPORTED' });
    const image = await smallImage(home.blobs, 'x', { layers: ['1', '2'] });
    const broken = JSON.parse(Buffer.from(image.bytes).toString());
    broken.layers.pop();
    const stored = await home.blobs.put(bytesOf(JSON.stringify(broken)));
    await expect(openImage(home.blobs, stored.digest)).rejects.toThrow('the manifest has 1 layers, the config 2 diff_ids');
    await expect(validate(home.blobs, stored.digest)).rejects.toThrow('the manifest has 1 layers, the config 2 diff_ids');
  });

  it('tells what is missing', async () => {
    const image = await smallImage(home.blobs, 'x');
    await home.blobs.put(bytesOf(image.bytes));
    expect(await validate(home.blobs, image.digest)).toEqual([]);
    await home.blobs.delete(image.links[1]!.digest);
    expect(await validate(home.blobs, image.digest)).toEqual([image.links[1]!.digest]);
    expect(await validate(home.blobs, sha256('never'))).toEqual([sha256('never')]);
  });
});
