// The stretches of file content in a member. There is one a file, and all of them cross to another thread, so they are kept flat: as
// objects they would cost more to send than their files to read.
import type { FileState } from './entry.ts';

/** A stretch of file content in a member. */
export interface Fill {
  /** Offset in the member. */
  readonly at: number;
  readonly size: number;
  /** The file to read it from; absent when the bytes are in the member already. */
  readonly file?: string;
  /** Offset in the file. */
  readonly offset: number;
  /** The entry's path, for errors. */
  readonly name: string;
  /** The file's state when it was listed. */
  readonly state?: FileState | undefined;
  /** The digest of these bytes is wanted. */
  readonly hash: boolean;
  /** A piece of a large file: the file's state is answered, to compare the pieces, and the digest is taken where they pass in order. */
  readonly piece: boolean;
  /** The digest is known, and holds because the file's state does. */
  readonly trusted: boolean;
}

/** What crosses to the other thread. */
export interface FlatFills {
  readonly numbers: Float64Array;
  /** Two a fill: name and file. */
  readonly texts: readonly string[];
}

const width = 9;
const hasFile = 1;
const hasState = 2;
const wantsHash = 4;
const isPiece = 8;
const isTrusted = 16;

export class Fills {
  readonly #texts: string[];
  #numbers: Float64Array;
  #count: number;

  constructor(flat?: FlatFills) {
    this.#texts = (flat?.texts as string[] | undefined) ?? [];
    this.#numbers = flat?.numbers ?? new Float64Array(width * 16);
    this.#count = this.#texts.length / 2;
  }

  get count(): number {
    return this.#count;
  }

  /** The caller keeps its own; sending copies it. */
  flat(): FlatFills {
    return { numbers: this.#numbers.subarray(0, width * this.#count).slice(), texts: this.#texts };
  }

  add(fill: Fill): void {
    const start = width * this.#count++;
    if (start + width > this.#numbers.length) {
      const larger = new Float64Array(this.#numbers.length * 2);
      larger.set(this.#numbers);
      this.#numbers = larger;
    }
    const { state } = fill;
    const flags =
      (fill.file === undefined ? 0 : hasFile) |
      (state === undefined ? 0 : hasState) |
      (fill.hash ? wantsHash : 0) |
      (fill.piece ? isPiece : 0) |
      (fill.trusted ? isTrusted : 0);
    const numbers = this.#numbers;
    numbers[start] = fill.at;
    numbers[start + 1] = fill.size;
    numbers[start + 2] = fill.offset;
    numbers[start + 3] = flags;
    if (state !== undefined) {
      numbers[start + 4] = state.dev;
      numbers[start + 5] = state.ino;
      numbers[start + 6] = state.size;
      numbers[start + 7] = state.mtimeMs;
      numbers[start + 8] = state.ctimeMs;
    }
    this.#texts.push(fill.name, fill.file ?? '');
  }

  at(index: number): Fill {
    const start = width * index;
    const [at, size, offset, flags, dev, ino, length, mtimeMs, ctimeMs] = this.#numbers.subarray(
      start,
      start + width,
    ) as unknown as number[];
    return {
      at: at!,
      size: size!,
      offset: offset!,
      name: this.#texts[2 * index]!,
      ...(flags! & hasFile && { file: this.#texts[2 * index + 1]! }),
      state: flags! & hasState ? { dev: dev!, ino: ino!, size: length!, mtimeMs: mtimeMs!, ctimeMs: ctimeMs! } : undefined,
      hash: (flags! & wantsHash) !== 0,
      piece: (flags! & isPiece) !== 0,
      trusted: (flags! & isTrusted) !== 0,
    };
  }

  /** Offset and size in the member, without making an object of the rest. */
  sliceOf(index: number, member: Uint8Array): Uint8Array {
    const at = this.#numbers[width * index]!;
    return member.subarray(at, at + this.#numbers[width * index + 1]!);
  }

  /** Indices of the fills that are pieces of large files. */
  pieces(): readonly number[] {
    const found: number[] = [];
    for (let index = 0; index < this.#count; index++) if (this.#numbers[width * index + 3]! & isPiece) found.push(index);
    return found;
  }
}
