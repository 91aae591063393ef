// What a test or a benchmark asks of anything that builds images: a peer or Slipway itself.
import type { CommandOptions } from './command.ts';

export type BuilderName = 'slipway' | 'classic' | 'buildkit' | 'buildah' | 'podman';

export interface BuildRequest {
  readonly context: string;
  /** Path of the Dockerfile; default `Dockerfile` in the context. */
  readonly file?: string;
  readonly args?: Readonly<Record<string, string>>;
  readonly target?: string;
  /** Full reference. */
  readonly tag: string;
  readonly noCache?: boolean;
  /** How many stages at once, for builders that do one unless told. */
  readonly jobs?: number;
  /** Nothing is kept for a next build: builders that ask for it need not store a layer for each instruction then. */
  readonly once?: boolean;
}

export interface BuildOutcome {
  readonly exitCode: number;
  /** Both streams, stdout first. */
  readonly output: string;
  readonly milliseconds: number;
}

export interface Builder {
  readonly name: BuilderName;
  /** Takes a docker-archive tar into the builder's own store. */
  load(archive: string, options?: CommandOptions): Promise<BuildOutcome>;
  /** Never throws for a failed build: the exit code tells. */
  build(request: BuildRequest, options?: CommandOptions): Promise<BuildOutcome>;
  /** Writes an image as skopeo's `dir:` format (manifest.json, blobs by hex digest) into a folder that does not exist yet. */
  export(reference: string, folder: string): Promise<void>;
  /** Writes an image as a docker-archive tar. */
  save(reference: string, archive: string, options?: CommandOptions): Promise<BuildOutcome>;
  push(reference: string, to: string, options?: CommandOptions): Promise<BuildOutcome>;
  tag(reference: string, as: string): Promise<void>;
  /** How many layers an image has, or undefined when there is no such image. */
  layers(reference: string): Promise<number | undefined>;
  /** Forgets one image by reference; the build cache stays. */
  remove(reference: string): Promise<void>;
  /** Forgets every image but those to keep, and every cached build result; the two builders of one daemon do so together. */
  clearCache(keep: readonly string[]): Promise<void>;
  /** Pids of what works for this builder besides the command itself, e.g. the daemon. */
  daemons(): readonly number[];
}
