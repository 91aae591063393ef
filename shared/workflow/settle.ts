// What a runner says a RUN made, taken at no more than its word is worth: the bytes must have come from this very job, and they must be a
// layer of the diffID that was claimed. Only then does the layer become known to the home. The key it counts for is computed here.
import type { CachedStep } from '../build/cache.ts';
import { SlipwayError } from '../errors.ts';
import type { LayerRecords } from '../layer/record.ts';
import { tocOfLayer } from '../layer/toc-of-layer.ts';
import { type Digest, isDigest } from '../oci/digest.ts';
import { mediaType } from '../oci/media-type.ts';
import type { Blobs } from '../store/blobs.ts';
import { jobKeys } from '../store/keys.ts';
import type { Table } from '../store/table.ts';
import { fromReadableStream } from '../stream/web.ts';

export interface Claim {
  readonly diffId: Digest;
  /** The gzip layer's blob. */
  readonly blob: Digest;
  /** Bytes of it. */
  readonly size: number;
  /** Seconds since 1970 when it was made. */
  readonly made: number;
}

export interface SettlePorts {
  readonly table: Table;
  readonly blobs: Blobs;
  readonly layerRecords: LayerRecords;
  /** Milliseconds since 1970. */
  readonly clock: () => number;
}

function claimOf(value: unknown): Claim | undefined {
  const { diffId, blob, size, made } = (value ?? {}) as Readonly<Record<string, unknown>>;
  if (typeof diffId !== 'string' || !isDigest(diffId) || typeof blob !== 'string' || !isDigest(blob)) return undefined;
  if (!Number.isSafeInteger(size) || !Number.isSafeInteger(made)) return undefined;
  return { diffId, blob, size: size as number, made: made as number };
}

/**
 * The step that a runner did under this key; `undefined` when none did.
 * @throws DIGEST_MISMATCH, INVALID_ARCHIVE, UNSAFE_PATH when what it sent is not the layer it claims; DENIED when it never sent it
 */
export async function settleClaim(
  build: string,
  stage: number,
  key: Digest,
  epoch: number | undefined,
  ports: SettlePorts,
  signal: AbortSignal,
): Promise<CachedStep | undefined> {
  const { table, blobs, layerRecords } = ports;
  const claim = claimOf((await table.get(jobKeys.claim(build, stage, key), { signal }))?.value);
  if (claim === undefined) return undefined;
  const { diffId, blob, size } = claim;
  if ((await table.get(jobKeys.sent(build, stage, blob), { signal })) === undefined) {
    throw new SlipwayError('DENIED', `the runner of stage ${stage} claims the layer ${blob}, which it did not send`);
  }
  const found = await blobs.open(blob, undefined, { signal });
  if (found === undefined) return undefined;
  if (found.size !== size) {
    await found.body.cancel();
    throw new SlipwayError('SIZE_MISMATCH', `the layer ${blob} has ${found.size} bytes, its runner said ${size}`);
  }
  const toc = await tocOfLayer(fromReadableStream(found.body), diffId, { signal });
  await layerRecords.save({ diffId, descriptor: { mediaType: mediaType.ociLayerGzip, digest: blob, size }, toc }, { signal });
  const latest = Math.floor(ports.clock() / 1000);
  return { diffId, made: epoch ?? Math.min(Math.max(claim.made, 0), latest) };
}
