// Where a benchmark lives: an ext4 with a journal in an image file, or memory. Never the machine's own root file system, which may charge a
// millisecond for each new file (see README.md, "The filesystem trap").
import { mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { must } from '../test/support/command.ts';
import { unmountAt } from '../test/support/peers.ts';

export type FilesystemKind = 'ext4' | 'tmpfs';

export interface Filesystem extends AsyncDisposable {
  readonly path: string;
  readonly description: string;
}

/** `folder` is on the machine's disk; it holds the image file and the mount point. */
export async function makeFilesystem(kind: FilesystemKind, folder: string, gigabytes: number): Promise<Filesystem> {
  const path = join(folder, 'fs');
  const image = join(folder, 'fs.img');
  await mkdir(path, { recursive: true });
  if (kind === 'tmpfs') await must(['mount', '-t', 'tmpfs', '-o', `size=${gigabytes}g,mode=0755`, 'slipway-bench', path]);
  else {
    await must(['truncate', '-s', `${gigabytes}G`, image]);
    // Everything written now, so that the first run does not pay for the kernel's lazy initialisation.
    await must(['mkfs.ext4', '-q', '-J', 'size=256', '-E', 'lazy_itable_init=0,lazy_journal_init=0', image]);
    await must(['mount', '-o', 'loop', image, path]);
  }
  return {
    path,
    description: kind === 'tmpfs' ? 'tmpfs' : 'ext4 with a journal (data=ordered) in an image file on a loop device',
    [Symbol.asyncDispose]: async () => {
      await unmountAt(path);
      await rm(image, { force: true });
      await rm(path, { recursive: true, force: true });
    },
  };
}
