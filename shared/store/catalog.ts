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
  /**
   * Stored blobs that become readable through the repository with this manifest: what the builder and the archives made themselves.
   * Never what a client names. A blob that is not there (or is being freed): NOT_FOUND with `details.missing`.
   */
  readonly links?: readonly { readonly digest: Digest; readonly size: number }[];
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
  /**
   * Several commits, of any repositories, in the order given (members of an index before it). All manifests are there before the
   * first tag moves, and the tags move in one transaction (as long as there are fewer than about 40 of them, else in as few as go).
   */
  commitAll(
    commits: readonly (ManifestCommit & { readonly repository: string })[],
    options?: Options,
  ): Promise<readonly ManifestRecord[]>;
  /**
   * Which repositories hold the manifests whose digest starts with `prefix` (`sha256:` and at least one hex digit), internal ones
   * included; sorted by digest, then repository. `after` is `digest#repository` of the last one seen.
   */
  holders(
    prefix: string,
    page: Page,
    options?: Options,
  ): Promise<readonly { readonly digest: Digest; readonly repository: string }[]>;
  /** Points a tag at a manifest that the repository holds. */
  tag(repository: string, tag: string, digest: Digest, by?: string, options?: Options): Promise<void>;
  /** True when there was one. The manifest stays, and so does the repository. */
  untag(repository: string, tag: string, by?: string, options?: Options): Promise<boolean>;
  /** Removes the manifest and every tag on it; a repository without manifests is no longer listed. True when there was one. */
  remove(repository: string, digest: Digest, by?: string, options?: Options): Promise<boolean>;
  /**
   * Unlinks those of `digests` that no manifest of the repository names any more, and answers those that no repository links now:
   * free.ts may free them.
   */
  unlinkUnused(repository: string, digests: readonly Digest[], options?: Options): Promise<readonly Digest[]>;
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
  /** Every move of a tag, newest first (N09), also of one that is gone. `at`: seconds since 1970; `after` is `String(at)`. */
  moves(
    repository: string,
    tag: string,
    page: Page,
    options?: Options,
  ): Promise<readonly { readonly at: number; readonly from?: Digest; readonly to?: Digest; readonly by?: string }[]>;
}
