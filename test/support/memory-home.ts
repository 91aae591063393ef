// Blobs and a catalog in memory: the smallest thing a registry can stand on, for tests that need no disk.
import { createHash, randomUUID } from 'node:crypto';
import { SlipwayError } from '../../shared/errors.ts';
import { algorithmOf, type Digest, sha256 } from '../../shared/oci/digest.ts';
import { childrenOf, isForeign, parseManifestOrIndex } from '../../shared/oci/manifest.ts';
import type { BlobStat, Blobs, Bytes } from '../../shared/store/blobs.ts';
import type { Catalog, ManifestRecord } from '../../shared/store/catalog.ts';

async function all(source: Bytes): Promise<Buffer> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of source) chunks.push(chunk);
  return Buffer.concat(chunks);
}

export interface MemoryHome {
  readonly blobs: Blobs;
  readonly catalog: Catalog;
  /** Bodies opened so far. */
  readonly opened: () => number;
}

interface Repository {
  readonly links: Map<Digest, number>;
  readonly manifests: Map<Digest, ManifestRecord>;
  readonly tags: Map<string, Digest>;
}

export function memoryHome(): MemoryHome {
  const bodies = new Map<Digest, Buffer>();
  const uploads = new Map<string, { size: number; readonly chunks: Uint8Array[] }>();
  let opened = 0;
  const keep = (bytes: Buffer, expected: { digest?: Digest; size?: number } = {}): BlobStat => {
    const algorithm = expected.digest === undefined ? 'sha256' : algorithmOf(expected.digest);
    const digest: Digest = `${algorithm}:${createHash(algorithm).update(bytes).digest('hex')}`;
    if (expected.size !== undefined && expected.size !== bytes.length) throw new SlipwayError('SIZE_MISMATCH', 'size differs');
    if (expected.digest !== undefined && expected.digest !== digest) throw new SlipwayError('DIGEST_MISMATCH', 'digest differs');
    bodies.set(digest, bytes);
    return { digest, size: bytes.length };
  };
  const upload = (id: string): { size: number; readonly chunks: Uint8Array[] } => {
    const state = uploads.get(id);
    if (state === undefined) throw new SlipwayError('UPLOAD_UNKNOWN', 'no such upload');
    return state;
  };
  const blobs: Blobs = {
    stat: async (digest) => {
      const body = bodies.get(digest);
      return body === undefined ? undefined : { digest, size: body.length };
    },
    open: async (digest, range) => {
      const body = bodies.get(digest);
      if (body === undefined) return undefined;
      opened++;
      return { digest, size: body.length, body: ReadableStream.from([body.subarray(range?.start ?? 0, range?.end)]) };
    },
    put: async (source, expected) => keep(await all(source), expected),
    begin: async () => {
      const id = randomUUID();
      uploads.set(id, { size: 0, chunks: [] });
      return { id, offset: 0 };
    },
    upload: async (id) => {
      const state = uploads.get(id);
      return state === undefined ? undefined : { id, offset: state.size };
    },
    append: async (id, offset, source) => {
      const state = upload(id);
      if (state.size !== offset) throw new SlipwayError('UPLOAD_OFFSET', 'offset', { details: { offset: state.size } });
      for await (const chunk of source) {
        state.chunks.push(chunk);
        state.size += chunk.length;
      }
      return { id, offset: state.size };
    },
    finish: async (id, expected) => {
      const stat = keep(Buffer.concat(upload(id).chunks), expected);
      uploads.delete(id);
      return stat;
    },
    abort: async (id) => {
      uploads.delete(id);
    },
    list: async () => [...bodies].map(([digest, body]) => ({ digest, size: body.length })),
    delete: async (digest) => bodies.delete(digest),
  };

  const repositories = new Map<string, Repository>();
  const repository = (name: string): Repository => {
    const found = repositories.get(name) ?? { links: new Map(), manifests: new Map(), tags: new Map() };
    repositories.set(name, found);
    return found;
  };
  const paged = <T>(items: readonly T[], key: (item: T) => string, page: { after?: string; limit: number }): T[] =>
    items
      .toSorted((a, b) => (key(a) < key(b) ? -1 : 1))
      .filter((item) => page.after === undefined || key(item) > page.after)
      .slice(0, page.limit);
  const catalog: Catalog = {
    resolve: async (name, reference) => {
      const found = repositories.get(name);
      return found?.manifests.get(found.tags.get(reference) ?? (reference as Digest));
    },
    commit: async (name, commit) => {
      const document = parseManifestOrIndex(commit.bytes, commit.mediaType);
      const { links, manifests, tags } = repository(name);
      const missing = childrenOf(document)
        .filter((c) => !isForeign(c) && !links.has(c.digest) && !manifests.has(c.digest))
        .map((c) => c.digest);
      if (missing.length > 0) throw new SlipwayError('NOT_FOUND', 'unknown blobs', { details: { missing } });
      const stat = keep(Buffer.from(commit.bytes), { digest: commit.digest ?? sha256(commit.bytes) });
      const body = document.kind === 'index' ? document.index : document.manifest;
      const artifactType = body.artifactType ?? (document.kind === 'manifest' ? document.manifest.config.mediaType : undefined);
      const record: ManifestRecord = {
        ...stat,
        mediaType: commit.mediaType,
        committed: 0,
        ...(artifactType === undefined ? {} : { artifactType }),
        ...(body.subject === undefined ? {} : { subject: body.subject.digest }),
        ...(body.annotations === undefined ? {} : { annotations: body.annotations }),
      };
      manifests.set(stat.digest, record);
      for (const tag of commit.tags ?? []) tags.set(tag, stat.digest);
      return record;
    },
    tag: async (name, tag, digest) => {
      repository(name).tags.set(tag, digest);
    },
    untag: async (name, tag) => repositories.get(name)?.tags.delete(tag) ?? false,
    remove: async (name, digest) => {
      const { manifests, tags } = repositories.get(name) ?? { manifests: new Map(), tags: new Map<string, Digest>() };
      for (const [tag, at] of tags) if (at === digest) tags.delete(tag);
      return manifests.delete(digest);
    },
    tags: async (name, page) => {
      const tags = repositories.get(name)?.tags;
      return (
        tags &&
        paged(
          [...tags].map(([tag, digest]) => ({ tag, digest, moved: 0 })),
          (t) => t.tag,
          page,
        )
      );
    },
    manifests: async (name, page) => paged([...(repositories.get(name)?.manifests.values() ?? [])], (m) => m.digest, page),
    repositories: async (page) => paged([...repositories.keys()], (name) => name, page),
    referrers: async (name, digest, page) =>
      paged(
        [...(repositories.get(name)?.manifests.values() ?? [])].filter(
          (m) => m.subject === digest && (page.artifactType === undefined || m.artifactType === page.artifactType),
        ),
        (m) => m.digest,
        page,
      ),
    link: async (name, digest, size) => {
      repository(name).links.set(digest, size);
    },
    linked: async (name, digest) => repositories.get(name)?.links.get(digest),
    unlink: async (name, digest) => repositories.get(name)?.links.delete(digest) ?? false,
    moves: async () => [],
    // What the registry never asks of its catalog.
    commitAll: () => Promise.reject(new SlipwayError('UNSUPPORTED', 'commitAll: not in the memory home')),
    holders: () => Promise.reject(new SlipwayError('UNSUPPORTED', 'holders: not in the memory home')),
    unlinkUnused: () => Promise.reject(new SlipwayError('UNSUPPORTED', 'unlinkUnused: not in the memory home')),
  };
  return { blobs, catalog, opened: () => opened };
}
