// The catalog: repositories, tags, manifests and links, kept on Table; manifest bytes are blobs. One catalog serves the registry, the
// image commands and the builder. A repository's name is the *familiar* one (docker.io and library/ dropped): what `slipway build -t
// app` tags as `app` is what a client pulls as HOST/app.
import type { Digest } from '../oci/digest.ts';
import type { Options } from './blobs.ts';

export interface ManifestRecord {
  readonly digest: Digest;
  readonly mediaType: string;
  /** Bytes of the manifest document. */
  readonly size: number;
  /** Seconds since 1970 of its first commit to this repository. */
  readonly committed: number;
  readonly artifactType?: string;
  readonly subject?: Digest;
  readonly annotations?: Readonly<Record<string, string>>;
}

export interface ManifestCommit {
  /** The document, byte for byte; it is stored as a blob before anything points at it. */
  readonly bytes: Uint8Array;
  readonly mediaType: string;
  /** When given, the bytes must have it: DIGEST_MISMATCH. */
  readonly digest?: Digest;
  readonly tags?: readonly string[];
  /** Who or what moves the tags: kept in the tag's history. */
  readonly by?: string;
}

export interface TagRecord {
  readonly tag: string;
  readonly digest: Digest;
  /** Seconds since 1970 of the last move. */
  readonly moved: number;
}

export interface Page {
  readonly after?: string;
  readonly limit: number;
}

export interface Catalog {
  /** A tag or a digest to its manifest in this repository. Absence is `undefined`. */
  resolve(repository: string, reference: string, options?: Options): Promise<ManifestRecord | undefined>;
  /**
   * Links are written first (harmless alone), then manifest, referrer and tags in one transaction. Idempotent. A manifest may not name
   * blobs or manifests that the repository has no link to: NOT_FOUND with `details.missing` (digests).
   */
  commit(repository: string, commit: ManifestCommit, options?: Options): Promise<ManifestRecord>;
  /** Points a tag at a manifest that the repository holds. */
  tag(repository: string, tag: string, digest: Digest, by?: string, options?: Options): Promise<void>;
  /** True when there was one. The manifest stays. */
  untag(repository: string, tag: string, by?: string, options?: Options): Promise<boolean>;
  /** Removes the manifest and every tag on it. True when there was one. */
  remove(repository: string, digest: Digest, by?: string, options?: Options): Promise<boolean>;
  /** Sorted by tag, in byte order. `undefined` when the repository does not exist. */
  tags(repository: string, page: Page, options?: Options): Promise<readonly TagRecord[] | undefined>;
  /** Sorted by digest. */
  manifests(repository: string, page: Page, options?: Options): Promise<readonly ManifestRecord[]>;
  repositories(page: Page, options?: Options): Promise<readonly string[]>;
  /** Manifests whose subject is `digest`, whether or not that exists; sorted by digest. */
  referrers(
    repository: string,
    digest: Digest,
    page: Page & { readonly artifactType?: string },
    options?: Options,
  ): Promise<readonly ManifestRecord[]>;
  /** Makes a stored blob readable through the repository. Idempotent. */
  link(repository: string, digest: Digest, size: number, options?: Options): Promise<void>;
  /** Size when the repository may read the blob. */
  linked(repository: string, digest: Digest, options?: Options): Promise<number | undefined>;
  unlink(repository: string, digest: Digest, options?: Options): Promise<boolean>;
  /** Every move of a tag, newest first (N09). */
  moves(
    repository: string,
    tag: string,
    page: Page,
    options?: Options,
  ): Promise<readonly { readonly at: number; readonly from?: Digest; readonly to?: Digest; readonly by?: string }[]>;
}
