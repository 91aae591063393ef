// RunRoots on this machine: unpacked layers stacked by overlayfs, a scratch directory a step.
import { chmodSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { changesOf, clampTree } from '../layer/changes.ts';
import type { LayerRecords } from '../layer/record.ts';
import type { UnpackedLayers } from '../layer/unpacked.ts';
import type { Sandbox } from '../sandbox/sandbox.ts';
import type { RunRoots, ScratchFolder } from './ports.ts';

export interface OverlayRootsOptions {
  readonly sandbox: Sandbox;
  readonly records: LayerRecords;
  readonly unpacked: UnpackedLayers;
  /** On the filesystem of the unpacked layers: a step's directory becomes one of them by a rename. */
  readonly scratch: () => Promise<ScratchFolder>;
}

export function overlayRoots({ sandbox, records, unpacked, scratch }: OverlayRootsOptions): RunRoots {
  return {
    sandbox,
    async lowers(layers, signal) {
      const lowers: string[] = [];
      for (const [index, layer] of layers.entries()) {
        // The tables of contents of what is below are asked for only by layers with directories that have no entry.
        const below = () => records.tree(layers.slice(0, index), signal === undefined ? {} : { signal });
        lowers.push(await unpacked.directory(layer, below, signal === undefined ? {} : { signal }));
      }
      // Overlayfs refuses a directory that is there twice (equal layers are one directory). The upper one hides all of the lower.
      return lowers.filter((path, index) => lowers.lastIndexOf(path) === index);
    },
    async scratch() {
      const folder = await scratch();
      const made = { upper: join(folder.path, 'upper'), work: join(folder.path, 'work'), files: join(folder.path, 'files') };
      for (const path of Object.values(made)) {
        mkdirSync(path);
        // `upper` is the root of what runs, and of other users' commands too, whatever the umask here.
        chmodSync(path, 0o755);
      }
      return { ...made, [Symbol.asyncDispose]: async () => folder[Symbol.asyncDispose]() };
    },
    async changes(upper, { epoch, signal }) {
      if (epoch !== undefined) clampTree(upper, epoch, signal === undefined ? {} : { signal });
      return changesOf(upper, signal === undefined ? {} : { signal });
    },
    adopt: async (diffId, upper) => void unpacked.adopt(diffId, upper),
  };
}
