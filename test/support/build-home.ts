// Builds in this process: the embedded home's own workflow, context walk, table, blobs, layers and unpacked trees, on disk, with a
// sandbox that is scripted.
import { randomBytes } from 'node:crypto';
import { mkdirSync, readdirSync, rmSync } from 'node:fs';
import { mkdir, rm, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { openBuilds } from '../../local/builds.ts';
import type { Engine } from '../../local/engine.ts';
import type { ApiParts } from '../../shared/api/parts.ts';
import type { BuildEvent } from '../../shared/build/events.ts';
import { overlayRoots } from '../../shared/build/overlay-roots.ts';
import type { BuildRequest } from '../../shared/build/request.ts';
import { storedLayers } from '../../shared/build/stored-layers.ts';
import { type ErrorDocument, SlipwayError } from '../../shared/errors.ts';
import { CompressPool } from '../../shared/layer/compress-pool.ts';
import { LayerRecords } from '../../shared/layer/record.ts';
import { UnpackedLayers } from '../../shared/layer/unpacked.ts';
import { type ScriptedSandbox, scriptedSandbox } from './scripted-sandbox.ts';
import { storeHome } from './store-home.ts';

export interface Built {
  readonly events: readonly BuildEvent[];
  readonly digest?: string;
  readonly error?: ErrorDocument;
  /** Steps of stages that were done rather than found in the cache, as written in the Dockerfile. */
  readonly made: readonly string[];
  readonly cached: readonly string[];
  readonly failed: readonly string[];
  readonly cancelled: readonly string[];
  /** What steps printed. */
  readonly output: string;
}

export type Ask = Partial<Omit<BuildRequest, 'dockerfile' | 'context' | 'ignore'>> & { readonly ignore?: string };

export async function buildHome() {
  let now = Date.parse('2026-03-01T00:00:00Z');
  const clock = () => now;
  const home = await storeHome(clock);
  const { root, blobs, table, catalog } = home;
  const pool = new CompressPool(1);
  const records = new LayerRecords(table, blobs);
  const sandbox: ScriptedSandbox = scriptedSandbox();
  const newId = () => randomBytes(6).toString('hex');
  const scratch = async () => {
    const path = join(root, 'run', newId());
    mkdirSync(path, { recursive: true });
    return { path, [Symbol.asyncDispose]: () => rm(path, { recursive: true, force: true }) };
  };
  const unpacked = new UnpackedLayers({
    root: join(root, 'unpacked'),
    blobs,
    owners: process.getuid?.() === 0,
    overlayXattrs: process.getuid?.() === 0 ? 'trusted' : 'user',
    newId,
  });
  const layers = storedLayers({ blobs, records, pool, scratch });
  let gate: () => Promise<void> = async () => undefined;
  const engine: Omit<Engine, 'removeUnstored'> = {
    records,
    scratch,
    layers: {
      ...layers,
      async write(...given) {
        const { layer, stored } = await layers.write(...given);
        const passed = Promise.all([stored, gate()]).then(() => undefined);
        passed.catch(() => undefined);
        return { layer, stored: passed };
      },
    },
    roots: async () => overlayRoots({ sandbox, records, unpacked, scratch }),
    [Symbol.asyncDispose]: () => pool[Symbol.asyncDispose](),
  };
  const absent = async (): Promise<never> => {
    throw new SlipwayError('UPSTREAM', 'no registry in this test');
  };
  const parts: ApiParts = { blobs, table, catalog, clock, remotes: absent, builds: absent, contexts: absent };
  const builds = await openBuilds({ root, parts, engine: async () => engine, contexts: absent, clock });
  const context = join(root, 'the-context');
  await mkdir(context);

  const follow = async (id: string): Promise<Built> => summary(await Array.fromAsync(builds.events(id), ({ event }) => event));
  return {
    root,
    blobs,
    catalog,
    table,
    builds,
    sandbox,
    context,
    advance(ms: number) {
      now += ms;
    },
    async file(path: string, text: string, mode = 0o644) {
      await mkdir(dirname(join(context, path)), { recursive: true });
      await writeFile(join(context, path), text, { mode });
    },
    start: (dockerfile: string, { ignore, ...ask }: Ask = {}) =>
      builds.start({
        context: { kind: 'directory', path: context },
        dockerfile: { name: 'Dockerfile', text: dockerfile },
        ...(ignore === undefined ? {} : { ignore: { name: '.dockerignore', text: ignore } }),
        tags: [],
        buildArgs: {},
        labels: {},
        noCache: false,
        pull: false,
        ...ask,
      }),
    follow,
    async build(dockerfile: string, ask: Ask = {}): Promise<Built> {
      return follow(await this.start(dockerfile, ask));
    },
    /** A layer counts as stored when this has resolved, too. */
    whileStoring(wait: () => Promise<void>) {
      gate = wait;
    },
    /** Folders of steps under way. */
    leftovers: () => readNames(join(root, 'run')),
    dropUnpacked: () => rmSync(join(root, 'unpacked'), { recursive: true, force: true }),
    async [Symbol.asyncDispose]() {
      await engine[Symbol.asyncDispose]();
      await home[Symbol.asyncDispose]();
    },
  };
}

export type BuildHome = Awaited<ReturnType<typeof buildHome>>;

function readNames(folder: string): readonly string[] {
  return readdirSync(dirname(folder)).includes('run') ? readdirSync(folder) : [];
}

function summary(events: readonly BuildEvent[]): Built {
  const names = new Map(events.flatMap((event) => (event.type === 'started' ? [[event.id, event.name] as const] : [])));
  const steps = (want: (event: BuildEvent) => boolean) =>
    events.flatMap((event) => {
      const name = 'id' in event && want(event) ? names.get(event.id) : undefined;
      const display = /^\[(?!internal\])[^\]]*\] (.*)$/s.exec(name ?? '')?.[1];
      return display === undefined || display.startsWith('FROM ') ? [] : [display];
    });
  const last = events.at(-1);
  return {
    events,
    ...(last?.type === 'result' ? { digest: last.digest } : {}),
    ...(last?.type === 'error' ? { error: last.failure } : {}),
    made: steps((event) => event.type === 'done' && event.cached !== true),
    cached: steps((event) => event.type === 'done' && event.cached === true),
    failed: steps((event) => event.type === 'failed'),
    cancelled: steps((event) => event.type === 'cancelled'),
    output: events.flatMap((event) => (event.type === 'log' ? [event.text] : [])).join(''),
  };
}
