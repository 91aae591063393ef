// The numbers of the tar formats: POSIX.1-1988 ustar, POSIX.1-2001 pax, GNU tar's extensions to the first.

export const blockSize = 512;

/** Offsets and lengths of a header's fields. */
export const field = {
  name: [0, 100],
  mode: [100, 8],
  uid: [108, 8],
  gid: [116, 8],
  size: [124, 12],
  mtime: [136, 12],
  checksum: [148, 8],
  typeflag: [156, 1],
  link: [157, 100],
  magic: [257, 8],
  uname: [265, 32],
  gname: [297, 32],
  major: [329, 8],
  minor: [337, 8],
  prefix: [345, 155],
} as const satisfies Record<string, readonly [number, number]>;

export const ustarMagic = 'ustar\u000000';
export const gnuMagic = 'ustar  \u0000';

/** What one pax header, long name or long link may have at most. Go's archive/tar has the same limit. */
export const maxExtensionBytes = 1024 * 1024;

/** Prefix of pax records that hold extended attributes. */
export const xattrPrefix = 'SCHILY.xattr.';

/** Zero bytes up to the next block. */
export const padding = (size: number): number => (blockSize - (size % blockSize)) % blockSize;
