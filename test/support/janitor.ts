// Clears up after a test or benchmark that was killed: what it mounted, the control groups its daemons made, its folder. Whoever owns
// these clears up in order; this is for SIGKILL, a closed terminal, a crash of the runner.
import { type ChildProcess, spawn } from 'node:child_process';

/**
 * Waits for the end of its input, which is that of the process which started it, however that came. Then, in rounds, because daemons that
 * got their signal need a moment: unmounts what is mounted below $1, deepest first, removes the control groups named $2, and the folder.
 */
const script = `
while read -r line; do [ "$line" = done ] && exit 0; done
for round in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
  awk -v top="$1" '$2 == top || index($2, top "/") == 1 { print $2 }' /proc/self/mounts | sort -r | while read -r at; do umount -l "$at" 2>/dev/null; done
  left=
  if [ -n "$2" ]; then
    find /sys/fs/cgroup -maxdepth 2 -type d -name "$2" | while read -r group; do find "$group" -depth -type d -exec rmdir {} \\; 2>/dev/null; done
    left=$(find /sys/fs/cgroup -maxdepth 2 -type d -name "$2")
  fi
  grep -q " $1[/ ]" /proc/self/mounts || rm -rf "$1" 2>/dev/null
  [ -e "$1" ] || [ -n "$left" ] || exit 0
  sleep 1
done
exit 1
`;

export interface Janitor {
  /** Everything is cleared up: there is nothing left to do. */
  release(): void;
}

/** `folder` must be the caller's alone, without spaces; `group` the name of control groups in any hierarchy. */
export function janitor(folder: string, group = ''): Janitor {
  if (/\s/.test(folder)) throw new Error(`janitor: ${folder} has spaces`);
  // In a session of its own: what ends the runner's whole group does not end it.
  const child: ChildProcess = spawn('sh', ['-c', script, 'janitor', folder, group], {
    stdio: ['pipe', 'ignore', 'ignore'],
    detached: true,
    cwd: '/',
  });
  child.unref();
  // It is only for when things go wrong: that it cannot be told (it was killed too) is nobody's failure.
  child.stdin?.on('error', () => undefined);
  child.once('error', (error) => {
    throw error;
  });
  return { release: () => void child.stdin?.end('done\n') };
}
