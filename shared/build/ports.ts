// What the stage executor is given. Where it runs (this process, a function, a VM) is told to it only through these.
import type { Context } from '../context/list.ts';
import type { Body, Entry, EntryWithBody } from '../layer/entry.ts';
import type { Layer } from '../layer/layer.ts';
import type { MergedTree } from '../layer/merged.ts';
import type { Digest } from '../oci/digest.ts';
import type { Sandbox } from '../sandbox/sandbox.ts';
import type { Blobs } from '../store/blobs.ts';
import type { BuildCache } from './cache.ts';
import type { StepLog } from './events.ts';

/** Where the contents of a context's entries come from. */
export interface ContextSource {
  readonly list: Context;
  body(entry: Entry): Body | Promise<Body>;
  /** Keeps projects apart where results of the same instruction are looked up again. */
  readonly scope: string;
}

/** A layer that a step made. */
export interface MadeLayer {
  readonly layer: Layer;
  /**
   * Resolves when it is stored and recorded. Until then only its digests and its table of contents can be used, and nothing that lasts
   * may name it. Must be waited for; that it rejects meanwhile is not an unhandled rejection.
   */
  readonly stored: Promise<void>;
}

/** Layers that are stored, and what is known about them. */
export interface LayerStore {
  /** The stored layer of this diffID, or undefined when its blob is not (or no longer) there. */
  find(diffId: Digest): Promise<Layer | undefined>;
  /** The file system that the layers make, from their tables of contents; a missing table is made by reading its layer once. */
  tree(layers: readonly Layer[], signal: AbortSignal): Promise<MergedTree>;
  /**
   * Writes a layer from entries in path order and records it. All entries have been read when this resolves. `like` is a layer that probably has much in common: its unchanged members
   * are copied. The bytes do not depend on it.
   */
  write(
    entries: Iterable<EntryWithBody> | AsyncIterable<EntryWithBody>,
    like: Digest | undefined,
    options: { readonly epoch?: number; readonly signal: AbortSignal },
  ): Promise<MadeLayer>;
  /** Something large may be written soon: what takes time to start is started. */
  warm?(): void;
  /** Calls `use` with the contents of `wanted`, entries of `tree`, which is the tree of `layers`. */
  withBodies<T>(
    layers: readonly Layer[],
    tree: MergedTree,
    wanted: readonly Entry[],
    use: (body: (entry: Entry) => Body) => Promise<T>,
    signal: AbortSignal,
  ): Promise<T>;
}

/** Root file systems for RUN. Absent where nothing may be executed. */
export interface RunRoots {
  readonly sandbox: Sandbox;
  /** The unpacked directories of the layers, bottom first; made where they are missing. */
  lowers(layers: readonly Layer[], signal?: AbortSignal): Promise<readonly string[]>;
  /** A fresh writable directory for one step, gone when disposed. */
  scratch(): Promise<Scratch>;
  /** What the step changed, as layer entries. Times later than `epoch` are set to it, on disk too: the tree then equals an unpacked layer. */
  changes(
    upper: string,
    options: { readonly epoch?: number; readonly signal?: AbortSignal },
  ): Promise<Iterable<EntryWithBody> | AsyncIterable<EntryWithBody>>;
  /** Hands the step's directory over as the unpacked form of the layer that was made from it. */
  adopt(diffId: Digest, upper: string): Promise<void>;
}

/** A folder that is gone when disposed. */
export interface ScratchFolder extends AsyncDisposable {
  readonly path: string;
}

export interface Scratch extends AsyncDisposable {
  readonly upper: string;
  readonly work: string;
  /** For small files shown to the step. */
  readonly files: string;
}

/** Begins to fetch a file by http or https. Refuses addresses that a Dockerfile must not reach (DENIED). */
export type Download = (
  url: URL,
  signal: AbortSignal,
) => Promise<{
  readonly status: number;
  /** Last-Modified, as it was sent. */
  readonly modified?: string;
  readonly body: AsyncIterable<Uint8Array> & { destroy(): unknown };
}>;

export interface StagePorts {
  readonly blobs: Blobs;
  readonly cache: BuildCache;
  readonly layers: LayerStore;
  readonly log: StepLog;
  /** Milliseconds since 1970. */
  readonly clock: () => number;
  /** Undefined when the build has no context. */
  readonly context?: () => Promise<ContextSource>;
  readonly roots?: () => Promise<RunRoots>;
  /** For ADD of URLs. */
  readonly download: Download;
  /** For what a step must keep on disk for a while: members of archives, files from other layers. */
  readonly scratch: () => Promise<ScratchFolder>;
  /** `--no-cache`: nothing is looked up; what is made is still kept. */
  readonly noCache: boolean;
  /**
   * A step begins while what the one before it made is still being stored. Not where the log is what a second attempt goes by: there a
   * step that is done must be kept.
   */
  readonly storeBehind?: boolean;
  readonly signal: AbortSignal;
}
