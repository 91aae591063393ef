// Says why a command died of its machine: a kernel that ran out of memory kills without a word, and programs report a full disk each in
// its own way, or not at all.
import { readFileSync, statfsSync } from 'node:fs';
import { totalmem } from 'node:os';
import type { Sandbox } from './sandbox.ts';

/** Bytes below which a disk counts as full: what is written next fails. */
const nothing = 16 * 1024 * 1024;

const more = 'Give runners more: `runners.microvmMemory` (the disk grows with it) or `runners.computeType` of the construct.';

/** Kills for lack of memory since this machine started; 0 where the kernel does not count. */
function kills(): number {
  return Number(/^oom_kill (\d+)$/m.exec(readFileSync('/proc/vmstat', 'utf8'))?.[1] ?? 0);
}

const size = (bytes: number): string => (bytes >= 1e9 ? `${(bytes / 1e9).toFixed(1)} GB` : `${Math.round(bytes / 1e6)} MB`);

/** What the disk that `folder` is on holds, in words, when it is full. */
export function fullDisk(folder: string): string | undefined {
  const { bavail, blocks, bsize, files, ffree } = statfsSync(folder);
  if (bavail * bsize < nothing) return size(blocks * bsize);
  return files > 0 && ffree === 0 ? `${files} files` : undefined;
}

/** The sandbox, whose results carry a hint where a command failed on a machine that had run out of something. `folder`: what it writes to. */
export function watchExhaustion(sandbox: Sandbox, folder: string): Sandbox {
  return {
    name: sandbox.name,
    async run(spec, options) {
      const before = kills();
      const result = await sandbox.run(spec, options);
      if (result.exitCode === 0) return result;
      const killed = kills() - before;
      const disk = fullDisk(folder);
      if (killed > 0) {
        const what = killed === 1 ? 'a process' : `${killed} processes`;
        return {
          ...result,
          hint: `The runner ran out of memory (${size(Math.min(totalmem(), process.constrainedMemory() || Number.POSITIVE_INFINITY))}), and the kernel killed ${what}. ${more}`,
        };
      }
      if (disk !== undefined) return { ...result, hint: `The runner's disk is full (${disk}). ${more}` };
      return result;
    },
  };
}

/** What to do about a runner that was too small. */
export const moreRoom = more;
