// Temporary folders for heavy test data. In memory where there is room, because some disks charge dearly for many small files.
import { statfsSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export interface Scratch extends AsyncDisposable {
  readonly path: string;
}

const memory = '/dev/shm';

/** A folder for temporary ones that has room for so many bytes: in memory where there is any. SLIPWAY_TEST_TMP overrides it. */
export function roomFor(bytes: number): string {
  if (process.env.SLIPWAY_TEST_TMP) return process.env.SLIPWAY_TEST_TMP;
  try {
    const fs = statfsSync(memory);
    if (fs.bavail * fs.bsize > bytes) return memory;
  } catch {
    // No such file system here: the ordinary temporary folder serves as well, only slower.
  }
  return tmpdir();
}

/** A folder that goes away with `await using`. `bytes` is how much room is wanted at least (default 4 GiB); SLIPWAY_TEST_TMP overrides the place. */
export async function scratch(prefix = 'slw-', bytes = 4 * 1024 ** 3): Promise<Scratch> {
  const path = await mkdtemp(join(roomFor(bytes), prefix));
  return { path, [Symbol.asyncDispose]: () => rm(path, { recursive: true, force: true, maxRetries: 3 }) };
}
