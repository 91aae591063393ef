// The end of a build: config and manifest stored, then the tags moved, last and in one transaction.
import { commitImage } from '../image/commit.ts';
import type { Digest } from '../oci/digest.ts';
import { familiar } from '../oci/reference.ts';
import type { Blobs } from '../store/blobs.ts';
import type { Catalog } from '../store/catalog.ts';
import type { StepLog } from './events.ts';
import type { PreparedBuild } from './prepare.ts';
import { createdOf, type StageImage } from './stage-image.ts';

export interface Finished {
  readonly digest: Digest;
  /** As docker prints them. */
  readonly tags: readonly string[];
}
