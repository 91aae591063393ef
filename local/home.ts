// The embedded home: one folder, one process, the same parts and the same app as an account. What a command does not use is not loaded.
import { accessSync, constants } from 'node:fs';
import { join, resolve } from 'node:path';
import { createApi } from '../shared/api/app.ts';
import type { ApiFetch } from '../shared/api/http.ts';
import type { ApiParts } from '../shared/api/parts.ts';
import type { BuildService } from '../shared/build/service.ts';
import type { Remotes } from '../shared/client/remotes.ts';
import { errnoOf, SlipwayError } from '../shared/errors.ts';
import { TableCatalog } from '../shared/store/catalog-table.ts';
import { DiskBlobs } from '../shared/store/disk-blobs.ts';
import { makeFolder } from '../shared/store/make-folder.ts';
import { SqliteTable } from '../shared/store/sqlite-table.ts';
import { userHome } from '../shared/user-home.ts';
import { commandsAtWork, enterHome } from './activity.ts';
import type { Engine } from './engine.ts';
import type { ReceivedContexts } from './received-contexts.ts';

export interface Home extends AsyncDisposable {
  /** The data folder: an OCI layout with a SQLite table beside it (docs/architecture.md draws it). */
  readonly root: string;
  readonly parts: ApiParts;
  readonly fetch: ApiFetch;
  /** What this process is called among those that work in the home: see activity.ts. */
  readonly activity: { readonly name: string };
  /** Tells those that clean up that this process serves: it works for short, time and again, until it is stopped. */
  serving(): void;
  /** Layers, unpacked trees and the sandbox: for building and running here. */
  readonly engine: () => Promise<Engine>;
}

export interface HomeOptions {
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Milliseconds since 1970. */
  readonly now: () => number;
  /** The API of this home is served to others: builds are stored, and nothing may name a directory of this machine. */
  readonly served?: boolean;
}

/** An absolute path: SLIPWAY_HOME, else slipway/ in the user's data folder (XDG base directory specification). */
export function homeRoot(env: Readonly<Record<string, string | undefined>>): string {
  if (env.SLIPWAY_HOME) return resolve(env.SLIPWAY_HOME);
  return resolve(env.XDG_DATA_HOME || join(userHome(env), '.local', 'share'), 'slipway');
}

export async function openHome({ env, now, served = false }: HomeOptions): Promise<Home> {
  const root = homeRoot(env);
  makeRoot(root);
  // Before anything is looked at.
  let activity = enterHome(root, served ? 'server' : 'command');
  const { blobs, table } = await openStores(root, now).catch((error: unknown) => {
    activity[Symbol.dispose]();
    throw error;
  });
  const clock = now;
  const catalog = new TableCatalog({ table, blobs, clock });
  let remotes: Promise<Remotes> | undefined;
  let engine: Promise<Engine> | undefined;
  const openEngine = (): Promise<Engine> => {
    engine ??= import('./engine.ts').then(({ openEngine: open }) => open({ root, blobs, table, env }));
    return engine;
  };
  let contexts: Promise<ReceivedContexts> | undefined;
  const openContexts = (): Promise<ReceivedContexts> => {
    contexts ??= Promise.all([import('./received-contexts.ts'), openEngine()]).then(
      ([{ ReceivedContexts: Contexts }, { scratch }]) => new Contexts(scratch),
    );
    return contexts;
  };
  let builds: Promise<BuildService & Partial<AsyncDisposable>> | undefined;
  const parts: ApiParts = {
    blobs,
    table,
    catalog,
    clock,
    remotes() {
      remotes ??= Promise.all([import('../shared/client/remotes.ts'), import('../shared/version.ts')]).then(
        ([client, { version }]) => client.openRemotes({ env, now, version }),
      );
      return remotes;
    },
    builds() {
      builds ??= import('./builds.ts').then(({ openBuilds }) =>
        openBuilds({ root, parts, engine: openEngine, contexts: openContexts, clock, stored: served }),
      );
      return builds;
    },
    contexts: openContexts,
    tidy: async () => (await openEngine()).removeUnstored(),
    async atWork() {
      const { oldestBuild } = await import('../shared/collection/oldest-build.ts');
      return commandsAtWork(root, activity.name) || (await oldestBuild(table, clock())) !== undefined;
    },
    // A command is at work all its life. To those that clean up, a server's request is like one.
    ...(served ? { working: () => enterHome(root, 'command') } : {}),
  };
  return {
    root,
    parts,
    get activity() {
      return activity;
    },
    serving() {
      const before = activity;
      activity = enterHome(root, 'server');
      before[Symbol.dispose]();
    },
    fetch: createApi(parts, { sameMachine: !served }),
    engine: openEngine,
    async [Symbol.asyncDispose]() {
      if (builds !== undefined) await (await builds)[Symbol.asyncDispose]?.();
      if (contexts !== undefined) await (await contexts)[Symbol.asyncDispose]();
      // In reverse: the engine writes to the table.
      if (engine !== undefined) await (await engine)[Symbol.asyncDispose]();
      if (remotes !== undefined) (await remotes)[Symbol.dispose]();
      table.close();
      activity[Symbol.dispose]();
    },
  };
}

async function openStores(root: string, now: () => number): Promise<{ blobs: DiskBlobs; table: SqliteTable }> {
  try {
    const blobs = await DiskBlobs.open(root);
    return { blobs, table: SqliteTable.open(join(root, 'slipway.db'), { now: () => now() / 1000 }) };
  } catch (error) {
    // SQLite does not tell. Reading takes writing too: its log, and what is kept of each use.
    const why = whyNotWritable(root) ?? whyNotWritable(join(root, 'slipway.db'));
    if (why === undefined) throw error;
    throw new SlipwayError('STORE', `the home ${root} cannot be written to: ${why}`, {
      cause: error,
      hint: 'choose another folder with SLIPWAY_HOME, or use it as the user it belongs to',
    });
  }
}

function whyNotWritable(path: string): string | undefined {
  try {
    accessSync(path, constants.W_OK);
    return undefined;
  } catch (error) {
    const errno = errnoOf(error) ?? String(error);
    return errno === 'ENOENT' ? undefined : (reasons[errno] ?? errno);
  }
}

const reasons: Readonly<Record<string, string>> = {
  EEXIST: 'something else is there',
  ENOTDIR: 'a part of its path is a file',
  EACCES: 'permission denied',
  EPERM: 'permission denied',
  EROFS: 'the file system is read-only',
};

function makeRoot(root: string): void {
  try {
    makeFolder(root, 0o700);
  } catch (cause) {
    const errno = errnoOf(cause) ?? String(cause);
    throw new SlipwayError('STORE', `the home ${root} cannot be made: ${reasons[errno] ?? errno}`, {
      cause,
      hint: 'choose another folder with SLIPWAY_HOME',
    });
  }
}
