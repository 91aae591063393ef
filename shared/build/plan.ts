// A plan: a Dockerfile with its arguments, turned into a graph of stages of fully expanded steps. It is JSON, so that it can cross
// from one worker to another. Bases are pinned to digests, ONBUILD triggers are in it, unneeded stages are not (F96).
import type { SourceRange } from '../errors.ts';
import type { Healthcheck, RuntimeConfig } from '../oci/config.ts';
import type { Digest } from '../oci/digest.ts';
import type { Platform } from '../oci/platform.ts';

export type StageBase =
  | { readonly kind: 'scratch' }
  /** A manifest (never an index) in the home's catalog. */
  | { readonly kind: 'image'; readonly name: string; readonly digest: Digest }
  | { readonly kind: 'stage'; readonly stage: number };

export type CopySource =
  | { readonly kind: 'context' }
  | { readonly kind: 'stage'; readonly stage: number }
  | { readonly kind: 'image'; readonly name: string; readonly digest: Digest };

/** An edit of the image's config. Undefined members are left alone; `unset` names members to remove. */
export interface ConfigEdit {
  readonly set?: Partial<RuntimeConfig>;
  readonly env?: readonly (readonly [string, string])[];
  readonly labels?: readonly (readonly [string, string])[];
  readonly ports?: readonly string[];
  readonly volumes?: readonly string[];
  readonly onbuild?: readonly string[];
  readonly healthcheck?: Healthcheck;
  readonly author?: string;
  readonly unset?: readonly (keyof RuntimeConfig)[];
}

export type Operation =
  | { readonly kind: 'config'; readonly edit: ConfigEdit }
  | {
      readonly kind: 'run';
      /** The whole command, shell included for shell form. */
      readonly args: readonly string[];
      /** Config env and the ARGs in scope, as the command sees them: `NAME=value`, in order. Predefined proxy ARGs are in `proxyEnv`. */
      readonly env: readonly string[];
      /** Given to the command, but no part of the key (F62). */
      readonly proxyEnv: readonly string[];
      readonly user: string;
      readonly cwd: string;
      readonly network: 'host' | 'none';
      /** `RUN <<EOF` with a `#!` line: shown to the command read-only, mode 0755, as /dev/pipes/NAME; never in the layer. Part of the key. */
      readonly files?: readonly { readonly name: string; readonly content: string }[];
    }
  | {
      readonly kind: 'copy';
      readonly from: CopySource;
      /** As written after expansion; wildcards not yet matched. */
      readonly sources: readonly string[];
      /** Absolute; a trailing `/` is kept and means a directory. */
      readonly destination: string;
      readonly chown?: string;
      readonly chmod?: string;
      readonly exclude?: readonly string[];
      /** Heredoc files: name and content. */
      readonly inline?: readonly { readonly name: string; readonly content: string }[];
      /** ADD: local archives are unpacked. */
      readonly unpack: boolean;
      /** `--link`: as if into an empty root: no link of the parent is followed, and the parent is no part of the key. */
      readonly link?: true;
    }
  | {
      readonly kind: 'fetch';
      readonly url: string;
      readonly destination: string;
      readonly chown?: string;
      readonly chmod?: string;
      readonly checksum?: Digest;
      readonly unpack: boolean;
      /** As for copy. */
      readonly link?: true;
    }
  /** Sets WorkingDir and makes the directories that are missing (0755), owned by `user` (the USER in force) as BuildKit does; always a layer. */
  | { readonly kind: 'workdir'; readonly path: string; readonly user?: string };

export interface Step {
  readonly operation: Operation;
  /** Where it stands in the Dockerfile. */
  readonly where: SourceRange;
  /** What progress output shows, e.g. `RUN apt-get update`. */
  readonly display: string;
  /** `history[].created_by`, as BuildKit writes it. Empty: no history row at all (ONBUILD, `--label`). */
  readonly createdBy: string;
}

export interface PlannedStage {
  /** Index among all stages of the Dockerfile, so messages agree with the file. */
  readonly index: number;
  /** `AS` name, or undefined. */
  readonly name?: string;
  readonly where: SourceRange;
  readonly base: StageBase;
  readonly steps: readonly Step[];
  /** Indices of the stages that must be finished first: base and COPY --from, without duplicates, ascending. */
  readonly needs: readonly number[];
}

export interface Warning {
  /** Docker's rule name, e.g. `LegacyKeyValueFormat`. */
  readonly rule: string;
  readonly message: string;
  readonly where: SourceRange;
  readonly url: string;
}

export interface Plan {
  readonly version: 1;
  readonly platform: Platform;
  /** Only needed stages; each after all it needs. */
  readonly stages: readonly PlannedStage[];
  /** `index` of the stage that is the result. */
  readonly target: number;
  readonly warnings: readonly Warning[];
  /** Seconds; SOURCE_DATE_EPOCH when given. */
  readonly epoch?: number;
}
