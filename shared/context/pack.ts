// Packs: many small file bodies as one object, so that a context of 30,000 files travels and is stored as some dozens of objects (N07).
//
//   16 bytes  "slipway-pack-v1\n"      4 bytes  number of bodies, n (big endian)
//   n times   32 bytes SHA-256, 4 bytes size
//   bodies    one after the other, in that order
//
// Bodies of more than 4 MiB are blobs of their own. The client makes packs in the order of paths, so that bodies which are read one after
// the other lie together.
import { createHash } from 'node:crypto';
import { SlipwayError, throwIfCancelled } from '../errors.ts';
import type { Entry } from '../layer/entry.ts';
import { type Digest, encodedOf, sha256 } from '../oci/digest.ts';
import type { Bytes } from '../store/blobs.ts';
import { ByteReader } from '../stream/byte-reader.ts';
import { collect } from '../stream/collect.ts';
import { verified } from '../stream/verified.ts';
import { openBody } from '../tar/write.ts';
import type { Bodies } from './bodies.ts';

/** Largest body that goes into a pack. */
export const maxPackedBody = 4 << 20;
/** A pack is closed when its bodies reach this. */
export const packBytes = 8 << 20;
export const maxPackBodies = 16_384;
/** No pack is longer: header, bodies up to the target, and one more. */
export const maxPackBytes = packBytes + maxPackedBody + 20 + maxPackBodies * 36;

const magic = Buffer.from('slipway-pack-v1\n', 'latin1');
const recordBytes = 36;

export interface PackedBody {
  readonly digest: Digest;
  readonly size: number;
  /** From the start of the pack. */
  readonly offset: number;
}

export type Parcel =
  | { readonly kind: 'pack'; readonly digest: Digest; readonly bytes: Uint8Array; readonly bodies: readonly PackedBody[] }
  /** Reading `open()` to its end proves that the bytes have the digest; a file that changed is CONTEXT_CHANGED. */
  | { readonly kind: 'body'; readonly digest: Digest; readonly size: number; readonly open: () => Promise<Bytes> };

const changed = (entry: Entry, cause: unknown): SlipwayError =>
  new SlipwayError('CONTEXT_CHANGED', `${JSON.stringify(entry.path)} changed after the context was listed`, {
    hint: 'Start the build again when nothing writes to the context any more.',
    details: { path: entry.path },
    cause,
  });

/** The bytes of an entry, checked; anything but what the list says is CONTEXT_CHANGED. */
async function* contentOf(entry: Entry, bodies: Bodies, signal: AbortSignal | undefined): AsyncGenerator<Uint8Array> {
  try {
    const source = await openBody(await bodies.body(entry), entry.size, signal);
    yield* verified(source, { size: entry.size, ...(entry.digest && { digest: entry.digest }) }, entry.path);
  } catch (error) {
    if (error instanceof SlipwayError && !['DIGEST_MISMATCH', 'SIZE_MISMATCH'].includes(error.code)) throw error;
    throw changed(entry, error);
  }
}

/** Encodes a pack; bodies over `maxPackedBody` do not belong into one. */
export function encodePack(
  bodies: readonly { readonly digest: Digest; readonly bytes: Uint8Array }[],
): Parcel & { kind: 'pack' } {
  const header = Buffer.alloc(magic.length + 4 + bodies.length * recordBytes);
  magic.copy(header);
  header.writeUInt32BE(bodies.length, magic.length);
  const records: PackedBody[] = [];
  let at = magic.length + 4;
  let offset = header.length;
  for (const { digest, bytes } of bodies) {
    header.write(encodedOf(digest), at, 'hex');
    header.writeUInt32BE(bytes.length, at + 32);
    records.push({ digest, size: bytes.length, offset });
    at += recordBytes;
    offset += bytes.length;
  }
  const bytes = Buffer.concat([header, ...bodies.map((body) => body.bytes)]);
  return { kind: 'pack', digest: sha256(bytes), bytes, bodies: records };
}

/**
 * The bodies with digests in `wanted`, each once, as parcels to be sent one after the other. Memory: one pack.
 * @throws SlipwayError CONTEXT_CHANGED when a file is no longer what the list says
 */
export async function* packBodies(
  entries: Iterable<Entry>,
  wanted: ReadonlySet<Digest>,
  bodies: Bodies,
  signal?: AbortSignal,
): AsyncGenerator<Parcel, void, undefined> {
  const done = new Set<Digest>();
  let held: { digest: Digest; bytes: Uint8Array }[] = [];
  let heldBytes = 0;
  for (const entry of entries) {
    const { digest, size } = entry;
    if (entry.type !== 'file' || digest === undefined || size === 0 || !wanted.has(digest) || done.has(digest)) continue;
    throwIfCancelled(signal);
    done.add(digest);
    if (size > maxPackedBody) {
      yield { kind: 'body', digest, size, open: async () => contentOf(entry, bodies, signal) };
      continue;
    }
    held.push({ digest, bytes: await collect(contentOf(entry, bodies, signal), size, entry.path) });
    heldBytes += size;
    if (heldBytes >= packBytes || held.length >= maxPackBodies) {
      yield encodePack(held);
      held = [];
      heldBytes = 0;
    }
  }
  if (held.length > 0) yield encodePack(held);
}

const malformed = (what: string): SlipwayError => new SlipwayError('INVALID_ARCHIVE', `the pack ${what}`);

/**
 * Passes the bytes of a pack on while it checks them: its form, and every body against its digest. At the end `found` has been called with
 * its bodies. Nothing that came out may be used before that.
 * @throws SlipwayError INVALID_ARCHIVE, DIGEST_MISMATCH
 */
export async function* checkedPack(
  source: Bytes,
  found: (bodies: readonly PackedBody[]) => void,
): AsyncGenerator<Uint8Array, void, undefined> {
  const reader = new ByteReader(source);
  try {
    const start = Buffer.from(await reader.upTo(magic.length + 4));
    if (start.length < magic.length + 4 || !start.subarray(0, magic.length).equals(magic))
      throw malformed('does not begin as one');
    const count = start.readUInt32BE(magic.length);
    if (count === 0 || count > maxPackBodies) throw malformed(`has ${count} bodies; between 1 and ${maxPackBodies} are allowed`);
    const index = Buffer.from(await reader.upTo(count * recordBytes));
    if (index.length < count * recordBytes) throw malformed('is cut off');
    yield start;
    yield index;
    const bodies: PackedBody[] = [];
    let offset = start.length + index.length;
    for (let at = 0; at < index.length; at += recordBytes) {
      const digest: Digest = `sha256:${index.toString('hex', at, at + 32)}`;
      const size = index.readUInt32BE(at + 32);
      if (size === 0 || size > maxPackedBody) throw malformed(`has a body of ${size} bytes`);
      if (offset + size > maxPackBytes) throw malformed(`is longer than ${maxPackBytes} bytes`);
      const hash = createHash('sha256');
      for (let left = size; left > 0; ) {
        const chunk = await reader.some(left);
        if (chunk === undefined) throw malformed('is cut off');
        hash.update(chunk);
        left -= chunk.length;
        yield chunk;
      }
      const actual = hash.digest('hex');
      if (actual !== encodedOf(digest)) {
        throw new SlipwayError(
          'DIGEST_MISMATCH',
          `body ${bodies.length + 1} of the pack has digest sha256:${actual}, not ${digest}`,
        );
      }
      bodies.push({ digest, size, offset });
      offset += size;
    }
    if (!(await reader.ended())) throw malformed('has bytes after its last body');
    found(bodies);
  } finally {
    await reader.close();
  }
}
