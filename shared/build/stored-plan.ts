// A prepared build as a document, so that it can be made in one process and carried out in others.
import { parseTarget } from '../oci/reference.ts';
import { startConfig } from './config-edit.ts';
import type { PreparedBuild } from './prepare.ts';
import type { StageImage } from './stage-image.ts';

/** JSON. */
export interface PlanDocument {
  readonly version: 1;
  readonly plan: PreparedBuild['plan'];
  readonly starts: readonly (readonly [number, StageImage])[];
  readonly images: readonly (readonly [string, StageImage])[];
  readonly contextPaths: readonly string[];
  readonly tags: readonly string[];
}

/** `tags`: those of the request, which the prepared build has parsed. */
export const planDocument = (build: PreparedBuild, tags: readonly string[]): PlanDocument => ({
  version: 1,
  plan: build.plan,
  starts: [...build.starts],
  images: [...build.images],
  contextPaths: build.contextPaths,
  tags,
});

// JSON leaves `undefined` out.
const withTime = <K>([key, image]: readonly [K, StageImage]): [K, StageImage] => [key, { ...image, time: image.time }];

export function preparedBuild(document: PlanDocument): PreparedBuild {
  const { plan } = document;
  return {
    plan,
    starts: new Map(document.starts.map(withTime)),
    images: new Map(document.images.map(withTime)),
    startFrom: (image) => ({ ...image, config: startConfig(image.config, plan.platform) }),
    contextPaths: document.contextPaths,
    tags: document.tags.map(parseTarget),
  };
}
