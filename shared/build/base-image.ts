// An image of the home as a stage's start, or as the source of COPY --from.
import { openImage } from '../image/read.ts';
import { chainIds } from '../oci/chain.ts';
import type { ImageConfig } from '../oci/config.ts';
import type { Digest } from '../oci/digest.ts';
import type { Platform } from '../oci/platform.ts';
import type { Blobs } from '../store/blobs.ts';
import type { StageImage } from './stage-image.ts';

/** `digest` may be an index; the answer's digest is the manifest's that fits the platform. */
export async function loadStageImage(
  blobs: Blobs,
  digest: Digest,
  platform: Platform,
  signal?: AbortSignal,
): Promise<{ digest: Digest; image: StageImage }> {
  const image = await openImage(blobs, digest, { platform }, signal === undefined ? {} : { signal });
  const { config, layers } = image;
  return {
    digest: image.digest,
    image: { config, layers, chain: chainIds(config.rootfs.diff_ids).at(-1) ?? '', time: timeOf(config) },
  };
}

/** Seconds of the newest history row that has a time, as BuildKit dates what follows; else of the image. */
function timeOf(config: ImageConfig): number | undefined {
  const text = config.history?.findLast((row) => row.created !== undefined)?.created ?? config.created;
  const ms = text === undefined ? Number.NaN : Date.parse(text);
  return Number.isNaN(ms) ? undefined : Math.floor(ms / 1000);
}
