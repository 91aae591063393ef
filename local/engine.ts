// What this machine brings to building and running: stored layers and the threads that make them, unpacked trees, the sandbox. Each part
// is loaded when it is first needed: a build that hits all the way needs none of them.
import { randomBytes } from 'node:crypto';
import { mkdirSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { LayerStore, RunRoots, ScratchFolder } from '../shared/build/ports.ts';
import { storedLayers } from '../shared/build/stored-layers.ts';
import type { CompressPool } from '../shared/layer/compress-pool.ts';
import { LayerRecords } from '../shared/layer/record.ts';
import type { UnpackedLayers } from '../shared/layer/unpacked.ts';
import type { DiskBlobs } from '../shared/store/disk-blobs.ts';
import type { Table } from '../shared/store/table.ts';
import { ownedName, sweepDead } from './leftovers.ts';

export interface Engine extends AsyncDisposable {
  readonly records: LayerRecords;
  readonly layers: LayerStore;
  readonly roots: () => Promise<RunRoots>;
  /** A folder in the home's `run/`, on the filesystem of the unpacked layers. */
  readonly scratch: () => Promise<ScratchFolder>;
}

export interface EngineOptions {
  readonly root: string;
  readonly blobs: DiskBlobs;
  readonly table: Table;
  readonly env: Readonly<Record<string, string | undefined>>;
}

export function openEngine({ root, blobs, table, env }: EngineOptions): Engine {
  const records = new LayerRecords(table, blobs);
  let opened: Promise<CompressPool> | undefined;
  const pool = (): Promise<CompressPool> => {
    opened ??= import('../shared/layer/compress-pool.ts').then(({ CompressPool: Pool }) => new Pool(threads(env)));
    return opened;
  };
  const newId = (): string => ownedName(randomBytes(8).toString('hex'));
  let swept = false;
  const scratch = async (): Promise<ScratchFolder> => {
    if (!swept) {
      swept = true;
      void sweepDead(join(root, 'run'));
      void sweepDead(join(root, 'unpacked'), ['new-', 'old-']);
    }
    const path = join(root, 'run', newId());
    mkdirSync(path, { recursive: true, mode: 0o700 });
    return { path, [Symbol.asyncDispose]: () => rm(path, { recursive: true, force: true }) };
  };
  let unpacked: UnpackedLayers | undefined;
  const layers = storedLayers({ blobs, records, pool, scratch, unpacked: (layer) => unpacked?.path(layer.diffId) });
  let roots: Promise<RunRoots> | undefined;
  const openRoots = async (): Promise<RunRoots> => {
    const [{ overlayRoots }, { UnpackedLayers: Unpacked }, { chooseSandbox }, { inUserNamespace }] = await Promise.all([
      import('../shared/build/overlay-roots.ts'),
      import('../shared/layer/unpacked.ts'),
      import('../shared/sandbox/choose.ts'),
      import('../shared/sandbox/machine.ts'),
    ]);
    unpacked = new Unpacked({
      root: join(root, 'unpacked'),
      blobs,
      owners: process.getuid?.() === 0,
      overlayXattrs: inUserNamespace() ? 'user' : 'trusted',
      newId,
    });
    return overlayRoots({ sandbox: await chooseSandbox(env), records, unpacked, scratch });
  };
  return {
    records,
    layers,
    scratch,
    roots() {
      roots ??= openRoots();
      return roots;
    },
    async [Symbol.asyncDispose]() {
      await (await opened)?.[Symbol.asyncDispose]();
    },
  };
}

/** SLIPWAY_THREADS, else one a core. The result does not depend on it. */
function threads(env: EngineOptions['env']): number | undefined {
  const asked = Number(env.SLIPWAY_THREADS);
  return Number.isInteger(asked) && asked > 0 ? asked : undefined;
}
