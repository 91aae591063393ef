// The tar parser: bytes in, in any pieces; entries and slices of their content out, without copying. Synchronous, so that a worker can
// drive it without a promise an entry; read.ts makes a pulled stream of it.
import { SlipwayError } from '../errors.ts';
import type { Entry, EntryType } from '../layer/entry.ts';
import { blockSize, maxExtensionBytes, padding } from './format.ts';
import { isZeroBlock, type RawHeader, readHeader } from './header.ts';
import { decodeName } from './name.ts';
import { safePath } from './path.ts';
import { type PaxFields, readPax } from './pax.ts';

export interface TarHandler {
  /** A member. If its size is over 0, `data` and then `end` follow. */
  entry(entry: Entry): void;
  /** The next slice of the member's content; valid only during the call, unless the caller of `write` keeps its chunks unchanged. */
  data(slice: Uint8Array): void;
  /** The member's content is complete. */
  end(): void;
}

export interface TarOptions {
  /** Names the archive in errors. */
  readonly what?: string;
  /** Whether a leading `/` of a name is an error (the default) or dropped. */
  readonly absolute?: 'refuse' | 'strip';
}

const types: Readonly<Record<string, EntryType>> = {
  '\u0000': 'file',
  '0': 'file',
  '1': 'hardlink',
  '2': 'symlink',
  '3': 'char',
  '4': 'block',
  '5': 'dir',
  '6': 'fifo',
  // Contiguous files: a reader that does not know them treats them as files (POSIX).
  '7': 'file',
};

const refused: Readonly<Record<string, string>> = {
  S: 'an old GNU sparse file',
  M: 'the continuation of a multi-volume archive',
  V: 'a GNU volume label',
  D: 'a GNU incremental dump directory',
  N: 'an old GNU long name',
};

type Special = 'x' | 'g' | 'L' | 'K';

/** Hostile input safe: INVALID_ARCHIVE and UNSAFE_PATH name the member; memory is bounded by `maxExtensionBytes` a kind of header. */
export class TarParser {
  readonly #handler: TarHandler;
  readonly #what: string;
  readonly #absolute: 'refuse' | 'strip';
  #partial = Buffer.alloc(blockSize);
  #partialFilled = 0;
  #contentLeft = 0;
  #paddingLeft = 0;
  #special: { readonly kind: Special; readonly parts: Buffer[]; length: number } | undefined;
  #global: PaxFields = {};
  #local: PaxFields | undefined;
  #longName: string | undefined;
  #longLink: string | undefined;
  #zeroBlocks = 0;
  #members = 0;

  constructor(handler: TarHandler, options: TarOptions = {}) {
    this.#handler = handler;
    this.#what = options.what ?? 'archive';
    this.#absolute = options.absolute ?? 'refuse';
  }

  write(chunk: Uint8Array): void {
    const data = Buffer.from(chunk.buffer, chunk.byteOffset, chunk.length);
    let at = 0;
    while (at < data.length) {
      // After the two zero blocks anything may follow (GNU tar pads with zeros to 10 KiB).
      if (this.#zeroBlocks === 2) return;
      if (this.#contentLeft > 0) {
        const slice = data.subarray(at, at + this.#contentLeft);
        at += slice.length;
        this.#contentLeft -= slice.length;
        this.#content(slice);
      } else if (this.#paddingLeft > 0) {
        const skipped = Math.min(this.#paddingLeft, data.length - at);
        at += skipped;
        this.#paddingLeft -= skipped;
      } else if (this.#partialFilled === 0 && data.length - at >= blockSize) {
        this.#header(data.subarray(at, at + blockSize));
        at += blockSize;
      } else {
        const copied = data.copy(this.#partial, this.#partialFilled, at);
        at += copied;
        this.#partialFilled += copied;
        if (this.#partialFilled === blockSize) {
          this.#partialFilled = 0;
          this.#header(this.#partial);
        }
      }
    }
  }

  /** Call at the end of the bytes: INVALID_ARCHIVE when the archive is cut off. */
  finish(): void {
    if (this.#zeroBlocks === 2) return;
    const cut = this.#contentLeft > 0 || this.#paddingLeft > 0 || this.#partialFilled > 0;
    const dangling = this.#local !== undefined || this.#longName !== undefined || this.#longLink !== undefined;
    if (cut || dangling || this.#zeroBlocks === 1) throw this.#invalid('is cut off');
    // Go's reader, and so docker, accepts an archive without the closing zero blocks.
  }

  #invalid(problem: string): SlipwayError {
    return new SlipwayError('INVALID_ARCHIVE', `${this.#what} ${problem} after ${this.#members} members`);
  }

  #content(slice: Buffer): void {
    const special = this.#special;
    if (special === undefined) this.#handler.data(slice);
    else special.parts.push(Buffer.from(slice));
    if (this.#contentLeft > 0) return;
    if (special === undefined) this.#handler.end();
    else this.#finishSpecial(special.kind, Buffer.concat(special.parts));
  }

  #header(block: Buffer): void {
    if (isZeroBlock(block)) {
      this.#zeroBlocks++;
      return;
    }
    if (this.#zeroBlocks === 1) throw this.#invalid('has a zero block among its members');
    const where = `${this.#what}: member ${this.#members + 1}`;
    const header = readHeader(block, where);
    const { typeflag } = header;
    if (typeflag === 'x' || typeflag === 'g' || typeflag === 'L' || typeflag === 'K')
      this.#beginSpecial(typeflag, header.size, where);
    else this.#member(header, where);
  }

  #beginSpecial(kind: Special, size: number, where: string): void {
    if (size > maxExtensionBytes) {
      throw new SlipwayError(
        'INVALID_ARCHIVE',
        `${where}: an extended header of ${size} bytes; at most ${maxExtensionBytes} are read`,
      );
    }
    this.#contentLeft = size;
    this.#paddingLeft = padding(size);
    this.#special = { kind, parts: [], length: size };
    if (size === 0) this.#finishSpecial(kind, Buffer.alloc(0));
  }

  #finishSpecial(kind: Special, bytes: Buffer): void {
    this.#special = undefined;
    const where = `${this.#what}: member ${this.#members + 1}`;
    if (kind === 'x') {
      this.#local ??= {};
      readPax(bytes, this.#local, where);
    } else if (kind === 'g') {
      const { mtime, uid, gid, ...others } = this.#global;
      const fields: PaxFields = { mtime, uid, gid, ...others };
      readPax(bytes, fields, where);
      // What names or measures one member has no meaning for all of them, and would be a way to smuggle.
      this.#global = { mtime: fields.mtime, uid: fields.uid, gid: fields.gid };
    } else {
      const end = bytes.indexOf(0);
      const name = decodeName(end < 0 ? bytes : bytes.subarray(0, end));
      if (kind === 'L') this.#longName = name;
      else this.#longLink = name;
    }
  }

  #member(header: RawHeader, where: string): void {
    const pax = this.#local;
    const name = pax?.path ?? this.#longName ?? header.name;
    const link = pax?.link ?? this.#longLink ?? header.link;
    this.#local = undefined;
    this.#longName = undefined;
    this.#longLink = undefined;
    const shown = `${where} (${JSON.stringify(name.slice(0, 200))})`;
    let type = types[header.typeflag];
    if (type === undefined) {
      const kind = refused[header.typeflag] ?? `of an unknown type ${JSON.stringify(header.typeflag)}`;
      throw new SlipwayError('INVALID_ARCHIVE', `${shown} is ${kind}, which is not supported`);
    }
    // Before ustar, a directory was a file whose name ends with a slash.
    if (type === 'file' && header.typeflag === '\u0000' && name.endsWith('/')) type = 'dir';
    const path = safePath(name, this.#absolute, where);
    if (path === '' && type !== 'dir') throw new SlipwayError('UNSAFE_PATH', `${shown}: the root itself can only be a directory`);
    const size = type === 'file' ? (pax?.size ?? header.size) : 0;
    const xattrs = pax?.xattrs;
    const target = type === 'hardlink' ? safePath(link, this.#absolute, `${shown}: the target of the hard link`) : link;
    if ((type === 'hardlink' || type === 'symlink') && target === '')
      throw new SlipwayError('INVALID_ARCHIVE', `${shown}: a link to nothing`);
    if (target.includes('\u0000')) throw new SlipwayError('UNSAFE_PATH', `${shown}: a NUL in the link`);
    this.#members++;
    this.#contentLeft = size;
    this.#paddingLeft = padding(size);
    this.#handler.entry({
      path,
      type,
      mode: header.mode,
      uid: pax?.uid ?? this.#global.uid ?? header.uid,
      gid: pax?.gid ?? this.#global.gid ?? header.gid,
      size,
      mtime: pax?.mtime ?? this.#global.mtime ?? header.mtime,
      ...((type === 'hardlink' || type === 'symlink') && { link: target }),
      ...((type === 'char' || type === 'block') && { major: header.major, minor: header.minor }),
      ...(xattrs !== undefined && { xattrs }),
    });
  }
}
