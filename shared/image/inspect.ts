// What `inspect` and `history` show of an image, in docker's shapes (API 1.52 and later: empty members are left out).
import { SlipwayError } from '../errors.ts';
import type { RuntimeConfig } from '../oci/config.ts';
import type { Digest } from '../oci/digest.ts';
import type { Platform } from '../oci/platform.ts';
import type { Options } from '../store/blobs.ts';
import { factsFor } from './facts.ts';
import { type ImageParts, Images, tagsOf } from './images.ts';
import { isImageManifest, openImage, readStored } from './read.ts';

export interface InspectedImage {
  readonly Id: Digest;
  readonly RepoTags: readonly string[];
  readonly RepoDigests: readonly string[];
  readonly Comment: string;
  readonly Created?: string;
  readonly Author: string;
  readonly Config: RuntimeConfig;
  readonly Architecture: string;
  readonly Variant?: string;
  readonly Os: string;
  readonly OsVersion?: string;
  /** Bytes as stored: documents and compressed layers. */
  readonly Size: number;
  readonly RootFS: { readonly Type: 'layers'; readonly Layers: readonly Digest[] };
  readonly Metadata: { readonly LastTagTime: string };
  readonly Descriptor: { readonly mediaType: string; readonly digest: Digest; readonly size: number };
  readonly Annotations?: Readonly<Record<string, string>>;
  /** Of an index: what it is for. */
  readonly Platforms?: readonly string[];
}

/** Go's zero time, which docker prints for "never". */
const never = '0001-01-01T00:00:00Z';

export interface InspectOptions extends Options {
  readonly platform?: Platform;
}

export async function inspectImage(parts: ImageParts, word: string, options: InspectOptions = {}): Promise<InspectedImage> {
  const images = new Images(parts);
  const { digest } = await images.find(word, options);
  const { repositories, names } = await images.whereIs(digest, options);
  const facts = await factsFor(parts, digest, options);
  const image = await openImage(parts.blobs, digest, options.platform ? { platform: options.platform } : {}, options);
  const { config } = image;
  let lastMoved = 0;
  for (const repository of new Set(names.map((name) => name.repository))) {
    for await (const tag of tagsOf(parts.catalog, repository, options)) {
      if (tag.digest === digest) lastMoved = Math.max(lastMoved, tag.moved);
    }
  }
  const top = facts.blobs.find(([blob]) => blob === digest);
  return {
    Id: digest,
    RepoTags: names.map(({ repository, tag }) => `${repository}:${tag}`),
    RepoDigests: repositories.filter((repository) => !repository.startsWith('<')).map((repository) => `${repository}@${digest}`),
    Comment: config.history?.at(-1)?.comment ?? '',
    ...(config.created !== undefined && { Created: config.created }),
    Author: config.author ?? '',
    Config: withoutEmpty(config.config ?? {}),
    Architecture: config.architecture,
    ...(config.variant && { Variant: config.variant }),
    Os: config.os,
    ...(config['os.version'] && { OsVersion: config['os.version'] }),
    Size: facts.size,
    RootFS: { Type: 'layers', Layers: config.rootfs.diff_ids },
    Metadata: { LastTagTime: lastMoved === 0 ? never : new Date(lastMoved * 1000).toISOString() },
    Descriptor: { mediaType: facts.mediaType, digest, size: top?.[1] ?? image.size },
    ...(image.manifest.annotations && { Annotations: image.manifest.annotations }),
    ...(facts.kind === 'index' && { Platforms: facts.platforms }),
  };
}

function withoutEmpty(config: RuntimeConfig): RuntimeConfig {
  const isEmpty = (value: unknown): boolean =>
    value === undefined || value === '' || (typeof value === 'object' && value !== null && Object.keys(value).length === 0);
  return Object.fromEntries(Object.entries(config).filter(([, value]) => !isEmpty(value)));
}

export interface HistoryRow {
  /** The image's ID on the newest row, else `<missing>`: the steps in between are no images. */
  readonly Id: Digest | '<missing>';
  /** RFC 3339, if it is known. */
  readonly Created?: string;
  readonly CreatedBy: string;
  /** Names, on the newest row. */
  readonly Tags: readonly string[];
  /** Bytes of the layer as stored; 0 for rows that made none. */
  readonly Size: number;
  readonly Comment: string;
}

/** Newest first. Rows and layers are paired in order; a config that lists too few or too many of them is shown as far as it goes. */
export async function historyOf(parts: ImageParts, word: string, options: InspectOptions = {}): Promise<readonly HistoryRow[]> {
  const images = new Images(parts);
  const { digest } = await images.find(word, options);
  const { names } = await images.whereIs(digest, options);
  const { config, manifest } = await openForHistory(parts, digest, options);
  const layers = manifest.layers.map(({ size }) => size);
  const history = config.history ?? [];
  let next = 0;
  const rows = history.map((row): HistoryRow => {
    const size = row.empty_layer ? 0 : (layers[next++] ?? 0);
    return {
      Id: '<missing>',
      ...(row.created !== undefined && { Created: row.created }),
      CreatedBy: row.created_by ?? '',
      Tags: [],
      Size: size,
      Comment: row.comment ?? '',
    };
  });
  // Layers that no row accounts for are there all the same.
  for (const size of layers.slice(next)) {
    rows.push({ Id: '<missing>', CreatedBy: '', Tags: [], Size: size, Comment: '' });
  }
  const newest = rows.at(-1);
  if (newest) rows[rows.length - 1] = { ...newest, Id: digest, Tags: names.map(({ repository, tag }) => `${repository}:${tag}`) };
  return rows.reverse();
}

async function openForHistory(parts: ImageParts, digest: Digest, options: InspectOptions) {
  const { document } = await readStored(parts.blobs, digest, undefined, options);
  if (document.kind === 'manifest' && !isImageManifest(document.manifest)) {
    throw new SlipwayError('UNSUPPORTED', `${digest} is an artifact and has no history`);
  }
  return await openImage(parts.blobs, digest, options.platform ? { platform: options.platform } : {}, options);
}
