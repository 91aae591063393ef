// Makes the table of contents of a layer, entry by entry as they stand in its tar.
import type { Digest } from '../oci/digest.ts';
import { comparePaths, encodeName } from '../tar/name.ts';
import { type Entry, opaqueName, whiteoutPrefix } from './entry.ts';
import type { TocEntry } from './toc.ts';
import { encodeRow, keptContents, maxContentBytes, tocHeadBytes, tocMagic } from './toc-format.ts';

const splitPath = (path: string): { readonly parent: string; readonly name: string } => {
  const slash = path.lastIndexOf('/');
  return slash < 0 ? { parent: '', name: path } : { parent: path.slice(0, slash), name: path.slice(slash + 1) };
};

/** What the tar entry at `path` means for the layers below: a removed path, or a directory whose lower children are hidden. */
export function whiteoutOf(path: string): { readonly removes: string } | { readonly hidesBelow: string } | undefined {
  const { parent, name } = splitPath(path);
  if (name === opaqueName) return { hidesBelow: parent };
  if (!name.startsWith(whiteoutPrefix)) return undefined;
  const removed = name.slice(whiteoutPrefix.length);
  // `.wh..wh.NAME` are aufs's own files, which docker skips as well; what is left of `.wh.` alone or `.wh...` names no file.
  if (removed === '' || removed === '.' || removed === '..' || removed.startsWith(whiteoutPrefix)) return { removes: '' };
  return { removes: parent === '' ? removed : `${parent}/${removed}` };
}

export class TocBuilder {
  #rows: { readonly path: string; text: string }[] = [];
  #inOrder = true;
  #opaque: string[] = [];
  #removed: string[] = [];
  #contents = new Map<string, Uint8Array>();

  /** True for files whose content `add` wants, if it is small enough. */
  static keepsContent(entry: Entry): boolean {
    return entry.type === 'file' && keptContents.has(entry.path) && entry.size <= maxContentBytes;
  }

  /** `entry` is as in the tar: whiteouts by their `.wh.` names. Of a path that comes twice, the last counts. */
  add(entry: Entry, content?: Uint8Array): void {
    const whiteout = whiteoutOf(entry.path);
    if (whiteout !== undefined) {
      if ('hidesBelow' in whiteout) this.#opaque.push(whiteout.hidesBelow);
      else if (whiteout.removes !== '') this.#removed.push(whiteout.removes);
      return;
    }
    this.#push(entry.path, encodeRow(entry));
    if (TocBuilder.keepsContent(entry)) {
      this.#contents.set(entry.path, content === undefined ? new Uint8Array(0) : Uint8Array.from(content));
    } else if (keptContents.has(entry.path)) {
      this.#contents.delete(entry.path);
    }
  }

  #push(path: string, text: string): void {
    const last = this.#rows.at(-1);
    if (last !== undefined && comparePaths(last.path, path) >= 0) this.#inOrder = false;
    this.#rows.push({ path, text });
  }

  /** The encoded table; the same entries always give the same bytes. */
  finish(diffId: Digest): Buffer {
    const rows = this.#ordered();
    const contents = [...this.#contents].sort(([a], [b]) => comparePaths(a, b));
    const head = Buffer.alloc(tocHeadBytes);
    const contentParts = contents.flatMap(([path, bytes]) => {
      const name = encodeName(path);
      const lengths = Buffer.alloc(8);
      lengths.writeUInt32LE(name.length, 0);
      lengths.writeUInt32LE(bytes.length, 4);
      return [lengths, name, bytes];
    });
    const contentLength = contentParts.reduce((sum, part) => sum + part.length, 0);
    const recordsAt = head.length + contentLength;
    const records = new GrowingBuffer();
    const offsets = Buffer.alloc(4 * (rows.length + 1));
    rows.forEach(({ path, text }, index) => {
      offsets.writeUInt32LE(recordsAt + records.length, 4 * index);
      if (path.isWellFormed()) records.addText(`${path}\u0000${text}`);
      else {
        records.addBytes(encodeName(path));
        records.addText(`\u0000${text}`);
      }
    });
    offsets.writeUInt32LE(recordsAt + records.length, 4 * rows.length);
    tocMagic.copy(head);
    [rows.length, recordsAt, head.length, contents.length, recordsAt + records.length].forEach((value, index) => {
      head.writeUInt32LE(value, 16 + 4 * index);
    });
    head.write(diffId, 36, 'latin1');
    return Buffer.concat([head, ...contentParts, records.bytes(), offsets]);
  }

  #ordered(): readonly { readonly path: string; readonly text: string }[] {
    if (this.#inOrder && this.#opaque.length === 0 && this.#removed.length === 0) return this.#rows;
    const byPath = new Map(this.#rows.map((row) => [row.path, row]));
    const opaque = new Set(this.#opaque);
    for (const path of this.#removed) {
      // Removed and there again: what was below is hidden. A file hides by itself, a directory must say so.
      if (byPath.has(path)) opaque.add(path);
      else byPath.set(path, { path, text: encodeRow({ path, type: 'whiteout' } satisfies TocEntry) });
    }
    for (const path of opaque) {
      const row = byPath.get(path);
      if (row === undefined) byPath.set(path, { path, text: impliedOpaque });
      else if (row.text.startsWith('{"t":"d"')) byPath.set(path, { path, text: row.text.replace(/(?:,"o":1)?\}$/, ',"o":1}') });
    }
    return [...byPath.values()].sort((a, b) => comparePaths(a.path, b.path));
  }
}

/** A directory that is opaque but has no entry of its own. */
const impliedOpaque = '{"t":"d","m":493,"T":0,"o":1}';

class GrowingBuffer {
  #buffer = Buffer.allocUnsafe(64 * 1024);
  length = 0;

  addText(text: string): void {
    this.#reserve(text.length * 3);
    this.length += this.#buffer.write(text, this.length, 'utf8');
  }

  addBytes(bytes: Uint8Array): void {
    this.#reserve(bytes.length);
    this.#buffer.set(bytes, this.length);
    this.length += bytes.length;
  }

  bytes(): Buffer {
    return this.#buffer.subarray(0, this.length);
  }

  #reserve(more: number): void {
    if (this.length + more <= this.#buffer.length) return;
    const larger = Buffer.allocUnsafe(Math.max(this.#buffer.length * 2, this.length + more));
    this.#buffer.copy(larger, 0, 0, this.length);
    this.#buffer = larger;
  }
}
