// ADD of a local archive (F79): recognised by its content, never by its name, and unpacked as docker does in a chroot of the
// destination: no path, symlink or hard link of the archive or of the image leads out of it.
import { join } from 'node:path';
import { Spool } from '../context/spool.ts';
import { isCode, SlipwayError } from '../errors.ts';
import type { Body, Entry } from '../layer/entry.ts';
import { sha256 } from '../oci/digest.ts';
import type { Bytes } from '../store/blobs.ts';
import { ByteReader } from '../stream/byte-reader.ts';
import { decompress } from '../stream/decompress.ts';
import { blockSize } from '../tar/format.ts';
import { isTar } from '../tar/is-tar.ts';
import { readTar } from '../tar/read.ts';
import { openBody } from '../tar/write.ts';
import type { Destination, Inode } from './copy-destination.ts';
import { resolvePath } from './tree-path.ts';

export interface ArchiveOptions {
  /** TOO_LARGE past this many unpacked bytes. */
  readonly limit: number;
  /** Names the archive in errors. */
  readonly what: string;
  readonly signal: AbortSignal | undefined;
}

export interface UnpackOptions {
  /** Seconds since 1970 for directories that the archive does not list. */
  readonly time: number;
  /** A directory for the contents of members. */
  readonly scratch: string;
}

/** Whether decompressed bytes begin with a tar header, which is docker's test too. */
async function beginsWithHeader(bytes: Bytes): Promise<boolean> {
  const reader = new ByteReader(bytes);
  try {
    return isTar(await reader.upTo(blockSize));
  } catch (error) {
    // Bytes that are no archive, or only begin like compressed ones, are a file like any other.
    if (isCode(error, 'INVALID_ARCHIVE')) return false;
    throw error;
  } finally {
    await reader.close();
  }
}

/** The archive in a file of `size` bytes, or `undefined` when it is none. */
export async function openArchive(body: Body, size: number, options: ArchiveOptions): Promise<Archive | undefined> {
  const { limit, what, signal } = options;
  const open = async (): Promise<Bytes> =>
    decompress(await openBody(body, size, signal), { limit, what, ...(signal === undefined ? {} : { signal }) });
  return (await beginsWithHeader(await open())) ? new Archive(open, options) : undefined;
}

const parentOf = (path: string): string => path.slice(0, Math.max(0, path.lastIndexOf('/')));
const nameOf = (path: string): string => path.slice(path.lastIndexOf('/') + 1);
const below = (directory: string, path: string): string =>
  directory === '' || path === '' ? directory + path : `${directory}/${path}`;

const emptyDigest = sha256('');
let spools = 0;

export class Archive {
  readonly #open: () => Promise<Bytes>;
  readonly #options: ArchiveOptions;

  constructor(open: () => Promise<Bytes>, options: ArchiveOptions) {
    this.#open = open;
    this.#options = options;
  }

  /** Writes the members below `to`, an existing directory of the destination without symlinks in its path. */
  async unpackInto(destination: Destination, to: string, options: UnpackOptions): Promise<void> {
    using spool = new Spool(join(options.scratch, `add-${process.pid}-${spools++}.members`));
    const { what, signal } = this.#options;
    const reading = { absolute: 'strip', what, ...(signal === undefined ? {} : { signal }) } as const;
    for await (const { entry: member, body } of readTar(await this.#open(), reading)) {
      if (member.path === '') continue;
      const path = this.#place(destination, to, member.path, options.time);
      const entry: Entry = { ...member, path };
      const there = destination.get(path);
      if (there !== undefined && !(there.type === 'dir' && member.type === 'dir')) destination.clear(path);
      if (member.type === 'dir') destination.setDirectory(entry);
      else if (member.type === 'hardlink') this.#link(destination, to, entry);
      else if (member.type === 'file') {
        const inode: Inode = {};
        if (member.size === 0) {
          destination.setFile({ ...entry, digest: emptyDigest }, { inode });
        } else {
          const { digest, offset } = await spool.write(body);
          const content: Body = { kind: 'file', path: spool.path, offset };
          destination.setFile({ ...entry, digest }, { inode, content: { of: entry, body: () => content } });
        }
      } else destination.setFile(entry);
    }
  }

  /** Where a member goes: its parents resolved inside `to`, and made when missing. */
  #place(destination: Destination, to: string, path: string, time: number): string {
    const parent = resolvePath(destination, parentOf(path), { root: to });
    destination.makeDirectories(parent, { mode: 0o755, owner: { uid: 0, gid: 0 }, mtime: time });
    return below(parent, nameOf(path));
  }

  #link(destination: Destination, to: string, entry: Entry): void {
    const { link: named, path } = entry;
    const target = below(resolvePath(destination, parentOf(named!), { root: to }), nameOf(named!));
    const written = destination.own(target);
    if (written === undefined || written.entry.type === 'dir' || target === path) {
      const known = destination.get(target);
      const shown = `${this.#options.what}: the hard link ${JSON.stringify(path)} to ${JSON.stringify(named)}`;
      if (known !== undefined && known.type !== 'dir') {
        throw new SlipwayError('UNSUPPORTED', `${shown} leads to a file of the image below, not of the archive`, {
          hint: 'Pack the file into the archive, or make the link with RUN ln.',
        });
      }
      throw new SlipwayError('INVALID_ARCHIVE', `${shown} leads to no file that comes before it`);
    }
    destination.setName({ ...written.entry, path }, written);
  }
}
