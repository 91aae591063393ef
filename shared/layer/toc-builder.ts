// Makes the table of contents of a layer, entry by entry as they stand in its tar.
import type { Digest } from '../oci/digest.ts';
import { comparePaths, decodeName, encodeName } from '../tar/name.ts';
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
  /** The records so far, encoded: a layer may have very many. */
  readonly #records = new Records();
  #lastPath: string | undefined;
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
    if (this.#lastPath !== undefined && comparePaths(this.#lastPath, path) >= 0) this.#inOrder = false;
    this.#lastPath = path;
    this.#records.add(path, text);
  }

  /** The encoded table; the same entries always give the same bytes. */
  finish(diffId: Digest): Buffer {
    const records = this.#ordered();
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
    const offsets = Buffer.alloc(4 * (records.count + 1));
    for (let index = 0; index < records.count; index++) offsets.writeUInt32LE(recordsAt + records.starts[index]!, 4 * index);
    offsets.writeUInt32LE(recordsAt + records.length, 4 * records.count);
    tocMagic.copy(head);
    [records.count, recordsAt, head.length, contents.length, recordsAt + records.length].forEach((value, index) => {
      head.writeUInt32LE(value, 16 + 4 * index);
    });
    head.write(diffId, 36, 'latin1');
    return Buffer.concat([head, ...contentParts, ...records.chunks(), offsets]);
  }

  #ordered(): Records {
    if (this.#inOrder && this.#opaque.length === 0 && this.#removed.length === 0) return this.#records;
    const byPath = new Map<string, Row>();
    for (const row of this.#records.rows()) byPath.set(row.path, row);
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
    const ordered = new Records();
    for (const { path, text } of [...byPath.values()].sort((a, b) => comparePaths(a.path, b.path))) ordered.add(path, text);
    return ordered;
  }
}

interface Row {
  readonly path: string;
  readonly text: string;
}

/** A directory that is opaque but has no entry of its own. */
const impliedOpaque = '{"t":"d","m":493,"T":0,"o":1}';

const chunkBytes = 256 * 1024;

/** Encoded records one after the other, in chunks that are never copied. */
class Records {
  /** Where each begins. */
  readonly starts: number[] = [];
  length = 0;
  readonly #full: Buffer[] = [];
  #chunk = Buffer.allocUnsafeSlow(chunkBytes);
  #filled = 0;

  get count(): number {
    return this.starts.length;
  }

  add(path: string, text: string): void {
    this.starts.push(this.length);
    const name = path.isWellFormed() ? path : encodeName(path);
    // UTF-8 takes at most three bytes for a unit of UTF-16.
    const most = name.length * (typeof name === 'string' ? 3 : 1) + 1 + text.length * 3;
    if (this.#filled + most > this.#chunk.length) {
      this.#full.push(this.#chunk.subarray(0, this.#filled));
      this.#chunk = Buffer.allocUnsafeSlow(Math.max(chunkBytes, most));
      this.#filled = 0;
    }
    const start = this.#filled;
    if (typeof name === 'string') this.#filled += this.#chunk.write(`${name}\u0000${text}`, start);
    else {
      this.#chunk.set(name, start);
      this.#filled += name.length;
      this.#filled += this.#chunk.write(`\u0000${text}`, this.#filled);
    }
    this.length += this.#filled - start;
  }

  chunks(): readonly Buffer[] {
    return [...this.#full, this.#chunk.subarray(0, this.#filled)];
  }

  *rows(): Iterable<Row> {
    const all = Buffer.concat(this.chunks());
    for (const [index, start] of this.starts.entries()) {
      const nul = all.indexOf(0, start);
      const text = all.toString('utf8', nul + 1, this.starts[index + 1] ?? this.length);
      yield { path: decodeName(all.subarray(start, nul)), text };
    }
  }
}
