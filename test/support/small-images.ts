// Manifests, indexes and configs made of a few bytes, stored in a given home: what catalog and image tests push around.
import { type Digest, sha256 } from '../../shared/oci/digest.ts';
import { encodeConfig, encodeIndex, encodeManifest } from '../../shared/oci/encode.ts';
import { mediaType } from '../../shared/oci/media-type.ts';
import type { Platform } from '../../shared/oci/platform.ts';
import type { Blobs } from '../../shared/store/blobs.ts';
import type { Catalog } from '../../shared/store/catalog.ts';

export async function* bytesOf(...chunks: readonly (Uint8Array | string)[]): AsyncGenerator<Uint8Array> {
  for (const chunk of chunks) yield typeof chunk === 'string' ? Buffer.from(chunk) : chunk;
}

export interface Small {
  readonly bytes: Uint8Array;
  readonly mediaType: string;
  readonly digest: Digest;
  readonly size: number;
  readonly links: readonly { readonly digest: Digest; readonly size: number }[];
}

const small = (bytes: Uint8Array, type: string, links: Small['links'] = []): Small => ({
  bytes,
  mediaType: type,
  digest: sha256(bytes),
  size: bytes.length,
  links,
});

export interface SmallOptions {
  readonly layers?: readonly string[];
  readonly subject?: Small;
  readonly artifactType?: string;
  readonly annotations?: Readonly<Record<string, string>>;
  readonly platform?: Platform;
  readonly created?: string;
  readonly labels?: Readonly<Record<string, string>>;
}

/** An image whose layers are the given texts (no tar archives), its blobs stored. */
export async function smallImage(blobs: Blobs, name: string, options: SmallOptions = {}): Promise<Small> {
  const { layers = [`layer of ${name}`], platform = { os: 'linux', architecture: 'amd64' } } = options;
  const stored = await Promise.all(layers.map((text) => blobs.put(bytesOf(text))));
  const config = await blobs.put(
    bytesOf(
      encodeConfig({
        created: options.created ?? '2026-01-02T03:04:05Z',
        author: name,
        ...platform,
        config: { Cmd: ['/bin/sh'], ...(options.labels && { Labels: options.labels }) },
        rootfs: { type: 'layers', diff_ids: stored.map(({ digest }) => digest) },
        history: layers.map((text) => ({ created_by: `COPY ${text}` })),
      }),
    ),
  );
  const bytes = encodeManifest({
    schemaVersion: 2,
    mediaType: mediaType.ociManifest,
    ...(options.artifactType && { artifactType: options.artifactType }),
    config: { mediaType: mediaType.ociConfig, ...config },
    layers: stored.map((layer) => ({ mediaType: mediaType.ociLayerTar, ...layer })),
    ...(options.subject && {
      subject: { mediaType: options.subject.mediaType, digest: options.subject.digest, size: options.subject.size },
    }),
    ...(options.annotations && { annotations: options.annotations }),
  });
  return small(bytes, mediaType.ociManifest, [config, ...stored]);
}

export function smallIndex(members: readonly (Small & { readonly platform?: Platform })[]): Small {
  const bytes = encodeIndex({
    schemaVersion: 2,
    mediaType: mediaType.ociIndex,
    manifests: members.map(({ mediaType: type, digest, size, platform }) => ({
      mediaType: type,
      digest,
      size,
      ...(platform && { platform }),
    })),
  });
  return small(bytes, mediaType.ociIndex);
}

export const commitSmall = (catalog: Catalog, repository: string, image: Small, ...tags: readonly string[]) =>
  catalog.commit(repository, { bytes: image.bytes, mediaType: image.mediaType, links: image.links, tags });
