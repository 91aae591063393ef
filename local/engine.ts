// What this machine brings to building and running: stored layers and the threads that make them, unpacked trees, the sandbox. Each part
// is loaded when it is first needed: a build that hits all the way needs none of them.
import { randomBytes } from 'node:crypto';
import { existsSync, mkdirSync } from 'node:fs';
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
import type { UnpackedUses } from './unpacked-uses.ts';

export interface Engine extends AsyncDisposable {
  readonly records: LayerRecords;
  readonly layers: LayerStore;
  readonly roots: () => Promise<RunRoots>;
  /** A folder in the home's `run/`, on the filesystem of the unpacked layers. */
  readonly scratch: () => Promise<ScratchFolder>;
  /** Removes the unpacked trees of layers that are not stored any more, unless a build or a container is using them. */
  removeUnstored(): Promise<void>;
}

export interface EngineOptions {
  readonly root: string;
  readonly blobs: DiskBlobs;
  readonly table: Table;
  readonly env: Readonly<Record<string, string | undefined>>;
}

export function openEngine({ root, blobs, table, env }: EngineOptions): Engine {
  const records = new LayerRecords(table, blobs);
  const unpackedRoot = join(root, 'unpacked');
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
      void sweepDead(unpackedRoot, ['new-', 'old-', 'using-']);
    }
    const path = join(root, 'run', newId());
    mkdirSync(path, { recursive: true, mode: 0o700 });
    return { path, [Symbol.asyncDispose]: () => rm(path, { recursive: true, force: true }) };
  };
  let opening: Promise<UnpackedLayers> | undefined;
  let uses: UnpackedUses | undefined;
  const openUnpacked = async (): Promise<UnpackedLayers> => {
    const [{ UnpackedLayers: Unpacked }, { UnpackedUses: Uses }, { inUserNamespace }] = await Promise.all([
      import('../shared/layer/unpacked.ts'),
      import('./unpacked-uses.ts'),
      import('../shared/sandbox/machine.ts'),
    ]);
    uses = new Uses(unpackedRoot, randomBytes(8).toString('hex'));
    return new Unpacked({
      root: unpackedRoot,
      blobs,
      owners: process.getuid?.() === 0,
      overlayXattrs: inUserNamespace() ? 'user' : 'trusted',
      newId,
      uses,
    });
  };
  const unpacked = (): Promise<UnpackedLayers> => {
    opening ??= openUnpacked();
    return opening;
  };
  /** Who is not root, or not yet in the namespace where they are, could not read all of it. */
  const readable = process.getuid?.() === 0;
  const layers = storedLayers({
    blobs,
    records,
    pool,
    scratch,
    unpacked: async ({ diffId }) => (readable && existsSync(unpackedRoot) ? (await unpacked()).path(diffId) : undefined),
  });
  let roots: Promise<RunRoots> | undefined;
  const openRoots = async (): Promise<RunRoots> => {
    const [{ overlayRoots }, { chooseSandbox }] = await Promise.all([
      import('../shared/build/overlay-roots.ts'),
      import('../shared/sandbox/choose.ts'),
    ]);
    return overlayRoots({ sandbox: await chooseSandbox(env), records, unpacked: await unpacked(), scratch });
  };
  return {
    records,
    layers,
    scratch,
    roots() {
      roots ??= openRoots();
      return roots;
    },
    async removeUnstored() {
      if (!readable || !existsSync(unpackedRoot)) return;
      await (await unpacked()).removeUnstored(async (diffId) => (await records.find(diffId)) !== undefined);
    },
    async [Symbol.asyncDispose]() {
      uses?.[Symbol.dispose]();
      await (await opened)?.[Symbol.asyncDispose]();
    },
  };
}

/** SLIPWAY_THREADS, else one a core. The result does not depend on it. */
function threads(env: EngineOptions['env']): number | undefined {
  const asked = Number(env.SLIPWAY_THREADS);
  return Number.isInteger(asked) && asked > 0 ? asked : undefined;
}
