// The embedded home: one folder, one process, the same parts and the same app as an account.
import { homedir } from 'node:os';
import { join } from 'node:path';
import { createApi } from '../shared/api/app.ts';
import type { ApiFetch } from '../shared/api/http.ts';
import type { ApiParts } from '../shared/api/parts.ts';

export interface Home extends AsyncDisposable {
  /** The data folder: an OCI layout with a SQLite table beside it (docs/architecture.md draws it). */
  readonly root: string;
  readonly parts: ApiParts;
  readonly fetch: ApiFetch;
}

export interface HomeOptions {
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Milliseconds since 1970. */
  readonly now: () => number;
}

/** SLIPWAY_HOME, else slipway/ in the user's data folder (XDG base directory specification). */
export function homeRoot(env: Readonly<Record<string, string | undefined>>): string {
  if (env.SLIPWAY_HOME) return env.SLIPWAY_HOME;
  return join(env.XDG_DATA_HOME || join(env.HOME || homedir(), '.local', 'share'), 'slipway');
}

export async function openHome(_options: HomeOptions): Promise<Home> {
  void createApi;
  throw new Error('the drivers are on their way to main');
}
