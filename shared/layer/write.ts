// Entries in, a stored layer out: one pass. Members are made in parallel (compress-pool.ts) and arrive here in order, where the tar and
// the blob are hashed and the blob is written; nothing is ever read again.
import { createHash } from 'node:crypto';
import { SlipwayError, throwIfCancelled } from '../errors.ts';
import type { Digest } from '../oci/digest.ts';
import { type Compression, mediaType } from '../oci/media-type.ts';
import type { BlobStat, Blobs } from '../store/blobs.ts';
import { BlobSink } from './blob-sink.ts';
import type { CompressPool } from './compress-pool.ts';
import type { Entry, EntryWithBody, FileState } from './entry.ts';
import type { Layer } from './layer.ts';
import { type MemberJob, type MemberResult, makeMember, sameState } from './member.ts';
import { codecVersion, defaultLevel, packedRoom } from './member-codec.ts';
import { MemberIndexBuilder } from './member-index.ts';
import { type PlannedMember, planMembers } from './member-plan.ts';
import { Reuse } from './reuse.ts';
import { TocBuilder } from './toc-builder.ts';

/** What `writeLayer` needs of a store; a disk store's staging folder lets it write the blob in place. */
export type LayerBlobs = Pick<Blobs, 'put' | 'open' | 'local'> & {
  stage?(): string;
  adopt?(file: string, blob: BlobStat): Promise<BlobStat>;
};

export interface WriteLayerOptions {
  readonly blobs: LayerBlobs;
  readonly compression: Compression;
  /** By default what measurements say. */
  readonly level?: number;
  readonly pool: CompressPool;
  /** Seconds since 1970: later times are set to it. */
  readonly epoch?: number;
  /** An earlier layer made by `writeLayer`: what both have in common is not compressed again. It changes time, never bytes. */
  readonly reuse?: { readonly blob: Digest; readonly members: Uint8Array };
  readonly signal?: AbortSignal;
}

export interface WrittenLayer extends Layer {
  /** The encoded table of contents (toc-table.ts reads it). */
  readonly toc: Uint8Array;
  /** The encoded member index (member-index.ts). */
  readonly members: Uint8Array;
  readonly entryCount: number;
  /** Bytes of the tar. */
  readonly uncompressedSize: number;
  /** Members taken from `reuse`. */
  readonly reusedMembers: number;
}

const layerType = {
  none: mediaType.ociLayerTar,
  gzip: mediaType.ociLayerGzip,
  zstd: mediaType.ociLayerZstd,
} as const satisfies Record<Compression, string>;

/** A tar up to this size is compressed in this thread if no other is running yet: starting one takes longer. */
const smallTar = 1024 * 1024;

/** Writes the layer of `entries` and waits until it is stored; see `makeLayer`. */
export async function writeLayer(
  entries: Iterable<EntryWithBody> | AsyncIterable<EntryWithBody>,
  options: WriteLayerOptions,
): Promise<WrittenLayer> {
  const { layer, stored } = await makeLayer(entries, options);
  await stored;
  return layer;
}

/**
 * Makes the layer of `entries`, which are in path order. The same entries give the same bytes, whatever the number of threads. Resolves
 * when all of them have been read and the layer's digests are known; `stored` does when its blob is in `blobs`, and must be waited for.
 * CONTEXT_CHANGED when a file is not what its entry says; nothing is visible in the store then.
 */
export async function makeLayer(
  entries: Iterable<EntryWithBody> | AsyncIterable<EntryWithBody>,
  options: WriteLayerOptions,
): Promise<{ readonly layer: WrittenLayer; readonly stored: Promise<void> }> {
  const { blobs, compression, pool, signal } = options;
  const level = options.level ?? defaultLevel[compression];
  const codec = codecVersion(compression, level);
  await using reuse = Reuse.open(blobs, options.reuse, codec);
  await using opened = new AsyncDisposableStack();
  const sink = opened.use(new BlobSink(blobs, signal));
  const writer = new LayerWriter(sink, reuse);
  const underWay: { readonly planned: PlannedMember; readonly result: Promise<MemberResult> }[] = [];
  const buffer = (length: number) => pool.buffer(length);
  const plan = planMembers(entries, {
    buffer,
    ...(signal && { signal }),
    ...(options.epoch !== undefined && { epoch: options.epoch }),
  });
  const takeFirst = async () => {
    const { planned, result } = underWay.shift()!;
    const made = await result;
    await writer.take(planned, made);
    pool.release(made.raw);
    pool.release(made.room);
  };
  try {
    let next = await plan.next();
    while (!next.done) {
      const planned = next.value;
      next = await plan.next();
      throwIfCancelled(signal);
      const { raw, length, fills } = planned;
      const room = compression === 'none' ? new ArrayBuffer(0) : pool.buffer(packedRoom(raw.byteLength));
      const job: MemberJob = {
        raw,
        room,
        length,
        fills: fills.flat(),
        compression,
        level,
        ...(reuse.known && { known: reuse.known }),
      };
      const alone = next.done && underWay.length === 0 && writer.uncompressedSize === 0;
      const here = alone && length <= smallTar && !pool.started;
      const result = here ? Promise.resolve().then(() => makeMember(job)) : pool.run(job);
      // Its failure is met when its turn comes; until then it must not count as unhandled.
      result.catch(() => undefined);
      underWay.push({ planned, result });
      if (underWay.length >= pool.window) await takeFirst();
    }
    while (underWay.length > 0) {
      await takeFirst();
      throwIfCancelled(signal);
    }
  } finally {
    await plan.return();
    await Promise.allSettled(underWay.map(({ result }) => result));
  }
  const blob = sink.end();
  const layer = writer.finish({ mediaType: layerType[compression], digest: blob.digest, size: blob.size }, codec);
  return { layer, stored: store(sink, blob, opened.move()) };
}

async function store(sink: BlobSink, blob: BlobStat, opened: AsyncDisposableStack): Promise<void> {
  await using _closed = opened;
  await sink.store(blob);
}

/** Takes the made members in order. */
class LayerWriter {
  uncompressedSize = 0;
  #entryCount = 0;
  #reused = 0;
  readonly #sink: BlobSink;
  readonly #reuse: Reuse;
  readonly #diff = createHash('sha256');
  readonly #toc = new TocBuilder();
  readonly #index = new MemberIndexBuilder();
  /** The large file whose pieces are passing. */
  #large: { hash: ReturnType<typeof createHash>; state: FileState | undefined; name: string } | undefined;

  constructor(sink: BlobSink, reuse: Reuse) {
    this.#sink = sink;
    this.#reuse = reuse;
  }

  async take(planned: PlannedMember, made: MemberResult): Promise<void> {
    const raw = new Uint8Array(made.raw, 0, made.length);
    const packed =
      made.knownAt === undefined
        ? made.packedLength === undefined
          ? raw
          : new Uint8Array(made.room, 0, made.packedLength)
        : await this.#reuse.read(made.knownAt);
    if (made.knownAt !== undefined) this.#reused++;
    // The write runs in another thread while this one hashes.
    const written = this.#sink.write(packed);
    // When hashing finds something wrong first, that is what is reported; the sink waits for the write before it closes its file.
    written.catch(() => undefined);
    this.#diff.update(raw);
    this.uncompressedSize += raw.length;
    this.#index.add(raw.length, packed.length, made.sha256);
    const largeDigests = this.#takePieces(planned, made, raw);
    for (const { entry, fill } of planned.entries) {
      const digest = fill < 0 ? undefined : (largeDigests.get(fill) ?? made.digests.get(fill) ?? entry.digest);
      const known = entry.type === 'file' ? this.#withDigest(entry, digest) : entry;
      this.#toc.add(known, TocBuilder.keepsContent(entry) && fill >= 0 ? planned.fills.sliceOf(fill, raw) : undefined);
      this.#entryCount++;
    }
    await written;
  }

  finish(descriptor: Layer['descriptor'], codec: string): WrittenLayer {
    const diffId: Digest = `sha256:${this.#diff.digest('hex')}`;
    return {
      descriptor,
      diffId,
      toc: this.#toc.finish(diffId),
      members: this.#index.finish(codec),
      entryCount: this.#entryCount,
      uncompressedSize: this.uncompressedSize,
      reusedMembers: this.#reused,
    };
  }

  /** Pieces of large files are hashed here, where they pass in order; answers the digests of the files that end in this member. */
  #takePieces(planned: PlannedMember, made: MemberResult, raw: Uint8Array): ReadonlyMap<number, Digest> {
    const ended = new Map<number, Digest>();
    for (const index of planned.fills.pieces()) {
      const fill = planned.fills.at(index);
      const state = made.states.get(index);
      if (this.#large?.name !== fill.name) this.#large = { hash: createHash('sha256'), state, name: fill.name };
      const large = this.#large;
      if (large.state !== undefined && (state === undefined || !sameState(large.state, state))) {
        throw new SlipwayError('CONTEXT_CHANGED', `${fill.name} was written to while the layer was being made from it`, {
          hint: 'Build again when nothing writes there any more.',
          details: { path: fill.name },
        });
      }
      const end = planned.entries.find((candidate) => candidate.fill === index);
      if (fill.trusted) continue;
      large.hash.update(raw.subarray(fill.at, fill.at + fill.size));
      if (end !== undefined) ended.set(index, `sha256:${large.hash.digest('hex')}`);
    }
    return ended;
  }

  #withDigest(entry: Entry, digest: Digest | undefined): Entry {
    const actual = entry.size === 0 ? emptyDigest : digest;
    if (entry.digest !== undefined && actual !== entry.digest) {
      throw new SlipwayError('CONTEXT_CHANGED', `${entry.path} has not the content it had when it was listed`, {
        hint: 'Build again when nothing writes there any more.',
        details: { path: entry.path, expected: entry.digest, actual },
      });
    }
    return actual === undefined || entry.digest === actual ? entry : { ...entry, digest: actual };
  }
}

const emptyDigest: Digest = `sha256:${createHash('sha256').digest('hex')}`;
