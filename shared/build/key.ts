// Keys: what a step's result is cached under. key = sha256(canonical JSON of a versioned struct) of exactly what the step reads, never
// of its outcome, its place in the file, or a file's mtime. Raise `version` when the meaning of a member changes.

import type { ChainId } from '../layer/layer.ts';
import { type Digest, sha256 } from '../oci/digest.ts';
import { canonicalJson } from '../oci/encode.ts';

/** One path that COPY or ADD reads, in the form that counts. No mtime (F68): `touch` is no change. */
export type ContentPart = readonly [path: string, type: string, mode: number, owner: string, content: string, xattrs: string];

export type KeyParts =
  | {
      readonly kind: 'run';
      readonly args: readonly string[];
      /** In order: a later value of the same name wins in most shells, so the order counts. Proxy ARGs are not here (F62). */
      readonly env: readonly string[];
      readonly user: string;
      readonly cwd: string;
      readonly network: string;
      /** Files shown to the command: name and digest of the content. */
      readonly files?: readonly (readonly [name: string, content: Digest])[];
    }
  | {
      readonly kind: 'copy';
      readonly destination: string;
      readonly chown?: string;
      readonly chmod?: string;
      readonly unpack: boolean;
      readonly link?: true;
      /** Digest over the matched entries: see `contentDigest`. For COPY --from the copied content only (C06). */
      readonly content: Digest;
    }
  | {
      readonly kind: 'fetch';
      readonly name: string;
      readonly destination: string;
      readonly chown?: string;
      readonly chmod?: string;
      readonly unpack: boolean;
      readonly link?: true;
      readonly content: Digest;
    }
  | { readonly kind: 'workdir'; readonly path: string; readonly user?: string };

export interface KeyStruct {
  readonly version: 1;
  /** Content of what is below, not its history: two ways to the same files share what follows. */
  readonly parent: ChainId;
  /** As `formatPlatform` writes it. */
  readonly platform: string;
  /** SOURCE_DATE_EPOCH: it is written into the layer's times, and RUN sees it. */
  readonly epoch?: number;
  readonly operation: KeyParts;
}

export const keyOf = (struct: KeyStruct): Digest => sha256(canonicalJson(struct));
