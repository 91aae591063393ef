// The compressed members of an earlier layer, by the digest of what they hold.
import { closeSync, openSync, readSync } from 'node:fs';
import { SlipwayError } from '../errors.ts';
import type { Digest } from '../oci/digest.ts';
import type { Blobs } from '../store/blobs.ts';
import { collect } from '../stream/collect.ts';
import { fromReadableStream } from '../stream/web.ts';
import { type Member, MemberIndex } from './member-index.ts';

type Source = Pick<Blobs, 'open' | 'local'>;

export class Reuse implements AsyncDisposable {
  /** Sorted digests, 32 bytes each, in memory that threads share; undefined when there is nothing to use again. */
  readonly known: SharedArrayBuffer | undefined;
  readonly #members: readonly Member[];
  readonly #blobs: Source;
  readonly #blob: Digest | undefined;
  readonly #fd: number | undefined;

  private constructor(blobs: Source, blob: Digest | undefined, members: readonly Member[], fd: number | undefined) {
    this.#blobs = blobs;
    this.#blob = blob;
    this.#members = members;
    this.#fd = fd;
    if (members.length === 0) return;
    this.known = new SharedArrayBuffer(32 * members.length);
    const digests = new Uint8Array(this.known);
    members.forEach(({ sha256 }, index) => {
      if (sha256 !== undefined) digests.set(sha256, 32 * index);
    });
  }

  /** An index that is damaged, or made by another codec, or whose blob is gone, is as good as none: then everything is compressed. */
  static open(blobs: Source, earlier: { readonly blob: Digest; readonly members: Uint8Array } | undefined, codec: string): Reuse {
    const none = () => new Reuse(blobs, undefined, [], undefined);
    if (earlier === undefined || codec === 'none') return none();
    const index = readIndex(earlier.members);
    if (index?.codec !== codec) return none();
    const members = index.members.filter(({ sha256 }) => sha256 !== undefined);
    members.sort((a, b) => Buffer.compare(a.sha256!, b.sha256!));
    if (blobs.local === undefined) return new Reuse(blobs, earlier.blob, members, undefined);
    const path = blobs.local.path(earlier.blob);
    if (path === undefined) return none();
    return new Reuse(blobs, earlier.blob, members, openSync(path, 'r'));
  }

  /** The compressed bytes of the member at `index` of `known`. */
  async read(index: number): Promise<Uint8Array> {
    const { packedOffset, packedLength } = this.#members[index]!;
    if (this.#fd === undefined) {
      const found = await this.#blobs.open(this.#blob!, { start: packedOffset, end: packedOffset + packedLength });
      if (found === undefined) throw gone(this.#blob!);
      return collect(fromReadableStream(found.body), packedLength, 'a member of an earlier layer');
    }
    const bytes = Buffer.allocUnsafeSlow(packedLength);
    for (let filled = 0; filled < packedLength; ) {
      const count = readSync(this.#fd, bytes, filled, packedLength - filled, packedOffset + filled);
      if (count === 0) throw gone(this.#blob!);
      filled += count;
    }
    return bytes;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#fd !== undefined) closeSync(this.#fd);
  }
}

function readIndex(bytes: Uint8Array): MemberIndex | undefined {
  try {
    return new MemberIndex(bytes);
  } catch (error) {
    if (error instanceof SlipwayError) return undefined;
    throw error;
  }
}

const gone = (blob: Digest) =>
  new SlipwayError('STORE', `the layer ${blob} disappeared while parts of it were being used again`, { hint: 'Try again.' });
