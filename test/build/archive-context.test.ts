// Archives that become contexts of a project, from a bucket and through the API.
import { randomBytes } from 'node:crypto';
import { gzipSync } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { StoredArchives } from '../../shared/build/archive-context.ts';
import { storedContext } from '../../shared/build/stored-context.ts';
import { type ArchiveObjects, archiveKey } from '../../shared/context/archive-object.ts';
import { ContextStore } from '../../shared/context/context-store.ts';
import { PackSink } from '../../shared/context/pack-sink.ts';
import type { Entry } from '../../shared/layer/entry.ts';
import { sha256 } from '../../shared/oci/digest.ts';
import { collect } from '../../shared/stream/collect.ts';
import { openBody, writeTar } from '../../shared/tar/write.ts';
import { failStep, planBuildStep } from '../../shared/workflow/steps.ts';
import {
  type AccountHome,
  accountHome,
  drive,
  eventsOf,
  project,
  requestOf,
  sendContext,
  startBuild,
} from '../support/account-home.ts';

let home: AccountHome;
beforeAll(async () => {
  home = await accountHome();
});
afterAll(() => home[Symbol.asyncDispose]());

const entry = (path: string, type: Entry['type'], more: Partial<Entry> = {}): Entry => ({
  path,
  type,
  mode: type === 'dir' ? 0o755 : 0o644,
  uid: 0,
  gid: 0,
  size: 0,
  mtime: 0,
  ...more,
});

async function tarOf(files: Readonly<Record<string, string | Uint8Array>>, more: readonly Entry[] = []): Promise<Buffer> {
  const members = Object.entries(files).map(([path, body]) => ({
    entry: entry(path, 'file', { size: Buffer.byteLength(body) }),
    body: { kind: 'bytes' as const, bytes: Buffer.from(body) },
  }));
  return Buffer.concat(await Array.fromAsync(writeTar([...members, ...more.map((one) => ({ entry: one }))])));
}
/** In pieces of an odd size, as a network has them. */
async function* pieces(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += 10_007) yield bytes.subarray(at, at + 10_007);
}
const bucketOf = (objects: Readonly<Record<string, Uint8Array>>): ArchiveObjects => ({
  bucket: 'b',
  size: async (key) => objects[key]?.length,
  open: async (key) => (objects[key] === undefined ? undefined : { size: objects[key].length, body: pieces(objects[key]) }),
});
async function built(archive: Uint8Array, more: Parameters<typeof requestOf>[1] = {}, url = 's3://b/contexts/x.tar.gz') {
  const id = await startBuild(home, { ...requestOf(''), context: { kind: 'archive', url }, ...more });
  const ports = { ...home.fresh(), archives: bucketOf({ 'contexts/x.tar.gz': archive }) };
  let build: Awaited<ReturnType<typeof drive>>;
  try {
    await planBuildStep(id, ports);
    build = await drive(home, id);
  } catch (error) {
    build = await failStep(id, { cause: String(error) }, ports);
  }
  return { id, build, failure: build?.failure };
}

describe('an archive in the bucket', () => {
  const files = { 'src/a': 'file a\n', 'src/b': 'file b\n', large: randomBytes(5 << 20) };
  const dockerfile = 'FROM scratch\nCOPY src large /\n';

  it('builds the image that the same files build when they are sent', async () => {
    const { build, id } = await built(gzipSync(await tarOf({ Dockerfile: dockerfile, ...files })));
    expect(build).toMatchObject({ state: 'succeeded' });
    const other = await accountHome();
    try {
      const sent = await sendContext(other.fresh(), { Dockerfile: dockerfile, 'src/a': files['src/a'], 'src/b': files['src/b'] });
      const again = await startBuild(
        other,
        requestOf(dockerfile.replace(' large', ''), { context: { kind: 'stored', project, id: sent } }),
      );
      const without = await built(gzipSync(await tarOf({ Dockerfile: dockerfile.replace(' large', ''), ...files })));
      expect((await drive(other, again))?.image).toBe(without.build?.image);
    } finally {
      await other[Symbol.asyncDispose]();
    }
    const events = await eventsOf(home, id);
    expect(events).toContainEqual(
      expect.objectContaining({ type: 'started', name: '[internal] load build context from s3://b/contexts/x.tar.gz' }),
    );
  });

  it('may be planned twice, and the first time counts', async () => {
    const id = await startBuild(home, { ...requestOf(''), context: { kind: 'archive', url: 's3://b/contexts/x.tar.gz' } });
    const first = gzipSync(await tarOf({ Dockerfile: 'FROM scratch\nLABEL a=first\n' }));
    const second = gzipSync(await tarOf({ Dockerfile: 'FROM scratch\nLABEL a=second\n' }));
    const { records } = home.fresh();
    await records.start(id);
    const { unpackArchive } = await import('../../shared/build/archive-context.ts');
    const { signal } = new AbortController();
    const asked = await records.request(id);
    const one = await unpackArchive(asked, { ...home.fresh(), archives: bucketOf({ 'contexts/x.tar.gz': first }), signal });
    await records.saveUnpacked(id, one.request);
    const two = await unpackArchive(asked, { ...home.fresh(), archives: bucketOf({ 'contexts/x.tar.gz': second }), signal });
    expect((await records.saveUnpacked(id, two.request)).dockerfile.text).toContain('first');
    expect((await records.request(id)).dockerfile.text).toContain('first');
  });

  it('takes another Dockerfile of the archive, or one of the request', async () => {
    const archive = gzipSync(await tarOf({ 'deploy/Dockerfile.prod': 'FROM scratch\nLABEL from=archive\n', x: 'x' }));
    const named = await built(archive, { dockerfile: { name: 'deploy/Dockerfile.prod', text: '' } });
    expect(named.build).toMatchObject({ state: 'succeeded' });
    const own = await built(archive, { dockerfile: { name: 'Dockerfile', text: 'FROM scratch\nCOPY x /\n' } });
    expect(own.build).toMatchObject({ state: 'succeeded' });
    const lower = await built(gzipSync(await tarOf({ dockerfile: 'FROM scratch\nLABEL a=b\n' })), {
      dockerfile: { name: 'Dockerfile', text: '' },
    });
    expect(lower.build).toMatchObject({ state: 'succeeded' });
  });

  it.each([
    ['no Dockerfile', async () => gzipSync(await tarOf({ x: 'x' })), 'DOCKERFILE'],
    ['nothing', async () => Buffer.alloc(0), 'CONTEXT'],
    ['a zip', async () => Buffer.from('PK\x03\x04\0\0more'), 'CONTEXT'],
    [
      'half of itself',
      async () => gzipSync(await tarOf({ Dockerfile: 'FROM scratch\n', x: randomBytes(50_000) })).subarray(0, 20_000),
      'INVALID_ARCHIVE',
    ],
    ['a way out', async () => gzipSync(await tarOf({ '../../etc/passwd': 'x', Dockerfile: 'FROM scratch\n' })), 'UNSAFE_PATH'],
    [
      'a file below a link',
      async () =>
        gzipSync(
          Buffer.concat([
            (await tarOf({}, [entry('d', 'symlink', { link: '/etc', mode: 0o777 })])).subarray(0, 512),
            await tarOf({ 'd/passwd': 'x', Dockerfile: 'FROM scratch\n' }),
          ]),
        ),
      'UNSAFE_PATH',
    ],
  ])('is refused for %s', async (_, make, code) => {
    const { failure } = await built(await make());
    expect(failure).toMatchObject({ code });
    expect(failure?.message).toContain(code === 'DOCKERFILE' ? 'Dockerfile' : 's3://b/contexts/x.tar.gz');
  });

  it('is found below contexts/ of the home’s own bucket only, by its project', () => {
    for (const [url, of] of [
      ['s3://b/contexts/x.tar.gz', 'default'],
      ['s3://b/contexts/default/x', 'default'],
      ['s3://b/contexts/web/a/b.tar', 'web'],
    ] as const)
      expect(archiveKey(url, 'b', of)).toBe(url.slice('s3://b/'.length));
    const refused: [string, string][] = [
      ['s3://other/contexts/x', 'default'],
      ['s3://b/blobs/sha256/ab', 'default'],
      ['s3://b/contexts', 'default'],
      ['s3://b/contexts/', 'default'],
      ['s3://b/contexts/web/', 'web'],
      ['s3://b//contexts/x', 'default'],
      ['s3://b/contexts/web/x', 'default'],
      ['s3://b/contexts/x', 'web'],
      ['s3://b/contexts//x', 'default'],
      ['s3://b/contexts/a\nb', 'default'],
    ];
    for (const [url, of] of refused)
      expect(() => archiveKey(url, 'b', of), url).toThrow(
        expect.objectContaining({ code: 'DENIED', message: expect.stringContaining(JSON.stringify(url)) }),
      );
    for (const url of ['s3://b', 'http://169.254.169.254/contexts/x', '/etc/passwd', 's3:/b/contexts/x'])
      expect(() => archiveKey(url, 'b', 'default'), url).toThrow(expect.objectContaining({ code: 'USAGE' }));
    // What looks like going up is a name in S3, and stays in the folder.
    expect(archiveKey('s3://b/contexts/default/../../blobs/x', 'b', 'default')).toBe('contexts/default/../../blobs/x');
  });
});

describe('an archive through the API', () => {
  it('is kept as a context of its project', async () => {
    const archives = new StoredArchives(home);
    const bytes = gzipSync(
      await tarOf({ Dockerfile: 'FROM scratch\nCOPY x /\n', x: 'x', '.dockerignore': 'secret\n', secret: 's' }),
    );
    const { id, project: of, dockerfile } = await archives.receive(pieces(bytes), { project: 'web' });
    expect([of, dockerfile.text]).toEqual(['web', 'FROM scratch\nCOPY x /\n']);
    const source = await storedContext(home, 'web', id);
    expect(source.list.entries.map(({ path }) => path)).toEqual(['.dockerignore', 'Dockerfile', 'x']);
    await expect(storedContext(home, 'default', id)).rejects.toMatchObject({ code: 'NOT_FOUND' });
    const lone = await archives.receive(pieces(Buffer.from('FROM scratch\n')), {});
    expect(lone).toMatchObject({ project: 'default', dockerfile: { text: 'FROM scratch\n' } });
    expect((await storedContext(home, 'default', lone.id)).list.entries).toEqual([]);
    await expect(archives.receive(pieces(bytes), { project: 'a/b' })).rejects.toMatchObject({ code: 'USAGE' });
    await expect(archives.receive(pieces(Buffer.from('FROM a\n')), { dockerfile: 'x' })).rejects.toMatchObject({ code: 'USAGE' });
  });

  it('stores contents once, in packs, whatever their number and size', async () => {
    const store = new ContextStore({ ...home, project: 'packs' });
    const sink = new PackSink({ store, blobs: home.blobs });
    const bodies = [
      ...Array.from({ length: 20_000 }, (_, i) => Buffer.from(`${i % 17_000}`)),
      randomBytes(4 << 20),
      randomBytes((4 << 20) + 1),
      Buffer.alloc(0),
    ];
    const entries: Entry[] = [];
    for (const [i, bytes] of bodies.entries()) {
      const { digest } = await sink.write(pieces(bytes));
      expect(digest).toBe(sha256(bytes));
      entries.push(entry(`f${i}`, 'file', { size: bytes.length, digest }));
    }
    await sink.finish(entries);
    for (const i of [0, 16_999, 17_000, 19_999, 20_000, 20_001]) {
      const body = await openBody(await sink.body(entries[i]!), entries[i]!.size);
      expect(Buffer.compare(await collect(body, 1 << 23, 'body'), bodies[i]!)).toBe(0);
    }
  });
});
