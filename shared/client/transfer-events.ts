// What a pull or a push tells while it goes on, for programs (NDJSON of the control API) and for the command line's lines.
import type { Digest } from '../oci/digest.ts';

export type LayerState =
  | 'Already exists'
  | 'Pulling fs layer'
  | 'Downloading'
  | 'Download complete'
  | 'Pull complete'
  | 'Preparing'
  | 'Layer already exists'
  | 'Mounted from'
  | 'Pushing'
  | 'Pushed'
  | 'Skipped foreign layer';

export type TransferEvent =
  | { readonly kind: 'pulling'; readonly reference: string; readonly path: string }
  | { readonly kind: 'pushing'; readonly repository: string }
  | {
      readonly kind: 'layer';
      readonly digest: Digest;
      readonly state: LayerState;
      /** Bytes, with Downloading and Pushing. */
      readonly current?: number;
      readonly total?: number;
      /** The repository, with `Mounted from`. */
      readonly from?: string;
    }
  | {
      readonly kind: 'pulled';
      /** What the registry calls it: of the index, where there is one. */
      readonly digest: Digest;
      /** What the home has under the name now: the platform's manifest. */
      readonly image: Digest;
      readonly fresh: boolean;
    }
  | { readonly kind: 'pushed'; readonly tag: string; readonly digest: Digest; readonly size: number }
  /** The end: `name` as docker prints it in Status, `canonical` as its last line. */
  | { readonly kind: 'done'; readonly name: string; readonly canonical: string; readonly fresh: boolean };

export type OnTransfer = (event: TransferEvent) => void;

/** How docker shortens a digest. */
export const shortDigest = (digest: Digest): string => digest.slice(digest.indexOf(':') + 1, digest.indexOf(':') + 13);
