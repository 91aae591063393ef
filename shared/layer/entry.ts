// One path in a layer. The same shape is used by tar/, by tables of contents, by contexts and by the build's keys.
import type { Digest } from '../oci/digest.ts';
import type { Bytes } from '../store/blobs.ts';

export type EntryType = 'file' | 'dir' | 'symlink' | 'hardlink' | 'char' | 'block' | 'fifo';

export interface Entry {
  /** Relative to the root, `/` between components, no leading or trailing `/`, no `.` or `..`; '' is the root itself. */
  readonly path: string;
  readonly type: EntryType;
  /** Permission bits with setuid, setgid and sticky: 0 to 0o7777. */
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  /** Bytes of content; 0 for all but files. */
  readonly size: number;
  /** Whole seconds since 1970. */
  readonly mtime: number;
  /** Symlink: its text, untouched. Hard link: the path (as `path`) of the file it is another name of. */
  readonly link?: string;
  readonly major?: number;
  readonly minor?: number;
  /** Name to base64 of the value. Sorted by name when written. */
  readonly xattrs?: Readonly<Record<string, string>>;
  /** Digest of the content, for files where it is known. */
  readonly digest?: Digest;
}

/** What tells one state of a file from another: members of `fs.Stats`. */
export interface FileState {
  readonly dev: number;
  readonly ino: number;
  readonly size: number;
  readonly mtimeMs: number;
  readonly ctimeMs: number;
}

/** Where the content of a file entry comes from. Exactly `entry.size` bytes, checked when they are read. */
export type Body =
  | { readonly kind: 'bytes'; readonly bytes: Uint8Array }
  /**
   * A range of a local file, which worker threads read synchronously. `state` is how the file was when its `entry.digest` was taken: if
   * it is still so after reading, the digest is trusted and not computed again; if not, that is CONTEXT_CHANGED. \`ours\`: the file is the
   * store's own and never written again (a layer's unpacked directory), so its digest holds as a blob's does.
   */
  | {
      readonly kind: 'file';
      readonly path: string;
      readonly offset: number;
      readonly state?: FileState;
      readonly ours?: boolean;
    }
  | { readonly kind: 'open'; readonly open: (signal?: AbortSignal) => Promise<Bytes> };

export interface EntryWithBody {
  readonly entry: Entry;
  /** Present exactly for files of size > 0. */
  readonly body?: Body;
}

/** OCI layer.md "Whiteouts": `.wh.NAME` removes NAME of the layers below; `.wh..wh..opq` in a directory hides all its lower children. */
export const whiteoutPrefix = '.wh.';
export const opaqueName = '.wh..wh..opq';
