// Docker's own archives (manifest.json, docker image spec v1.2): configs by name, layers as tars, sometimes links to one another. The
// manifest we make of one is, byte for byte, what docker 29 makes of it, so that the image has the same ID there and here.
import { createHash } from 'node:crypto';
import { createGzip } from 'node:zlib';
import { SlipwayError } from '../errors.ts';
import type { Name } from '../image/commit.ts';
import { readBlob } from '../image/read.ts';
import { configLimit, parseConfig } from '../oci/config.ts';
import type { Descriptor } from '../oci/descriptor.ts';
import { type Digest, sha256 } from '../oci/digest.ts';
import { encodeManifest } from '../oci/encode.ts';
import { asArray, asObject, asString, asStrings, optional, parseJson } from '../oci/fields.ts';
import { manifestLimit } from '../oci/manifest.ts';
import { mediaType } from '../oci/media-type.ts';
import { choosePlatform, formatPlatform, type Platform } from '../oci/platform.ts';
import { parseTarget } from '../oci/reference.ts';
import type { Blobs, Bytes, Options } from '../store/blobs.ts';
import { chunkSize } from '../stream/chunk-size.ts';
import { decompress } from '../stream/decompress.ts';
import { through } from '../stream/through.ts';
import type { Intake, Member } from './intake.ts';
import type { ArchivedImage } from './load.ts';

interface Listed {
  readonly config: string;
  readonly names: readonly Name[];
  readonly layers: readonly string[];
}

/** The images that manifest.json lists. */
export function readManifestJson(bytes: Uint8Array): readonly Listed[] {
  return asArray(parseJson(bytes, 'manifest.json', manifestLimit), 'manifest.json').map((item, i) => {
    const where = `manifest.json[${i}]`;
    const from = asObject(item, where);
    const tags = optional(from.RepoTags, `${where}.RepoTags`, asStrings) ?? [];
    return {
      config: asString(from.Config, `${where}.Config`),
      names: tags.map((tag, n) => parseName(tag, `${where}.RepoTags[${n}]`)),
      layers: optional(from.Layers, `${where}.Layers`, asStrings) ?? [],
    };
  });
}

/** A name from an archive; what is wrong with it is told with where it stands. */
export function parseName(text: string, where: string): Name {
  try {
    const { repository, tag } = parseTarget(text);
    return { repository, tag };
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause);
    throw new SlipwayError('INVALID_ARCHIVE', `${where}: ${JSON.stringify(text.slice(0, 300))}: ${why}`, { cause });
  }
}

export async function readDockerArchive(
  blobs: Blobs,
  intake: Intake,
  options: Options & { readonly platform?: Platform },
): Promise<readonly ArchivedImage[]> {
  const images: ArchivedImage[] = [];
  for (const [i, listed] of readManifestJson(intake.documents.get('manifest.json')!).entries()) {
    images.push({ digest: await readImage(blobs, intake, listed, `manifest.json[${i}]`, options), names: listed.names });
  }
  return images;
}

async function readImage(
  blobs: Blobs,
  intake: Intake,
  listed: Listed,
  where: string,
  options: Options & { readonly platform?: Platform },
): Promise<Digest> {
  const member = intake.member(listed.config, `${where}.Config`);
  const named = /(?:^|\/)([a-f0-9]{64})(?:\.json)?$/.exec(listed.config)?.[1];
  if (named !== undefined && member.digest !== `sha256:${named}`) {
    throw new SlipwayError('DIGEST_MISMATCH', `${listed.config}: the config has the digest ${member.digest}`);
  }
  const config = parseConfig(await readBlob(blobs, member.digest, configLimit, 'config', options));
  if (options.platform && !choosePlatform([{ platform: config }], options.platform)) {
    const there = formatPlatform(config);
    throw new SlipwayError('NOT_FOUND', `the archive has an image for ${there}, not for ${formatPlatform(options.platform)}`);
  }
  const diffIds = config.rootfs.diff_ids;
  if (listed.layers.length !== diffIds.length) {
    throw new SlipwayError(
      'INVALID_ARCHIVE',
      `${where}: ${listed.layers.length} layers, but the config has ${diffIds.length} diff_ids`,
    );
  }
  const layers: Descriptor[] = [];
  for (const [n, path] of listed.layers.entries()) {
    const layer = intake.member(path, `${where}.Layers[${n}]`);
    layers.push(await checkedLayer(blobs, intake, layer, diffIds[n]!, path, options));
  }
  const bytes = encodeManifest({
    schemaVersion: 2,
    mediaType: mediaType.dockerManifest,
    config: { mediaType: mediaType.dockerConfig, digest: member.digest, size: member.size },
    layers,
  });
  const digest = sha256(bytes);
  await intake.make(bytes, digest, options);
  return digest;
}

/** The layer's descriptor, once its uncompressed bytes are known to be those of the diffID. */
async function checkedLayer(
  blobs: Blobs,
  intake: Intake,
  layer: Member,
  diffId: Digest,
  path: string,
  options: Options,
): Promise<Descriptor> {
  const mismatch = (actual: string) =>
    new SlipwayError('DIGEST_MISMATCH', `${path}: the layer has the diffID ${actual}, the config says ${diffId}`, {
      details: { expected: diffId, actual },
    });
  const { digest, size } = layer;
  if (layer.format === 'none') {
    if (digest !== diffId) throw mismatch(digest);
    return { mediaType: mediaType.dockerLayerTar, digest, size };
  }
  const hash = createHash('sha256');
  async function* plain(): AsyncGenerator<Uint8Array> {
    const blob = await blobs.open(digest, undefined, options);
    if (blob === undefined) throw new SlipwayError('STORE', `${path}: the blob ${digest} has gone from the store`);
    for await (const chunk of decompress(blob.body, { what: path, ...(options.signal && { signal: options.signal }) })) {
      hash.update(chunk);
      yield chunk;
    }
  }
  const kept = layer.format === 'gzip' || layer.format === 'zstd';
  const made = kept ? undefined : await blobs.put(gzipped(plain()), {}, options);
  if (made) intake.made({ ...made, format: 'gzip' });
  else for await (const _ of plain());
  const actual = `sha256:${hash.digest('hex')}`;
  if (actual !== diffId) throw mismatch(actual);
  if (made) return { mediaType: mediaType.dockerLayerGzip, digest: made.digest, size: made.size };
  return { mediaType: layer.format === 'zstd' ? mediaType.dockerLayerZstd : mediaType.dockerLayerGzip, digest, size };
}

/** No registry takes bzip2 or xz: such layers are compressed anew. */
export const gzipped = (source: Bytes): Bytes => through(source, createGzip({ level: 6, chunkSize }));
