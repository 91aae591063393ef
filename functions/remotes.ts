// Other registries, as the account's functions reach them.
import { openRemotes, type Remotes } from '../shared/client/remotes.ts';
import { version } from '../shared/version.ts';
import type { Environment } from './environment.ts';

export const openRemotesOf = (env: Environment): Remotes =>
  openRemotes({
    // Nothing of the function's own credentials is in it.
    env: {
      PATH: env.PATH,
      HOME: '/tmp',
      DOCKER_CONFIG: env.SLIPWAY_DOCKER_CONFIG,
      SLIPWAY_INSECURE_REGISTRIES: env.SLIPWAY_INSECURE_REGISTRIES,
    },
    now: Date.now,
    version,
    // The runtime of the function, which hands out what others ask of it, is on this machine. An emulator's registries may be, too.
    http: { thisMachine: env.SLIPWAY_THIS_MACHINE === 'reachable' },
  });
