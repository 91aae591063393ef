// A layer's table of contents: every entry of one change set with its content digest, sorted by path (bytes), plus the bodies of
// etc/passwd and etc/group, so that COPY, ADD and WORKDIR never read a parent's layer. Kept per diffID as a blob.
import type { Digest } from '../oci/digest.ts';
import type { Entry } from './entry.ts';

/** An entry of a change set: a path that is there, or the removal of one. `.wh.` names never appear here. */
export type TocEntry = (Entry & { readonly opaque?: true }) | { readonly path: string; readonly type: 'whiteout' };

/** Read side of one layer's table. Lookups are by binary search in the encoded bytes: nothing is parsed that is not asked for. */
export interface Toc {
  readonly diffId: Digest;
  get(path: string): TocEntry | undefined;
  /** All entries strictly below `path` ('' for all), in path order. */
  under(path: string): Iterable<TocEntry>;
  /** The content of a small well-known file (etc/passwd, etc/group) that this layer has, at most 256 KiB. */
  content(path: string): Uint8Array | undefined;
}
