// Whether this machine can run commands as a build does: by running one.
import { existsSync, mkdirSync, mkdtempSync, rmSync, statSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { SlipwayError } from '../errors.ts';
import { makeFolder } from '../store/make-folder.ts';
import type { Root, Sandbox } from './sandbox.ts';

/** What applying and reading layers takes besides Node (layer/node-maker.ts, layer/changes.ts). */
const tools = ['tar', 'getfattr', 'setfattr'];

/**
 * Runs `true` over an overlay of this machine's own root, written to below `folder`.
 * @throws SANDBOX_UNAVAILABLE, or what the sandbox throws
 */
export async function trySandbox(sandbox: Sandbox, folder: string, signal?: AbortSignal): Promise<void> {
  const path = (process.env.PATH ?? '').split(delimiter);
  const missing = tools.filter((tool) => !path.some((place) => place.startsWith('/') && existsSync(join(place, tool))));
  if (missing.length > 0) throw new SlipwayError('SANDBOX_UNAVAILABLE', `not installed: ${missing.join(', ')}`);
  makeFolder(folder, 0o700);
  const place = mkdtempSync(join(folder, 'try-'));
  try {
    const [upper, work] = [join(place, 'upper'), join(place, 'work')];
    for (const path of [upper, work]) mkdirSync(path);
    // Overlayfs refuses a layer that contains another; on one filesystem with the root, its folders would.
    const overlay = statSync('/').dev !== statSync(place).dev;
    const root: Root = overlay ? { kind: 'overlay', lowers: ['/'], upper, work } : { kind: 'tree', path: '/' };
    let said = '';
    const { exitCode, notStarted } = await sandbox.run(
      {
        root,
        args: ['true'],
        env: ['PATH=/usr/sbin:/usr/bin:/sbin:/bin'],
        cwd: '/',
        user: { uid: 0, gid: 0, groups: [] },
        network: 'host',
        stdio: {
          kind: 'pipe',
          onOutput: (_, chunk) => {
            said += Buffer.from(chunk).toString();
          },
        },
      },
      signal === undefined ? {} : { signal },
    );
    if (exitCode === 0) return;
    throw new SlipwayError('SANDBOX_UNAVAILABLE', `a command that does nothing ended with ${exitCode}: ${notStarted ?? said}`);
  } finally {
    rmSync(place, { recursive: true, force: true });
  }
}
