// Vitest global setup: the functions, bundled once for all stacks that the files of a run deploy. Each would take some seconds for them.
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { bundleProgram, programFolders } from '../../infra/program-bundle.ts';
import { tempFolder } from './temp.ts';

export default async function setup(): Promise<() => Promise<void>> {
  const folder = await tempFolder('slipway-programs-');
  for (const program of programFolders()) bundleProgram(program, join(folder.path, program));
  process.env.SLIPWAY_PROGRAMS = folder.path;
  return () => rm(folder.path, { recursive: true, force: true });
}
