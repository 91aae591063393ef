// An account's home on this machine's folder: the same ports and steps as in an account, driven by hand. What Step Functions does is the
// loop in `drive`.
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { BuildRecords } from '../../shared/build/build-records.ts';
import type { BuildEvent } from '../../shared/build/events.ts';
import type { ScratchFolder } from '../../shared/build/ports.ts';
import type { BuildRequest } from '../../shared/build/request.ts';
import { storedLayers } from '../../shared/build/stored-layers.ts';
import { ContextStore } from '../../shared/context/context-store.ts';
import { Context } from '../../shared/context/list.ts';
import { encodePack } from '../../shared/context/pack.ts';
import { SlipwayError } from '../../shared/errors.ts';
import { CompressPool } from '../../shared/layer/compress-pool.ts';
import type { Entry } from '../../shared/layer/entry.ts';
import { LayerRecords } from '../../shared/layer/record.ts';
import { type Digest, sha256 } from '../../shared/oci/digest.ts';
import { parsePlatform } from '../../shared/oci/platform.ts';
import type { Blobs } from '../../shared/store/blobs.ts';
import { TableCatalog } from '../../shared/store/catalog-table.ts';
import type { Table } from '../../shared/store/table.ts';
import type { WorkflowPorts } from '../../shared/workflow/steps.ts';
import { failStep, finishStep, planBuildStep, readyStages, runStageStep } from '../../shared/workflow/steps.ts';
import { fakeBucket } from './fake-bucket.ts';
import { breakableStores, type Faults, type Process } from './faulty.ts';
import { storeHome } from './store-home.ts';
import { tempFolder } from './temp.ts';

export const project = 'default';

export interface AccountOptions {
  /** What every port is wrapped in: for counting, and for faults. */
  readonly wrap?: (parts: { readonly blobs: Blobs; readonly table: Table }) => { readonly blobs: Blobs; readonly table: Table };
  /** What breaks, in every process that has ports of this home. */
  readonly faults?: Faults;
  readonly pull?: WorkflowPorts['pull'];
  readonly clock?: () => number;
}

export async function accountHome(options: AccountOptions = {}) {
  const clock = options.clock ?? Date.now;
  const home = await storeHome(clock);
  const bucket = await fakeBucket(home.blobs);
  const stored = { blobs: bucket.blobs, table: home.table };
  const whole = options.wrap?.(stored) ?? stored;
  const scratchRoot = await tempFolder();
  const pool = new CompressPool(1);
  let count = 0;
  const scratch = async (): Promise<ScratchFolder> => {
    count += 1;
    const path = join(scratchRoot.path, String(count));
    mkdirSync(path);
    return { path, [Symbol.asyncDispose]: async () => undefined };
  };
  /** What a process that has just started would have: nothing is remembered but what is stored. */
  const fresh = (): WorkflowPorts & { readonly contexts: ContextStore; readonly process: Process } => {
    const process: Process = { dead: false };
    const { blobs, table } = options.faults === undefined ? whole : breakableStores(whole, options.faults, process);
    const layerRecords = new LayerRecords(table, blobs);
    const contexts = new ContextStore({ blobs, table, project });
    return {
      records: new BuildRecords({ table, blobs, clock }),
      blobs,
      table,
      catalog: new TableCatalog({ table, blobs, clock }),
      layerRecords,
      layers: storedLayers({ blobs, records: layerRecords, pool, scratch }),
      scratch,
      download: async (url) => Promise.reject(new SlipwayError('UPSTREAM', `${url.host}: no web in this test`)),
      pull: options.pull ?? (async (name) => Promise.reject(new SlipwayError('NOT_FOUND', `${name}: not found`))),
      contexts,
      process,
      context: async ({ context }) => {
        if (context.kind !== 'stored') throw new SlipwayError('CONTEXT', 'no context');
        const list = await contexts.loadList(context.id as Digest);
        if (list === undefined) throw new SlipwayError('NOT_FOUND', `there is no context ${context.id}`);
        const bodies = await contexts.bodies(list.entries);
        return { list, body: (entry) => bodies.body(entry), scope: project };
      },
      host: parsePlatform('linux/amd64'),
      clock,
      cancelCheck: 20,
    };
  };
  return {
    root: home.root,
    disk: home,
    bucket,
    blobs: whole.blobs,
    table: whole.table,
    fresh,
    async [Symbol.asyncDispose]() {
      await pool[Symbol.asyncDispose]();
      await bucket[Symbol.asyncDispose]();
      await scratchRoot[Symbol.asyncDispose]();
      await home[Symbol.asyncDispose]();
    },
  };
}

export type AccountHome = Awaited<ReturnType<typeof accountHome>>;

/** Sends files as a context, as a client does. Answers its id. */
export async function sendContext(
  { contexts }: { readonly contexts: ContextStore },
  files: Readonly<Record<string, string>>,
): Promise<Digest> {
  const entries: Entry[] = [];
  const bodies = new Map<Digest, Buffer>();
  const folders = new Set<string>();
  const common = { uid: 0, gid: 0, mtime: 0 };
  for (const [path, text] of Object.entries(files)) {
    const parts = path.split('/');
    for (let n = 1; n < parts.length; n++) folders.add(parts.slice(0, n).join('/'));
    const body = Buffer.from(text);
    bodies.set(sha256(body), body);
    entries.push({ ...common, path, type: 'file', mode: 0o644, size: body.length, digest: sha256(body) });
  }
  for (const path of folders) entries.push({ ...common, path, type: 'dir', mode: 0o755, size: 0 });
  entries.sort((a, b) => Buffer.compare(Buffer.from(a.path), Buffer.from(b.path)));
  const missing = await contexts.missing([...bodies.keys()]);
  if (missing.length > 0) {
    const pack = encodePack(missing.map((digest) => ({ digest, bytes: bodies.get(digest)! })));
    await contexts.receivePack(ReadableStream.from([pack.bytes]));
  }
  return contexts.saveList(new Context(entries));
}

export const requestOf = (dockerfile: string, extra: Partial<BuildRequest> = {}): BuildRequest => ({
  context: { kind: 'none' },
  dockerfile: { name: 'Dockerfile', text: dockerfile },
  tags: ['app:latest'],
  buildArgs: { SOURCE_DATE_EPOCH: '1700000000' },
  labels: {},
  noCache: false,
  pull: false,
  ...extra,
});

export async function startBuild(home: AccountHome, request: BuildRequest): Promise<string> {
  const { build } = await home.fresh().records.create(request);
  return build.id;
}

export type Runner = (build: string, stage: number, platform: string) => Promise<void>;

const noRunner: Runner = () => Promise.reject(new Error('a RUN missed'));

/** What the state machine does, each state as a process of its own. */
export async function drive(home: AccountHome, id: string, runner: Runner = noRunner, rounds = 20) {
  try {
    await planBuildStep(id, home.fresh());
    for (let round = 0; ; round++) {
      if (round === rounds) throw new Error('the build does not come to an end');
      const { stages, done } = await readyStages(id, home.fresh());
      if (done) break;
      await Promise.all(
        stages.map(async (stage) => {
          for (let tries = 0; tries < 5; tries++) {
            const outcome = await runStageStep(id, stage, home.fresh());
            if (outcome.status === 'done') return;
            await runner(id, stage, outcome.platform);
          }
          throw new Error('the runner does not get it done');
        }),
      );
    }
    return await finishStep(id, home.fresh());
  } catch (error) {
    return failStep(id, { cause: error instanceof Error ? error.message : String(error) }, home.fresh());
  }
}

export async function eventsOf(home: AccountHome, id: string): Promise<readonly BuildEvent[]> {
  return (await home.fresh().records.events(id, { after: 0, limit: 10_000 })).map(({ event }) => event);
}
