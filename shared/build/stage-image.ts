// The image that a stage has made so far: its config and its layers. A value; each step answers a new one.

import type { ChainId, Layer } from '../layer/layer.ts';
import { chainId } from '../oci/chain.ts';
import type { ImageConfig } from '../oci/config.ts';
import { withHistory } from './config-edit.ts';
import type { Step } from './plan.ts';

export interface StageImage {
  readonly config: ImageConfig;
  readonly layers: readonly Layer[];
  readonly chain: ChainId;
  /** Seconds since 1970 of the newest layer; what a step without a layer inherits, so that a build from the cache repeats its image. */
  readonly time: number | undefined;
}

const rfc3339 = (seconds: number | undefined): string | undefined =>
  seconds === undefined ? undefined : new Date(seconds * 1000).toISOString().replace('.000Z', 'Z');

export const createdOf = (image: StageImage): string | undefined => rfc3339(image.time);

/** The image after a step that edits the config only. */
export function withConfig(image: StageImage, config: ImageConfig, step: Step): StageImage {
  const created = rfc3339(image.time);
  return {
    ...image,
    config: withHistory(config, { createdBy: step.createdBy, ...(created === undefined ? {} : { created }), empty: true }),
  };
}

/** The image with one more layer; `time` in seconds since 1970. */
export function withLayer(image: StageImage, layer: Layer, step: Step, time: number): StageImage {
  const { rootfs } = image.config;
  const config: ImageConfig = { ...image.config, rootfs: { type: 'layers', diff_ids: [...rootfs.diff_ids, layer.diffId] } };
  return {
    config: withHistory(config, { createdBy: step.createdBy, created: rfc3339(time) as string, empty: false }),
    layers: [...image.layers, layer],
    chain: chainId(image.chain, layer.diffId),
    time,
  };
}
