// The build service of the embedded home: the workflow, with what this machine has for ports.
import type { ApiParts } from '../shared/api/parts.ts';
import { BuildCache } from '../shared/build/cache.ts';
import type { StepLog } from '../shared/build/events.ts';
import type { ContextSource } from '../shared/build/ports.ts';
import type { BuildRequest } from '../shared/build/request.ts';
import type { BuildService } from '../shared/build/service.ts';
import { Ignore, parseIgnore } from '../shared/context/ignore.ts';
import { contextRoot, statCacheFile, walkDirectory } from '../shared/context/walk.ts';
import { SlipwayError } from '../shared/errors.ts';
import type { LayerRecords } from '../shared/layer/record.ts';
import type { Platform } from '../shared/oci/platform.ts';
import { parseReference, withDefaultTag } from '../shared/oci/reference.ts';
import type { Engine } from './engine.ts';
import { ProcessBuilds } from './process-builds.ts';
import type { ReceivedContexts } from './received-contexts.ts';
import type { WorkflowPorts } from './workflow.ts';

export interface BuildsOptions {
  readonly root: string;
  readonly parts: ApiParts;
  readonly engine: () => Promise<Pick<Engine, 'layers' | 'records' | 'roots' | 'scratch'>>;
  readonly contexts: () => Promise<ReceivedContexts>;
  /** Milliseconds since 1970. */
  readonly clock: () => number;
  /** Builds are stored, and outlive who asked for them: for a home that is served. */
  readonly stored?: boolean;
}

export async function openBuilds({ root, parts, engine, contexts, clock, stored = false }: BuildsOptions): Promise<BuildService> {
  const { blobs, catalog, table } = parts;
  const { layers, records, roots, scratch } = await engine();
  const ports: WorkflowPorts = {
    blobs,
    catalog,
    clock,
    cache: new BuildCache(table),
    layers,
    roots,
    scratch,
    download: async (url, signal) => {
      const [{ downloads }, { http }] = await Promise.all([import('../shared/build/downloads.ts'), parts.remotes()]);
      return downloads(http)(url, signal);
    },
    pull: (name, platform, signal) => pull(parts, records, name, platform, signal),
    openContext: async (request, needed, log, signal) => {
      const { context } = request;
      if (context.kind === 'stored') {
        if (context.project === undefined) return (await contexts()).get(context.id);
        const { storedContext } = await import('../shared/build/stored-context.ts');
        return storedContext(parts, context.project, context.id, signal);
      }
      if (context.kind === 'none') throw new SlipwayError('CONTEXT', 'this build has no context');
      if (context.kind === 'archive') throw new SlipwayError('UNSUPPORTED', 'this home has no bucket to read archives from');
      return walkContext(root, context.path, request.ignore, needed, log, signal, clock);
    },
  };
  if (!stored) return new ProcessBuilds(ports);
  const [{ StoredBuilds }, { BuildRecords }] = await Promise.all([
    import('./stored-builds.ts'),
    import('../shared/build/build-records.ts'),
  ]);
  return new StoredBuilds(ports, new BuildRecords({ table, blobs, clock }));
}

/** A base comes in with the tables of contents of its layers: what is copied onto it reads none of them. */
async function pull(parts: ApiParts, records: LayerRecords, name: string, wanted: Platform, signal: AbortSignal): Promise<void> {
  const [{ pullImage }, { TocTap }] = await Promise.all([
    import('../shared/client/pull.ts'),
    import('../shared/build/toc-tap.ts'),
  ]);
  const tap = new TocTap(records);
  const reference = withDefaultTag(parseReference(name));
  const remotes = await parts.remotes();
  await pullImage(parts, remotes.registry(reference.host, reference.path), {
    reference,
    platform: { wanted, strict: true },
    tap: tap.tap,
    signal,
  });
  await tap.finish();
}

async function walkContext(
  root: string,
  path: string,
  ignore: BuildRequest['ignore'],
  needed: readonly string[],
  log: StepLog,
  signal: AbortSignal,
  now: () => number,
): Promise<ContextSource> {
  const report = log.start('[internal] load build context');
  try {
    const walked = await walkDirectory(path, {
      ...(ignore === undefined ? {} : { ignore: new Ignore(ignore.name, parseIgnore(ignore.text)) }),
      needed,
      cache: statCacheFile(root, contextRoot(path)),
      now,
      signal,
    });
    report.note(`${walked.files} files, ${walked.bytes} bytes, ${walked.hashed} read`);
    report.done();
    return { list: walked.context, body: (entry) => walked.bodies.body(entry), scope: walked.root };
  } catch (error) {
    report.failed(error);
    throw error;
  }
}
