// What this machine brings to building and running: stored layers and the threads that make them, unpacked trees, the sandbox.
import { mkdtemp, rm } from 'node:fs/promises';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import type { LayerStore, RunRoots, ScratchFolder } from '../shared/build/ports.ts';
import { CompressPool } from '../shared/layer/compress-pool.ts';
import type { Blobs } from '../shared/store/blobs.ts';
import type { Table } from '../shared/store/table.ts';

export interface Engine extends AsyncDisposable {
  readonly layers: LayerStore;
  readonly roots: () => Promise<RunRoots>;
  readonly scratch: () => Promise<ScratchFolder>;
}
