// Machines that execute jobs in this process, with a scripted sandbox: each is the runner's own code over the home's real routes. A machine
// runs until it is stopped, also when its job is over, as a MicroVM does.
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import type { Sandbox } from '../../shared/sandbox/sandbox.ts';
import type { JobTicket } from '../../shared/workflow/job.ts';
import type { Machines } from '../../shared/workflow/launcher.ts';
import { type JobEnd, runJob } from '../../shared/workflow/run-job.ts';
import { tempFolder } from './temp.ts';

interface FleetMachine {
  readonly name: string;
  readonly ticket: JobTicket;
  readonly stop: AbortController;
  readonly ended: Promise<JobEnd>;
}

export interface Fleet extends Machines, AsyncDisposable {
  /** Names in the order in which they were started. */
  readonly started: string[];
  readonly stopped: string[];
  /** What runs now, by handle. */
  readonly running: ReadonlyMap<string, FleetMachine>;
  /** Awaited before a machine is started: a place to do something else meanwhile. */
  beforeStart: ((name: string) => Promise<void>) | undefined;
  /** Resolves when no job is at work any more. */
  quiet(): Promise<void>;
}

export interface FleetOptions {
  readonly sandbox: Sandbox;
  /** Milliseconds between heartbeats. */
  readonly beat?: number;
}

export async function openFleet({ sandbox, beat = 20 }: FleetOptions): Promise<Fleet> {
  const folder = await tempFolder();
  const running = new Map<string, FleetMachine>();
  const all: FleetMachine[] = [];
  const fleet: Fleet = {
    started: [],
    stopped: [],
    running,
    beforeStart: undefined,
    async start(_platform, ticket, name) {
      await fleet.beforeStart?.(name);
      const known = [...running].find(([, machine]) => machine.name === name);
      if (known !== undefined) return known[0];
      const handle = `machine-${all.length + 1}`;
      const root = join(folder.path, handle);
      mkdirSync(root);
      const stop = new AbortController();
      const ended = runJob(ticket, {
        root,
        sandbox: async () => sandbox,
        overlayXattrs: 'trusted',
        version: '0',
        clock: Date.now,
        signal: stop.signal,
        threads: 1,
        beat,
        patience: 1000,
        delays: [5, 10, 20, 40],
      });
      const machine = { name, ticket, stop, ended };
      all.push(machine);
      running.set(handle, machine);
      fleet.started.push(name);
      return handle;
    },
    find: async (_platform, _ticket, name) => [...running].find(([, machine]) => machine.name === name)?.[0],
    async stop(handle) {
      running.get(handle)?.stop.abort();
      if (running.delete(handle)) fleet.stopped.push(handle);
    },
    async quiet() {
      await Promise.all(all.map((machine) => machine.ended));
    },
    async [Symbol.asyncDispose]() {
      for (const { stop } of all) stop.abort();
      await fleet.quiet();
      await folder[Symbol.asyncDispose]();
    },
  };
  return fleet;
}
