// What the catalog writes into its records, and the way back.

import { SlipwayError } from '../errors.ts';
import type { Digest } from '../oci/digest.ts';
import { isDigest } from '../oci/digest.ts';
import { childrenOf, isForeign, type ManifestOrIndex, parseManifestOrIndex } from '../oci/manifest.ts';
import type { ManifestRecord } from './catalog.ts';
import type { Json, TableRecord } from './table.ts';

/** Bytes of annotations that go into a record; larger ones stay in the manifest's blob only and are read from there. */
const annotationLimit = 32 * 1024;
/** Digests in a record; a manifest with more is parsed again when they are needed. */
const usesLimit = 1000;

/** A manifest as its repository keeps it. */
export interface StoredManifest {
  readonly digest: Digest;
  readonly mediaType: string;
  readonly size: number;
  /** Milliseconds since 1970. */
  readonly at: number;
  readonly artifactType?: string;
  readonly subject?: Digest;
  readonly annotations?: Readonly<Record<string, string>>;
  /** True when the annotations are in the blob only. */
  readonly annotated?: true;
  /** Config and layers, or members. */
  readonly uses?: readonly Digest[];
}

export interface StoredTag {
  readonly digest: Digest;
  /** Milliseconds since 1970 of the last move. */
  readonly moved: number;
  /** The manifest's record without annotations and uses, so that resolving a tag takes one read. */
  readonly manifest: StoredManifest;
}

export interface StoredMove {
  readonly from?: Digest;
  readonly to?: Digest;
  readonly by?: string;
}

export interface ReadManifest {
  readonly stored: StoredManifest;
  readonly document: ManifestOrIndex;
  /** What the repository must have: blobs of a manifest, manifests of an index. */
  readonly needs: { readonly blobs: readonly Digest[]; readonly manifests: readonly Digest[] };
}

const unique = (digests: readonly Digest[]): Digest[] => [...new Set(digests)];

/** The record of a document; see parseManifestOrIndex for what is thrown. */
export function readManifest(bytes: Uint8Array, mediaType: string, digest: Digest, at: number): ReadManifest {
  const document = parseManifestOrIndex(bytes, mediaType);
  const children = childrenOf(document);
  const uses = unique(children.map((child) => child.digest));
  const body = document.kind === 'index' ? document.index : document.manifest;
  // Distribution spec "Listing Referrers": the type of an image manifest without artifactType is that of its config.
  const artifactType = body.artifactType ?? (document.kind === 'manifest' ? document.manifest.config.mediaType : undefined);
  const { annotations, subject } = body;
  const fits = annotations === undefined || Buffer.byteLength(JSON.stringify(annotations)) <= annotationLimit;
  const stored: StoredManifest = {
    digest,
    mediaType: document.mediaType,
    size: bytes.length,
    at,
    ...(artifactType !== undefined && { artifactType }),
    ...(subject && { subject: subject.digest }),
    ...(annotations && (fits ? { annotations } : { annotated: true as const })),
    ...(uses.length <= usesLimit && { uses }),
  };
  const needs =
    document.kind === 'index'
      ? { blobs: [], manifests: uses }
      : { blobs: unique(children.filter((child) => !isForeign(child)).map((child) => child.digest)), manifests: [] };
  return { stored, document, needs };
}

/** What fits into the record of each tag. */
export function brief(stored: StoredManifest): StoredManifest {
  const { annotations, uses: _, ...rest } = stored;
  return annotations === undefined ? rest : { ...rest, annotated: true };
}

const damaged = (record: TableRecord): SlipwayError =>
  new SlipwayError('STORE', `catalog record ${record.partition} ${record.sort} is damaged`, {
    hint: 'The table was changed by something else, or by a newer release.',
  });

const membersOf = (record: TableRecord): Readonly<Record<string, Json | undefined>> => {
  const { value } = record;
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw damaged(record);
  return value as Readonly<Record<string, Json | undefined>>;
};

export function asStoredManifest(record: TableRecord): StoredManifest {
  const value = membersOf(record);
  if (typeof value.digest !== 'string' || !isDigest(value.digest) || typeof value.mediaType !== 'string') throw damaged(record);
  return value as unknown as StoredManifest;
}

export function asStoredTag(record: TableRecord): StoredTag {
  const value = membersOf(record);
  if (typeof value.digest !== 'string' || !isDigest(value.digest) || typeof value.moved !== 'number') throw damaged(record);
  return value as unknown as StoredTag;
}

export const asStoredMove = (record: TableRecord): StoredMove => membersOf(record) as StoredMove;

export function asSize(record: TableRecord): number {
  const { size } = membersOf(record);
  if (typeof size !== 'number') throw damaged(record);
  return size;
}

/** Since when (milliseconds since 1970) a link has been marked to go, if it is. */
export function fadingSince(record: TableRecord): number | undefined {
  const { fading } = membersOf(record);
  return typeof fading === 'number' ? fading : undefined;
}

/** A link's value with the mark `fading`, or without one. */
export function unfaded(record: TableRecord, fading?: number): Json {
  const { fading: _, ...rest } = membersOf(record);
  return fading === undefined ? rest : { ...rest, fading };
}

/** As JSON for the table. The cast is safe: the types above hold nothing but JSON. */
export const asJson = (value: StoredManifest | StoredTag | StoredMove): Json => value as unknown as Json;

export function manifestRecord(stored: StoredManifest): ManifestRecord {
  const { at, uses: _, annotated: __, ...rest } = stored;
  return { ...rest, committed: at / 1000 };
}
