// Temporary folders for tests: under os.tmpdir(), gone when the scope ends.
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export interface TempFolder extends AsyncDisposable {
  readonly path: string;
}

export async function tempFolder(name = 'slipway-test-'): Promise<TempFolder> {
  const path = await mkdtemp(join(tmpdir(), name));
  return { path, [Symbol.asyncDispose]: () => rm(path, { recursive: true, force: true, maxRetries: 3 }) };
}
