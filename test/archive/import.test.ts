import { gunzipSync, gzipSync, zstdCompressSync } from 'node:zlib';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { applyChanges, importChanges } from '../../shared/archive/changes.ts';
import { importImage } from '../../shared/archive/import.ts';
import { historyOf, inspectImage } from '../../shared/image/inspect.ts';
import { openImage } from '../../shared/image/read.ts';
import { removeImage } from '../../shared/image/remove.ts';
import { LayerRecords } from '../../shared/layer/record.ts';
import type { ImageConfig } from '../../shared/oci/config.ts';
import { sha256 } from '../../shared/oci/digest.ts';
import { mediaType } from '../../shared/oci/media-type.ts';
import { parsePlatform } from '../../shared/oci/platform.ts';
import { writeTar } from '../../shared/tar/write.ts';
import { bytesOf } from '../support/small-images.ts';
import { blobsOf, type StoreHome, storeHome } from '../support/store-home.ts';

let home: StoreHome;
beforeEach(async () => {
  home = await storeHome(() => Date.parse('2026-01-02T03:04:05.678Z'));
});
afterEach(() => home[Symbol.asyncDispose]());

const entry = (path: string, content: string) => ({
  entry: { path, type: 'file' as const, mode: 0o755, uid: 0, gid: 0, size: content.length, mtime: 5 },
  body: { kind: 'bytes' as const, bytes: Buffer.from(content) },
});
const rootfs = async () =>
  Buffer.concat(await Array.fromAsync(writeTar([entry('bin/sh', 'shell'), entry('etc/passwd', 'root')])));
const platform = parsePlatform('linux/arm64');
const take = (bytes: Uint8Array, extra: object = {}) =>
  importImage(home, bytesOf(bytes), { platform, source: 'root.tar', ...extra });

describe('importing', () => {
  it.each([
    ['plain', (bytes: Buffer) => bytes, mediaType.ociLayerGzip, false],
    ['gzip', (bytes: Buffer) => gzipSync(bytes), mediaType.ociLayerGzip, true],
    ['zstd', (bytes: Buffer) => zstdCompressSync(bytes), mediaType.ociLayerZstd, true],
  ])('%s: one layer, kept as it came if it is gzip or zstd', async (_, compress, type, kept) => {
    const tar = await rootfs();
    const bytes = compress(tar);
    const { digest } = await take(bytes, { names: [{ repository: 'base', tag: '1' }] });
    const image = await openImage(home.blobs, digest);
    expect(image.layers).toEqual([
      { diffId: sha256(tar), descriptor: { mediaType: type, digest: expect.any(String), size: expect.any(Number) } },
    ]);
    const [layer] = image.layers;
    expect(layer?.descriptor.digest === sha256(bytes)).toBe(kept);
    if (!kept) {
      const stored = await home.blobs.open(layer!.descriptor.digest);
      expect(gunzipSync(Buffer.concat(await Array.fromAsync(stored!.body)))).toEqual(tar);
    }
    expect(image.config).toEqual({
      created: '2026-01-02T03:04:05Z',
      architecture: 'arm64',
      os: 'linux',
      config: {},
      rootfs: { type: 'layers', diff_ids: [sha256(tar)] },
      history: [{ created: '2026-01-02T03:04:05Z', comment: 'Imported from root.tar' }],
    });
    expect((await home.catalog.resolve('base', '1'))?.digest).toBe(digest);
    // What is in it is known without reading it again, and goes with it.
    const toc = await new LayerRecords(home.table, home.blobs).get(sha256(tar));
    expect(toc?.toc).toBeDefined();
    // The same again is the same image.
    expect((await take(bytes)).digest).toBe(digest);
    await removeImage(home, 'base:1');
    expect(await blobsOf(home)).toEqual([]);
    expect(await new LayerRecords(home.table, home.blobs).get(sha256(tar))).toBeUndefined();
  });

  it('sets what the changes say, and the message', async () => {
    const { digest } = await take(await rootfs(), {
      changes: [
        'CMD ["sh", "-c", "echo hi"]',
        'ENV A=1 B="two words"',
        'ENV C=$A-x',
        'EXPOSE 80 53/udp',
        'WORKDIR /srv',
        'WORKDIR app',
        'USER nobody',
      ],
      message: 'vendor drop',
    });
    const shown = await inspectImage(home, digest, { platform });
    expect(shown).toMatchObject({
      Id: digest,
      RepoTags: [],
      RepoDigests: [],
      Comment: 'vendor drop',
      Architecture: 'arm64',
      Config: {
        Cmd: ['sh', '-c', 'echo hi'],
        Env: ['A=1', 'B=two words', 'C=1-x'],
        ExposedPorts: { '53/udp': {}, '80/tcp': {} },
        WorkingDir: '/srv/app',
        User: 'nobody',
      },
    });
    expect(await historyOf(home, digest, { platform })).toEqual([
      { Id: digest, Created: '2026-01-02T03:04:05Z', CreatedBy: '', Tags: [], Size: expect.any(Number), Comment: 'vendor drop' },
    ]);
  });

  it.each([
    ['no tar', Buffer.from('x'.repeat(2000)), {}],
    ['nothing', Buffer.alloc(0), {}],
    ['an instruction that makes files', undefined, { changes: ['RUN true'], code: 'USAGE' }],
    ['another stage', undefined, { changes: ['FROM scratch'], code: 'USAGE' }],
    ['no instruction', undefined, { changes: ['FROBNICATE'], code: 'DOCKERFILE' }],
  ])('%s is refused and leaves nothing', async (_, bytes, { code, ...extra }: { code?: string; changes?: string[] }) => {
    await expect(take(bytes ?? (await rootfs()), extra)).rejects.toMatchObject({ code: code ?? 'INVALID_ARCHIVE' });
    expect(await blobsOf(home)).toEqual([]);
  });

  it('what is cut off, or leads outside, is refused and leaves nothing', async () => {
    const tar = await rootfs();
    for (const bytes of [tar.subarray(0, 700), gzipSync(tar).subarray(0, 60), gzipSync(tar.subarray(0, 1300))]) {
      await expect(take(bytes)).rejects.toMatchObject({ code: 'INVALID_ARCHIVE' });
    }
    const hostile = Buffer.from(tar);
    hostile.write('../up', 0, 'latin1');
    hostile.fill(0, 5, 100);
    // The checksum of the changed header.
    hostile.write('        ', 148, 'latin1');
    const sum = hostile.subarray(0, 512).reduce((total, byte) => total + byte, 0);
    hostile.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148, 'latin1');
    await expect(take(hostile)).rejects.toMatchObject({ code: 'UNSAFE_PATH' });
    expect(await blobsOf(home)).toEqual([]);
  });
});

describe('changes', () => {
  const config: ImageConfig = {
    architecture: 'amd64',
    os: 'linux',
    config: { Env: ['PATH=/bin', 'Q=a "b" $c \\d'], WorkingDir: '/work', Cmd: ['old'] },
    rootfs: { type: 'layers', diff_ids: [] },
  };

  it('build on the config there is', async () => {
    const changed = await applyChanges(
      config,
      ['ENV PATH=/x:$PATH COPY=$Q', 'WORKDIR sub', 'ENTRYPOINT ["e"]', 'LABEL a=b'],
      importChanges,
    );
    expect(changed.config).toMatchObject({
      Env: ['PATH=/x:/bin', 'Q=a "b" $c \\d', 'COPY=a "b" $c \\d'],
      WorkingDir: '/work/sub',
      Entrypoint: ['e'],
      Labels: { a: 'b' },
    });
    expect(await applyChanges(config, [], importChanges)).toBe(config);
  });

  it.each([
    [['USER'], '--change "USER": USER requires exactly one argument'],
    [['ENV A=1\nLABEL b=c', 'EXPOSE zz', 'USER x'], '--change "EXPOSE zz": invalid containerPort: zz'],
    [['CMD a', 'ENV B=${'], '--change "ENV B=${": failed to process'],
  ])('names the change that is wrong, and no line of a file that nobody has: %j', async (changes, message) => {
    const wrong = applyChanges(config, changes, importChanges);
    await expect(wrong).rejects.toMatchObject({
      code: 'DOCKERFILE',
      message: expect.stringContaining(message),
      where: undefined,
    });
  });
});
