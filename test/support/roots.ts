// Root filesystems for tests that run commands: a tiny one of busybox, and a real Debian. Made once per machine and shared by all test
// files and processes: never write into what these return, copy it or put an overlay over it.
import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  copyFileSync,
  existsSync,
  linkSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { errnoOf } from '../../shared/errors.ts';

/** Kept across runs, because mmdebstrap takes a quarter of a minute. */
const cache = process.env.SLIPWAY_TEST_BASES ?? '/var/tmp/slipway-test-bases';

/** Increase when what a root contains changes. */
const version = 1;

/** Why a root cannot be had here, or undefined. For `test.skipIf(...)`; with CI set, missing tools are failures instead. */
export function whyNoRoot(kind: 'busybox' | 'debian'): string | undefined {
  if (process.getuid?.() !== 0) return 'needs root';
  const tool = kind === 'busybox' ? '/bin/busybox' : '/usr/bin/mmdebstrap';
  if (existsSync(tool) || process.env.CI) return undefined;
  return `needs ${tool} (Debian: apt-get install ${kind === 'busybox' ? 'busybox-static' : 'mmdebstrap'})`;
}

/** A root of one static busybox with all its applets, /etc/passwd and /etc/group, and nothing mounted-over in it: no /proc, /dev, /sys. */
export const busyboxRoot = (): Promise<string> => once(`busybox-${version}`, fillBusybox);

/** `mmdebstrap --variant=minbase bookworm`: needs the Debian archive the first time. */
export const debianRoot = (): Promise<string> =>
  once(`debian-bookworm-${version}`, (path) => {
    execFileSync('mmdebstrap', ['--variant=minbase', '--quiet', 'bookworm', path], { stdio: ['ignore', 'ignore', 'inherit'] });
  });

function fillBusybox(path: string): void {
  for (const dir of ['bin', 'etc', 'root', 'usr/bin', 'usr/sbin', 'sbin', 'var']) mkdirSync(join(path, dir), { recursive: true });
  mkdirSync(join(path, 'tmp'));
  chmodSync(join(path, 'tmp'), 0o1777);
  const busybox = join(path, 'bin/busybox');
  copyFileSync('/bin/busybox', busybox);
  const applets = execFileSync(busybox, ['--list'], { encoding: 'utf8' });
  for (const applet of applets.split('\n')) {
    if (applet === '' || applet === 'busybox') continue;
    // Hard links as in the official image: a layer with many of them is a test of its own.
    if (applet === 'sh') symlinkSync('busybox', join(path, 'bin/sh'));
    else linkSync(busybox, join(path, 'bin', applet));
  }
  writeFileSync(
    join(path, 'etc/passwd'),
    'root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/nonexistent:/bin/false\napp:x:1000:1000::/home/app:/bin/sh\n',
  );
  writeFileSync(join(path, 'etc/group'), 'root:x:0:\nstaff:x:50:app\nnogroup:x:65534:\napp:x:1000:\n');
}

/** Made beside its place under a lock and moved there whole, so that a killed or parallel run never shows a half root. */
async function once(name: string, fill: (path: string) => void): Promise<string> {
  const place = join(cache, name);
  if (existsSync(place)) return place;
  mkdirSync(cache, { recursive: true });
  const lock = `${place}.lock`;
  while (!existsSync(place)) {
    try {
      writeFileSync(lock, String(process.pid), { flag: 'wx' });
    } catch (error) {
      if (errnoOf(error) !== 'EEXIST') throw error;
      if (!existsSync(`/proc/${ownerOf(lock)}`)) rmSync(lock, { force: true });
      await sleep(100);
      continue;
    }
    try {
      if (existsSync(place)) break;
      const making = mkdtempSync(`${place}.making-`);
      try {
        chmodSync(making, 0o755);
        fill(making);
        // Somebody who took the lock for one of a dead process may have been quicker; his is as good.
        if (!existsSync(place)) renameSync(making, place);
      } finally {
        rmSync(making, { recursive: true, force: true });
      }
    } finally {
      rmSync(lock, { force: true });
    }
  }
  return place;
}

/** The process that holds the lock; itself when that cannot be told (just made, just removed), so that nobody takes it away. */
function ownerOf(lock: string): string {
  try {
    return readFileSync(lock, 'utf8') || 'self';
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return 'self';
    throw error;
  }
}
