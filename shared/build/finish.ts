// The end of a build: config and manifest stored, then the tags moved, last and in one transaction.
import { commitImages } from '../image/commit.ts';
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

export async function finishBuild(
  build: Pick<PreparedBuild, 'tags'>,
  image: StageImage,
  ports: { readonly blobs: Blobs; readonly catalog: Catalog; readonly log: StepLog; readonly signal: AbortSignal },
): Promise<Finished> {
  const report = ports.log.start('exporting to image');
  try {
    const created = createdOf(image);
    const config = { ...image.config, ...(created === undefined ? {} : { created }) };
    const names = build.tags.map(({ repository, tag }) => ({ repository, tag }));
    const { digest } = await commitImages(ports, [{ config, layers: image.layers.map((layer) => layer.descriptor) }], {
      names,
      by: 'build',
      signal: ports.signal,
    });
    report.note(`writing image ${digest} done`);
    const tags = build.tags.map(familiar);
    for (const tag of tags) report.note(`naming to ${tag} done`);
    report.done();
    return { digest, tags };
  } catch (error) {
    report.failed(error);
    throw error;
  }
}
