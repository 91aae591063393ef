// What the rest of Slipway knows about a layer once it is stored, and the two things it can ask of one: its table of contents and
// its unpacked tree. Writing is in write.ts, applying in apply.ts, the change set of an overlay upper directory in changes.ts.
import type { Descriptor } from '../oci/descriptor.ts';
import type { Digest } from '../oci/digest.ts';

/** A stored layer. `descriptor.digest` names the compressed blob, `diffId` its uncompressed bytes. */
export interface Layer {
  readonly descriptor: Descriptor;
  readonly diffId: Digest;
}

/** chainID of OCI config.md: L0 = diffID; Ln = sha256(chainID(n-1) + " " + diffID(n)). The empty chain is ''. */
export type ChainId = Digest | '';
