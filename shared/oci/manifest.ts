// OCI image spec manifest.md and image-index.md; Docker's schema 2 and manifest list have the same shape.
import { SlipwayError } from '../errors.ts';
import { asMediaType, type Descriptor, parseDescriptor } from './descriptor.ts';
import {
  asArray,
  asObject,
  asString,
  asStringMap,
  given,
  invalid,
  type Members,
  optional,
  parseJson,
  withoutNulls,
} from './fields.ts';
import { isIndexType, isManifestType, mediaType } from './media-type.ts';

export interface ImageManifest {
  readonly schemaVersion: 2;
  readonly mediaType?: string;
  readonly artifactType?: string;
  readonly config: Descriptor;
  readonly layers: readonly Descriptor[];
  readonly subject?: Descriptor;
  readonly annotations?: Readonly<Record<string, string>>;
}

export interface ImageIndex {
  readonly schemaVersion: 2;
  readonly mediaType?: string;
  readonly artifactType?: string;
  readonly manifests: readonly Descriptor[];
  readonly subject?: Descriptor;
  readonly annotations?: Readonly<Record<string, string>>;
}

/** Bytes of a manifest or index: what the distribution spec asks every registry to take, and no more. */
export const manifestLimit = 4 * 1024 * 1024;

function common(document: Members, where: string, declared: string | undefined): Members {
  if (document.schemaVersion === 1) {
    throw new SlipwayError('UNSUPPORTED', `${where}: Docker image manifest schema 1 is not supported`, {
      hint: 'Push the image again with a current client: schema 1 has been deprecated since 2017.',
    });
  }
  if (document.schemaVersion !== 2) {
    throw invalid(`${where}.schemaVersion`, document.schemaVersion === undefined ? 'missing' : 'must be 2');
  }
  const own = optional(document.mediaType, `${where}.mediaType`, asMediaType);
  if (own !== undefined && declared !== undefined && own !== declared) {
    throw invalid(`${where}.mediaType`, `says ${own}, but the document was announced as ${declared}`);
  }
  optional(document.artifactType, `${where}.artifactType`, asMediaType);
  optional(document.annotations, `${where}.annotations`, asStringMap);
  const subject = optional(document.subject, `${where}.subject`, parseDescriptor);
  return { ...withoutNulls(document), ...(subject && { subject }) };
}

const descriptors = (value: unknown, where: string): readonly Descriptor[] =>
  asArray(value, where).map((item, i) => parseDescriptor(item, `${where}[${i}]`));

/**
 * The image manifest in `bytes` (at most 4 MiB). `declared` is the media type it came with; it must agree with the document's own.
 * Unknown members are kept. A document that is manifest and index at once is refused (CVE-2021-41190).
 * @throws INVALID_DOCUMENT, INVALID_DIGEST naming the member; TOO_LARGE; UNSUPPORTED for schema 1
 */
export function parseManifest(bytes: Uint8Array, declared?: string): ImageManifest {
  return asManifest(asObject(parseJson(bytes, 'manifest', manifestLimit), 'manifest'), declared);
}

function asManifest(document: Members, declared?: string): ImageManifest {
  const from = common(document, 'manifest', declared);
  if (given(from.manifests)) throw invalid('manifest.manifests', 'must not be in an image manifest');
  const own = (from.mediaType ?? declared) as string | undefined;
  if (own !== undefined && !isManifestType(own)) throw invalid('manifest.mediaType', `${own} is not that of an image manifest`);
  const config = parseDescriptor(from.config, 'manifest.config');
  // Go writes an image without layers (FROM scratch, LABEL) as null.
  const layers = document.layers === null ? [] : descriptors(from.layers, 'manifest.layers');
  return { ...from, schemaVersion: 2, config, layers };
}

/** The image index (or Docker manifest list) in `bytes`; see {@link parseManifest}. */
export function parseIndex(bytes: Uint8Array, declared?: string): ImageIndex {
  return asIndex(asObject(parseJson(bytes, 'index', manifestLimit), 'index'), declared);
}

function asIndex(document: Members, declared?: string): ImageIndex {
  const from = common(document, 'index', declared);
  for (const name of ['config', 'layers', 'fsLayers']) {
    if (given(from[name])) throw invalid(`index.${name}`, 'must not be in an image index');
  }
  const own = (from.mediaType ?? declared) as string | undefined;
  if (own !== undefined && !isIndexType(own)) throw invalid('index.mediaType', `${own} is not that of an image index`);
  return {
    ...from,
    schemaVersion: 2,
    manifests: document.manifests === null ? [] : descriptors(from.manifests, 'index.manifests'),
  };
}

export type ManifestOrIndex =
  | { readonly kind: 'manifest'; readonly mediaType: string; readonly manifest: ImageManifest }
  | { readonly kind: 'index'; readonly mediaType: string; readonly index: ImageIndex };

/**
 * Either document, told apart by the media type it came with, else by its own, else by its members. `mediaType` is the one to serve
 * it with.
 */
export function parseManifestOrIndex(bytes: Uint8Array, declared?: string): ManifestOrIndex {
  const document = asObject(parseJson(bytes, 'manifest', manifestLimit), 'manifest');
  const type = declared ?? optional(document.mediaType, 'manifest.mediaType', asString);
  if (type === undefined ? given(document.manifests) : isIndexType(type)) {
    return { kind: 'index', mediaType: type ?? mediaType.ociIndex, index: asIndex(document, declared) };
  }
  if (type !== undefined && !isManifestType(type) && document.schemaVersion !== 1) {
    throw new SlipwayError('UNSUPPORTED', `manifest.mediaType: ${type.slice(0, 140)} is no kind of manifest we know`, {
      hint: 'OCI image manifests and indexes, and Docker manifests of schema 2 and their lists, are supported.',
    });
  }
  return { kind: 'manifest', mediaType: type ?? mediaType.ociManifest, manifest: asManifest(document, declared) };
}

/** The manifests and blobs a document cannot be served without: its config and layers, or its members. The subject may be absent. */
export const childrenOf = (document: ManifestOrIndex): readonly Descriptor[] =>
  document.kind === 'index' ? document.index.manifests : [document.manifest.config, ...document.manifest.layers];

/** A layer that the registry need not have: its bytes are only at its `urls` (Windows base layers, `nondistributable`, `foreign`). */
export const isForeign = (layer: Descriptor): boolean => /\.nondistributable\.|\.foreign\./.test(layer.mediaType);
