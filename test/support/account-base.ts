// What tests of builds in an account begin with: a context that was sent, an image `base` made of it, and builds that wait for a runner.
import { expect } from 'vitest';
import type { KeyStruct } from '../../shared/build/key.ts';
import type { Digest } from '../../shared/oci/digest.ts';
import type { JobDocument, JobTicket } from '../../shared/workflow/job.ts';
import { planBuildStep, runStageStep } from '../../shared/workflow/steps.ts';
import { type AccountHome, drive, project, requestOf, sendContext, startBuild } from './account-home.ts';
import type { JobHost } from './job-host.ts';

const files = {
  'etc/passwd': 'root:x:0:0:root:/root:/bin/sh\napp:x:7:8::/:/bin/sh\n',
  'etc/group': 'root:x:0:\napp:x:8:\n',
  'app/main.js': 'go()',
};

/** Sends a context, with `extra` files, and makes the image `base` of its `etc`. Answers the context, for a request. */
export async function withBase(home: AccountHome, extra: Readonly<Record<string, string>> = {}) {
  const id = await sendContext(home.fresh(), { ...files, ...extra });
  const context = { kind: 'stored' as const, id, project };
  const text = 'FROM scratch\nCOPY etc /etc\nWORKDIR /srv\nENV LANG=C\n';
  const made = await drive(home, await startBuild(home, requestOf(text, { context, tags: ['base'] })));
  expect(made.failure).toBeUndefined();
  return context;
}

export interface WaitingJob {
  readonly build: string;
  readonly ticket: JobTicket;
  readonly job: JobDocument;
}

/** A build that waits for its runner at `RUN command`, and the job of it. */
export async function waitingJob(home: AccountHome, host: JobHost, command: string, secret = 'x'): Promise<WaitingJob> {
  const context = await withBase(home, { 'app/own': secret });
  const build = await startBuild(home, requestOf(`FROM base\nCOPY app /app\nRUN ${command}\n`, { context }));
  await planBuildStep(build, home.fresh());
  expect(await runStageStep(build, 0, home.fresh())).toMatchObject({ status: 'runner' });
  const { ticket } = await host.open(build, 0);
  const { body } = await host.ask(ticket, 'claim');
  return { build, ticket, job: body as unknown as JobDocument };
}

/** The parts of the key of its RUN, on top of the chain `parent`. */
export function structOf({ job }: WaitingJob, parent: string): KeyStruct {
  const run = job.stage.steps.find((step) => step.operation.kind === 'run')!.operation;
  if (run.kind !== 'run') throw new Error('no RUN');
  const { kind, args, env, user, cwd, network } = run;
  return {
    version: 1,
    parent: parent as Digest,
    platform: 'linux/amd64',
    epoch: 1_700_000_000,
    operation: { kind, args, env, user, cwd, network },
  };
}
