// Making images of layers: what the builder, import and the archives end in. The same layers and config always give the same bytes.
import { SlipwayError } from '../errors.ts';
import type { ImageConfig } from '../oci/config.ts';
import type { Descriptor } from '../oci/descriptor.ts';
import { type Digest, sha256 } from '../oci/digest.ts';
import { encodeConfig, encodeIndex, encodeManifest } from '../oci/encode.ts';
import { type Compression, compressionOf, mediaType } from '../oci/media-type.ts';
import { normalizePlatform, type Platform } from '../oci/platform.ts';
import type { Blobs, Options } from '../store/blobs.ts';
import type { Catalog } from '../store/catalog.ts';

/** Where images without a name are: a repository that no client can ask for. */
export const unnamed = '<none>';

export interface NewImage {
  readonly config: ImageConfig;
  /** Bottom first; stored already. As many as `config.rootfs.diff_ids`. */
  readonly layers: readonly Descriptor[];
  /** Of the manifest. */
  readonly annotations?: Readonly<Record<string, string>>;
}

export interface Name {
  /** Familiar, as in the catalog. */
  readonly repository: string;
  readonly tag: string;
}

export interface CommitOptions extends Options {
  /** No names: the image is kept untagged (dangling), to be reached by its ID. */
  readonly names?: readonly Name[];
  /** Docker's media types instead of the OCI ones. */
  readonly docker?: boolean;
  /** An index also for one image. */
  readonly index?: boolean;
  /** Of the index. */
  readonly annotations?: Readonly<Record<string, string>>;
  /** Kept in the history of the tags. */
  readonly by?: string;
}

export interface CommittedImage {
  /** Digest of the manifest or index: the image's ID. */
  readonly digest: Digest;
  readonly mediaType: string;
  /** Bytes of that document. */
  readonly size: number;
  readonly images: readonly { readonly platform: Platform; readonly manifest: Descriptor; readonly config: Descriptor }[];
}

const dockerLayers: Readonly<Record<Compression, string>> = {
  none: mediaType.dockerLayerTar,
  gzip: mediaType.dockerLayerGzip,
  zstd: mediaType.dockerLayerZstd,
};
const ociLayers: Readonly<Record<Compression, string>> = {
  none: mediaType.ociLayerTar,
  gzip: mediaType.ociLayerGzip,
  zstd: mediaType.ociLayerZstd,
};

interface Document {
  readonly bytes: Uint8Array;
  readonly mediaType: string;
  readonly digest: Digest;
}

/** One image gives a plain manifest (Lambda takes no indexes), several (one a platform) an index. Names move last, all together. */
export async function commitImages(
  { blobs, catalog }: { readonly blobs: Blobs; readonly catalog: Catalog },
  images: readonly NewImage[],
  options: CommitOptions = {},
): Promise<CommittedImage> {
  const made = images.map((image) => makeManifest(image, options.docker === true));
  // At once, so that they wait for the disk together; the commit below finds the manifests there.
  await Promise.all(
    made.flatMap(({ configBytes, config, document, manifest }) => [
      blobs.put(one(configBytes), config, options),
      blobs.put(one(document.bytes), manifest, options),
    ]),
  );
  const [first] = made;
  if (first === undefined) throw new SlipwayError('INTERNAL', 'an image without images');
  const index = made.length > 1 || options.index ? makeIndex(made, options) : undefined;
  const top = index ?? first.document;
  const { names = [], by } = options;
  const author = by === undefined ? {} : { by };
  const repositories = names.length > 0 ? [...new Set(names.map(({ repository }) => repository))] : [unnamed];
  await catalog.commitAll(
    repositories.flatMap((repository) => {
      const tags = names.filter((name) => name.repository === repository).map(({ tag }) => tag);
      const members = made.map(({ document, links }) => ({ ...document, links, repository, ...author }));
      return index ? [...members, { ...index, repository, tags, ...author }] : [{ ...members[0]!, tags }];
    }),
    options,
  );
  return {
    digest: top.digest,
    mediaType: top.mediaType,
    size: top.bytes.length,
    images: made.map(({ manifest, config, platform }) => ({ manifest, config, platform })),
  };
}

function makeManifest({ config, layers, annotations }: NewImage, docker: boolean) {
  if (layers.length !== config.rootfs.diff_ids.length) {
    throw new SlipwayError('INTERNAL', `an image of ${layers.length} layers with ${config.rootfs.diff_ids.length} diff_ids`);
  }
  const configBytes = encodeConfig(config);
  const configDescriptor: Descriptor = {
    mediaType: docker ? mediaType.dockerConfig : mediaType.ociConfig,
    digest: sha256(configBytes),
    size: configBytes.length,
  };
  const type = docker ? mediaType.dockerManifest : mediaType.ociManifest;
  const typed = layers.map((layer) => {
    const compression = compressionOf(layer.mediaType);
    return compression === undefined ? layer : { ...layer, mediaType: (docker ? dockerLayers : ociLayers)[compression] };
  });
  const bytes = encodeManifest({
    schemaVersion: 2,
    mediaType: type,
    config: configDescriptor,
    layers: typed,
    ...(annotations && Object.keys(annotations).length > 0 && { annotations }),
  });
  const document: Document = { bytes, mediaType: type, digest: sha256(bytes) };
  const links = [configDescriptor, ...layers].map(({ digest, size }) => ({ digest, size }));
  const manifest: Descriptor = { mediaType: type, digest: document.digest, size: bytes.length };
  return { configBytes, config: configDescriptor, document, manifest, links, platform: platformOf(config) };
}

function platformOf(config: ImageConfig): Platform {
  const { os, architecture, variant } = config;
  const version = config['os.version'];
  return normalizePlatform({ os, architecture, ...(variant && { variant }), ...(version && { 'os.version': version }) });
}

function makeIndex(made: readonly ReturnType<typeof makeManifest>[], { docker, annotations }: CommitOptions): Document {
  const type = docker ? mediaType.dockerList : mediaType.ociIndex;
  const bytes = encodeIndex({
    schemaVersion: 2,
    mediaType: type,
    manifests: made.map(({ manifest, platform }) => ({ ...manifest, platform })),
    ...(annotations && Object.keys(annotations).length > 0 && { annotations }),
  });
  return { bytes, mediaType: type, digest: sha256(bytes) };
}

async function* one(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  yield bytes;
}
