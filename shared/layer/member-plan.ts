// Where the members of a layer begin and end (docs/decisions/0002-member-boundaries.md): decided by the entries alone, so that a change
// of one file moves no boundary but those beside it.
import { SlipwayError, throwIfCancelled } from '../errors.ts';
import type { Bytes } from '../store/blobs.ts';
import { encodeHeader, endOfArchive } from '../tar/encode.ts';
import { padding } from '../tar/format.ts';
import { comparePaths } from '../tar/name.ts';
import type { Body, Entry, EntryWithBody } from './entry.ts';
import { Fills } from './fills.ts';

/** A member is not ended below this, unless a large file follows. */
const least = 512 * 1024;
/** How much more a member has on average. */
const more = 256 * 1024;
/** Before an entry that would make it larger, a member ends in any case. */
const most = 1536 * 1024;
/** Files from this size on begin a member of their own and are cut into pieces of it. */
export const pieceSize = 1024 * 1024;

/** Room for every member of ordinary headers, so that buffers can be used again. */
const usualBuffer = most + 64 * 1024;

export interface PlannedMember {
  readonly raw: ArrayBuffer;
  readonly length: number;
  readonly fills: Fills;
  /** The entries whose content ends in this member, and the fill that holds (the last piece of) it. */
  readonly entries: readonly { readonly entry: Entry; readonly fill: number }[];
}

export interface PlanOptions {
  /** Times are at most this. */
  readonly epoch?: number;
  readonly buffer: (length: number) => ArrayBuffer;
  readonly signal?: AbortSignal;
}

/** Cuts the tar of `entries`, which are in path order, into members. */
export async function* planMembers(
  entries: Iterable<EntryWithBody> | AsyncIterable<EntryWithBody>,
  options: PlanOptions,
): AsyncGenerator<PlannedMember, void, undefined> {
  const { epoch, buffer, signal } = options;
  let open = new OpenMember(buffer);
  let previous: string | undefined;
  for await (const { entry: given, body } of entries) {
    throwIfCancelled(signal);
    if (previous !== undefined && comparePaths(previous, given.path) >= 0) {
      throw new SlipwayError('INTERNAL', `entries are not in order: "${given.path}" after "${previous}"`);
    }
    previous = given.path;
    const entry = epoch !== undefined && given.mtime > epoch ? { ...given, mtime: epoch } : given;
    const header = encodeHeader(entry);
    const size = header.length + entry.size + padding(entry.size);
    if (entry.size === 0) {
      if (endsBefore(open.length, entry.path, size)) {
        yield open.close();
        open = new OpenMember(buffer);
      }
      open.add(header);
      open.entries.push({ entry, fill: -1 });
      continue;
    }
    if (body === undefined) throw new SlipwayError('INTERNAL', `${entry.path}: a file of ${entry.size} bytes without a body`);
    const content = new Content(entry, body, signal);
    try {
      const large = entry.size >= pieceSize;
      if (large ? open.length > 0 : endsBefore(open.length, entry.path, size)) {
        yield open.close();
        open = new OpenMember(buffer);
      }
      open.add(header);
      for (let offset = 0; offset < entry.size; offset += pieceSize) {
        const length = Math.min(pieceSize, entry.size - offset);
        await content.fill(open, offset, length, large);
        if (offset + length === entry.size) {
          open.add(endOfArchive.subarray(0, padding(entry.size)));
          open.entries.push({ entry, fill: open.fills.count - 1 });
        }
        if (large && length === pieceSize) {
          yield open.close();
          open = new OpenMember(buffer);
        }
      }
      await content.finish();
    } finally {
      await content.close();
    }
  }
  open.add(endOfArchive);
  yield open.close();
}

/** Whether the member that has `length` bytes ends before the entry of `size` bytes at `path`. */
function endsBefore(length: number, path: string, size: number): boolean {
  if (length === 0) return false;
  if (length + size > most) return true;
  // Likelier the larger the entry, so that members grow by `more` on average whatever the size of the files.
  return length >= least && pathHash(path) < size * (2 ** 32 / more);
}

/** FNV-1a over UTF-16, stirred at the end (MurmurHash3's finalizer) so that its upper bits are as good as the lower ones. */
function pathHash(path: string): number {
  let hash = 0x811c9dc5;
  for (let at = 0; at < path.length; at++) hash = Math.imul(hash ^ path.charCodeAt(at), 0x01000193);
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return (hash ^ (hash >>> 16)) >>> 0;
}

class OpenMember {
  readonly fills = new Fills();
  readonly entries: { readonly entry: Entry; readonly fill: number }[] = [];
  length = 0;
  #buffer: (length: number) => ArrayBuffer;
  #bytes: Uint8Array<ArrayBuffer> | undefined;

  constructor(buffer: (length: number) => ArrayBuffer) {
    this.#buffer = buffer;
  }

  /** The next `length` bytes, to be filled; what is in them is left over from before. */
  room(length: number): Uint8Array {
    const needed = this.length + length;
    if (this.#bytes === undefined || this.#bytes.length < needed) {
      const larger = new Uint8Array(this.#buffer(Math.max(needed, usualBuffer)));
      if (this.#bytes !== undefined) larger.set(this.#bytes.subarray(0, this.length));
      this.#bytes = larger;
    }
    const room = this.#bytes.subarray(this.length, needed);
    this.length = needed;
    return room;
  }

  add(bytes: Uint8Array): void {
    if (bytes.length > 0) this.room(bytes.length).set(bytes);
  }

  close(): PlannedMember {
    return { raw: this.#bytes?.buffer ?? new ArrayBuffer(0), length: this.length, fills: this.fills, entries: this.entries };
  }
}

/** The content of one entry on its way into members. */
class Content {
  readonly #entry: Entry;
  readonly #body: Body;
  readonly #signal: AbortSignal | undefined;
  #iterator: AsyncIterator<Uint8Array> | undefined;
  #held: Uint8Array = new Uint8Array(0);

  constructor(entry: Entry, body: Body, signal: AbortSignal | undefined) {
    this.#entry = entry;
    this.#body = body;
    this.#signal = signal;
  }

  async fill(member: OpenMember, offset: number, length: number, piece: boolean): Promise<void> {
    const at = member.length;
    const room = member.room(length);
    const body = this.#body;
    const { path: name, digest } = this.#entry;
    // The digest of a large file is taken by the writer, which sees its pieces in order.
    if (body.kind === 'file') {
      const { path: file, state, ours } = body;
      const trusted = digest !== undefined && (state !== undefined || ours === true);
      const hash = !trusted && !piece;
      member.fills.add({ at, size: length, offset: body.offset + offset, file, name, state, hash, piece, trusted });
      return;
    }
    member.fills.add({ at, size: length, offset, name, hash: !piece, piece, trusted: false });
    if (body.kind === 'bytes') {
      if (body.bytes.length !== this.#entry.size) throw this.#wrongSize(`${body.bytes.length}`);
      room.set(body.bytes.subarray(offset, offset + length));
      return;
    }
    this.#iterator ??= ((await body.open(this.#signal)) as Bytes)[Symbol.asyncIterator]();
    for (let filled = 0; filled < length; ) {
      if (this.#held.length === 0) {
        const { done, value } = await this.#iterator.next();
        if (done) throw this.#wrongSize(`${offset + filled}`);
        this.#held = value;
      }
      const part = this.#held.subarray(0, length - filled);
      room.set(part, filled);
      filled += part.length;
      this.#held = this.#held.subarray(part.length);
    }
  }

  /** The source must end where the entry does. */
  async finish(): Promise<void> {
    while (this.#iterator !== undefined && this.#held.length === 0) {
      const { done, value } = await this.#iterator.next();
      if (done) {
        this.#iterator = undefined;
        return;
      }
      this.#held = value;
    }
    if (this.#held.length > 0) throw this.#wrongSize('more');
  }

  async close(): Promise<void> {
    await this.#iterator?.return?.();
  }

  #wrongSize(actual: string): SlipwayError {
    const { path, size } = this.#entry;
    return new SlipwayError('CONTEXT_CHANGED', `${path} had ${size} bytes when it was listed and ${actual} when it was read`, {
      details: { path },
    });
  }
}
