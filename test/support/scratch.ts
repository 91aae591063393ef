// Temporary folders for heavy test data. In memory where there is room, because some disks charge dearly for many small files.
import { access, mkdtemp, rm, statfs } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export interface Scratch extends AsyncDisposable {
  readonly path: string;
}

const memory = '/dev/shm';

async function parent(bytes: number): Promise<string> {
  if (process.env.SLIPWAY_TEST_TMP) return process.env.SLIPWAY_TEST_TMP;
  try {
    await access(memory);
    const fs = await statfs(memory);
    if (fs.bavail * fs.bsize > bytes) return memory;
  } catch {
    // No such file system here: the ordinary temporary folder serves as well, only slower.
  }
  return tmpdir();
}

/** A folder that goes away with `await using`. `bytes` is how much room is wanted at least (default 4 GiB); SLIPWAY_TEST_TMP overrides the place. */
export async function scratch(prefix = 'slw-', bytes = 4 * 1024 ** 3): Promise<Scratch> {
  const path = await mkdtemp(join(await parent(bytes), prefix));
  return { path, [Symbol.asyncDispose]: () => rm(path, { recursive: true, force: true, maxRetries: 3 }) };
}
