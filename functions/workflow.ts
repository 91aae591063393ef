// What the functions that carry a build have in common: the account's two ports, and everything the workflow is built on.

import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { BuildRecords } from '../shared/build/build-records.ts';
import { downloads } from '../shared/build/downloads.ts';
import type { ScratchFolder } from '../shared/build/ports.ts';
import { storedContext } from '../shared/build/stored-context.ts';
import { storedLayers } from '../shared/build/stored-layers.ts';
import { TocTap } from '../shared/build/toc-tap.ts';
import { UsageRecords } from '../shared/build/usage-records.ts';
import { pullImage } from '../shared/client/pull.ts';
import { SlipwayError } from '../shared/errors.ts';
import { CompressPool } from '../shared/layer/compress-pool.ts';
import { LayerRecords } from '../shared/layer/record.ts';
import { parsePlatform } from '../shared/oci/platform.ts';
import { parseReference, withDefaultTag } from '../shared/oci/reference.ts';
import { TableCatalog } from '../shared/store/catalog-table.ts';
import type { WorkflowPorts } from '../shared/workflow/steps.ts';
import type { Environment } from './environment.ts';
import { type MeteredCall, Metering } from './metering.ts';
import { openRemotesOf } from './remotes.ts';
import { openArchives, openBlobs, openTable } from './stores.ts';
import { transitionsAfter, transitionsAtStart } from './transitions.ts';

const clock = Date.now;

/** A folder in /tmp, which a function's next call would find: gone when disposed. */
async function scratch(): Promise<ScratchFolder> {
  const path = await mkdtemp(join(tmpdir(), 'slipway-'));
  return { path, [Symbol.asyncDispose]: () => rm(path, { recursive: true, force: true }) };
}

/** Lives as long as the function's process. */
export async function openWorkflow(env: Environment): Promise<WorkflowPorts> {
  const table = openTable(env);
  const [blobs, archives] = await Promise.all([openBlobs(env, table), openArchives(env)]);
  const catalog = new TableCatalog({ table, blobs, clock });
  const layerRecords = new LayerRecords(table, blobs);
  const remotes = openRemotesOf(env);
  const host = parsePlatform(env.SLIPWAY_PLATFORM || 'linux/arm64');
  return {
    records: new BuildRecords({ table, blobs, clock }),
    blobs,
    table,
    catalog,
    layerRecords,
    layers: storedLayers({ blobs, records: layerRecords, pool: new CompressPool(), scratch }),
    scratch,
    download: downloads(remotes.http),
    async pull(name, platform, signal, store) {
      const reference = withDefaultTag(parseReference(name));
      const tap = new TocTap(layerRecords);
      const client = remotes.registry(reference.host, reference.path);
      await pullImage(store, client, {
        reference,
        platform: { wanted: platform, strict: true },
        tap: tap.tap,
        signal,
      });
      await tap.finish();
    },
    context(request, signal) {
      const { context } = request;
      if (context.kind !== 'stored' || context.project === undefined) {
        throw new SlipwayError('CONTEXT', 'this build names no context that the home keeps');
      }
      return storedContext({ blobs, table }, context.project, context.id, signal);
    },
    archives,
    ...(env.SLIPWAY_AUDIENCE ? { ownHost: env.SLIPWAY_AUDIENCE } : {}),
    host,
    clock,
  };
}

/**
 * A state of the state machine as a Lambda handler; `name` is that of its folder. An error keeps its code as its name, which is what Retry
 * and Catch of the machine match on; what it was about is kept in the build's record. What each call uses is kept with its build.
 */
export function stateHandler<Event extends { readonly build: string; readonly do?: string }, Answer extends object>(
  name: string,
  work: (event: Event, ports: WorkflowPorts, call: MeteredCall) => Promise<Answer>,
): (event: Event) => Promise<Answer> {
  let opened: Promise<WorkflowPorts> | undefined;
  const metering = new Metering({ name, env: process.env });
  return async (event) => {
    opened ??= openWorkflow(process.env);
    try {
      const ports = await opened;
      const usages = new UsageRecords(ports.table);
      return await metering.run(event.build, usages, {}, async (call) => {
        const state = event.do ?? name;
        call.meter.count('stateTransitions', transitionsAtStart(state));
        const answer = await work(event, ports, call);
        call.meter.count('stateTransitions', transitionsAfter(state, answer));
        return answer;
      });
    } catch (error) {
      if (error instanceof SlipwayError) error.name = error.code;
      throw error;
    }
  };
}
