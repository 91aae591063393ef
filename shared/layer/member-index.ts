// The index of a layer's members: where each lies in the tar and in the blob, and what it holds. With it a layer can be read from the
// middle, and its compressed members can be used again for a layer that shares them.
//
//   16 bytes  magic        u32  length of the codec's name, and the name        u32  number of members
//   a member: u32 raw length, u32 length in the blob, SHA-256 of the raw bytes (zeros: stored, nothing to save)
import { SlipwayError } from '../errors.ts';

const magic = Buffer.from('slipway-parts/1\n', 'latin1');
const recordBytes = 8 + 32;
const noDigest = Buffer.alloc(32);

export interface Member {
  /** In the uncompressed tar. */
  readonly offset: number;
  readonly length: number;
  /** In the blob. */
  readonly packedOffset: number;
  readonly packedLength: number;
  /** SHA-256 of the uncompressed bytes; undefined for members that are stored. */
  readonly sha256: Uint8Array | undefined;
}

export class MemberIndexBuilder {
  #records: Buffer[] = [];

  add(length: number, packedLength: number, sha256: Uint8Array | undefined): void {
    const record = Buffer.alloc(recordBytes);
    record.writeUInt32LE(length, 0);
    record.writeUInt32LE(packedLength, 4);
    if (sha256 !== undefined) record.set(sha256, 8);
    this.#records.push(record);
  }

  finish(codec: string): Buffer {
    const name = Buffer.from(codec);
    const head = Buffer.alloc(magic.length + 4 + name.length + 4);
    magic.copy(head);
    head.writeUInt32LE(name.length, magic.length);
    name.copy(head, magic.length + 4);
    head.writeUInt32LE(this.#records.length, magic.length + 4 + name.length);
    return Buffer.concat([head, ...this.#records]);
  }
}

export class MemberIndex {
  /** What made the compressed bytes: `codecVersion`. */
  readonly codec: string;
  readonly members: readonly Member[];

  /** INVALID_DOCUMENT when the bytes are no index. */
  constructor(bytes: Uint8Array) {
    const data = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
    if (data.length < magic.length + 8 || !data.subarray(0, magic.length).equals(magic)) throw damaged();
    const nameLength = data.readUInt32LE(magic.length);
    const countAt = magic.length + 4 + nameLength;
    if (countAt + 4 > data.length) throw damaged();
    this.codec = data.toString('utf8', magic.length + 4, countAt);
    const count = data.readUInt32LE(countAt);
    if (countAt + 4 + count * recordBytes !== data.length) throw damaged();
    const members: Member[] = [];
    let offset = 0;
    let packedOffset = 0;
    for (let at = countAt + 4; at < data.length; at += recordBytes) {
      const length = data.readUInt32LE(at);
      const packedLength = data.readUInt32LE(at + 4);
      const sha256 = data.subarray(at + 8, at + 40);
      members.push({ offset, length, packedOffset, packedLength, sha256: sha256.equals(noDigest) ? undefined : sha256 });
      offset += length;
      packedOffset += packedLength;
    }
    this.members = members;
  }

  /** The members that hold the bytes from `start` to `end` (exclusive) of the tar. */
  covering(start: number, end: number): readonly Member[] {
    return this.members.filter(({ offset, length }) => offset < end && offset + length > start);
  }
}

const damaged = (): SlipwayError => new SlipwayError('INVALID_DOCUMENT', "a layer's index of members is damaged");
