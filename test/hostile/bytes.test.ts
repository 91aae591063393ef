// Archives, compressed streams and our own binary documents, damaged (test/support/mutate.ts says what must hold).
import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { gzipSync, zstdCompressSync } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { loadArchive } from '../../shared/archive/load.ts';
import { receiveContext } from '../../shared/context/from-archive.ts';
import { Context } from '../../shared/context/list.ts';
import { checkedPack, encodePack } from '../../shared/context/pack.ts';
import type { BodySink } from '../../shared/context/pack-sink.ts';
import { CompressPool } from '../../shared/layer/compress-pool.ts';
import type { EntryWithBody } from '../../shared/layer/entry.ts';
import { MemberIndex } from '../../shared/layer/member-index.ts';
import { tocOfLayer } from '../../shared/layer/toc-of-layer.ts';
import { TableToc } from '../../shared/layer/toc-table.ts';
import { writeLayer } from '../../shared/layer/write.ts';
import { sha256 } from '../../shared/oci/digest.ts';
import { decompress } from '../../shared/stream/decompress.ts';
import { writeTar } from '../../shared/tar/write.ts';
import { cli } from '../support/cli.ts';
import { always, below, damagedBytes, type Random } from '../support/mutate.ts';
import { type StoreHome, storeHome } from '../support/store-home.ts';

let home: StoreHome;
const pool = new CompressPool(1);
beforeAll(async () => {
  home = await storeHome();
});
afterAll(async () => {
  await pool[Symbol.asyncDispose]();
  await home[Symbol.asyncDispose]();
});

async function* inPieces(random: Random, bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; ) {
    const next = at + 1 + below(random, 5000);
    yield bytes.subarray(at, next);
    at = next;
  }
}

async function all(source: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of source) chunks.push(chunk);
  return Buffer.concat(chunks);
}

const base = { mode: 0o644, uid: 0, gid: 0, mtime: 1 };
const file = (path: string, text: string, more: object = {}): EntryWithBody => ({
  entry: { path, type: 'file', ...base, size: text.length, ...more },
  body: { kind: 'bytes', bytes: Buffer.from(text) },
});
const entries: readonly EntryWithBody[] = [
  file('Dockerfile', 'FROM scratch\nCOPY . /\n'),
  { entry: { path: 'd', type: 'dir', ...base, mode: 0o755, size: 0 } },
  file('d/a', 'x'.repeat(3000), { xattrs: { 'user.a': 'AAEC' } }),
  { entry: { path: 'd/hard', type: 'hardlink', ...base, size: 0, link: 'd/a' } },
  { entry: { path: 'd/link', type: 'symlink', ...base, size: 0, link: '../Dockerfile' } },
  file(`d/${'long'.repeat(40)}`, 'y'),
  file('etc/passwd', 'root:x:0:0::/:\n'),
];

describe('compressed streams', () => {
  const plain = Buffer.from(Array.from({ length: 3000 }, (_, i) => `line ${i % 97} of ${i}\n`).join(''));
  const tool = (name: string) => () => execFileSync(name, ['-c'], { input: plain });
  it.each([
    ['gzip', () => Buffer.concat([gzipSync(plain), gzipSync(plain)]), 300],
    ['zstd', () => zstdCompressSync(plain), 300],
    ['bzip2', tool('bzip2'), 60],
    ['xz', tool('xz'), 150],
  ] as const)('%s', async (_, compress, runs) => {
    const bytes = compress();
    await always(runs, async (random, tell) => {
      const damaged = damagedBytes(random, bytes);
      tell(damaged);
      let size = 0;
      for await (const chunk of decompress(inPieces(random, damaged), { limit: 1 << 22 })) size += chunk.length;
      expect(size).toBeLessThanOrEqual(1 << 22);
    });
  });
});

/** Reads all that it is given, and keeps nothing. */
const nowhere: BodySink = {
  write: async (source) => ({ digest: sha256(await all(source)) }),
  finish: async () => undefined,
  body: () => {
    throw new Error('nobody asks for a body');
  },
};

describe('archives', () => {
  it('as contexts', async () => {
    const tar = await all(writeTar(entries));
    await always(300, async (random, tell) => {
      const damaged = damagedBytes(random, tar);
      tell(damaged);
      let kept = 0;
      const received = await receiveContext(inPieces(random, random() < 0.5 ? damaged : gzipSync(damaged)), {
        scratch: nowhere,
        limit: 1 << 22,
      });
      if (received.kind === 'archive') kept = received.context.entries.length;
      expect(kept).toBeLessThan(100);
    });
  });

  it('of images', async () => {
    const made = await cli(['import', '-', 'app'], { home: join(home.root, 'cli'), stdin: await all(writeTar(entries)) });
    expect(made).toMatchObject({ code: 0 });
    const { bytes } = await cli(['save', 'app'], { home: join(home.root, 'cli') });
    await always(150, async (random, tell) => {
      const damaged = damagedBytes(random, bytes);
      tell(damaged);
      await loadArchive(home, inPieces(random, damaged));
    });
  });

  it('as layers', async () => {
    const tar = await all(writeTar(entries));
    await always(300, async (random, tell) => {
      const damaged = damagedBytes(random, tar);
      tell(damaged);
      new TableToc(await tocOfLayer(inPieces(random, damaged), sha256(damaged)));
    });
  });
});

describe('our own documents', () => {
  it('tables of contents and member indexes', async () => {
    const layer = await writeLayer(entries, { blobs: home.blobs, compression: 'gzip', pool });
    await always(1500, (random, tell) => {
      const damaged = damagedBytes(random, layer.toc);
      tell(damaged);
      const toc = new TableToc(damaged);
      for (const path of ['', 'd', 'd/a', 'etc/passwd', 'zz']) {
        toc.get(path);
        toc.content(path);
        for (const _ of toc.under(path));
      }
    });
    await always(1500, (random, tell) => {
      const damaged = damagedBytes(random, layer.members);
      tell(damaged);
      new MemberIndex(damaged).covering(0, 1000);
    });
  });

  it('lists and packs of contexts', async () => {
    const list = new Context(
      entries.map(({ entry }) => ({ ...entry, ...(entry.type === 'file' && { digest: sha256(entry.path) }) })),
    );
    const bytes = list.encode();
    await always(1500, (random, tell) => {
      const damaged = damagedBytes(random, bytes);
      tell(damaged);
      const context = Context.decode(damaged);
      for (const { path } of context.entries) context.get(path);
    });
    const bodies = ['one', 'two'].map((text) => ({ digest: sha256(text), bytes: Buffer.from(text) }));
    const pack = encodePack(bodies);
    await always(500, async (random, tell) => {
      const damaged = damagedBytes(random, pack.bytes);
      tell(damaged);
      await all(checkedPack(inPieces(random, damaged), (found) => expect(found.length).toBeLessThan(10)));
    });
  });
});
