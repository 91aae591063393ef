// A home for the time of one command: where an archive is unpacked and verified before anything of it is sent elsewhere.
import { rmSync } from 'node:fs';
import { mkdtemp } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { type Home, openHome } from '../local/home.ts';
import { isCode, SlipwayError } from '../shared/errors.ts';
import { Api } from './api-client.ts';
import type { Io } from './io.ts';

export interface TemporaryHome extends AsyncDisposable {
  readonly home: Home;
  readonly api: Api;
  /** Does what fills the folder; when that is full, says so. */
  filling<T>(work: () => Promise<T>): Promise<T>;
}

/** In a folder of its own below TMPDIR, which goes with it: also when the process is told to exit. */
export async function temporaryHome({ env, now, signal }: Pick<Io, 'env' | 'now' | 'signal'>): Promise<TemporaryHome> {
  const folder = await mkdtemp(join(env.TMPDIR || tmpdir(), 'slipway-archive-'));
  const remove = (): void => rmSync(folder, { recursive: true, force: true, maxRetries: 3 });
  // The second Ctrl-C does not wait for a clean end.
  process.once('exit', remove);
  const end = (): void => {
    process.off('exit', remove);
    remove();
  };
  try {
    const home = await openHome({ env: { ...env, SLIPWAY_HOME: join(folder, 'home') }, now });
    return {
      home,
      api: new Api(home.fetch, 'http://slipway', signal),
      async filling(work) {
        try {
          return await work();
        } catch (cause) {
          if (!isCode(cause, 'DISK_FULL')) throw cause;
          throw new SlipwayError('DISK_FULL', `no space left in ${dirname(folder)}`, {
            hint: 'What is in the archive is kept there until it is sent, which takes as much room as the images do: choose another folder with TMPDIR.',
            cause,
          });
        }
      },
      async [Symbol.asyncDispose]() {
        try {
          await home[Symbol.asyncDispose]();
        } finally {
          end();
        }
      },
    };
  } catch (error) {
    end();
    throw error;
  }
}
