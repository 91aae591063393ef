// Starts the runner of a job, and stops it. The state machine waits for the job by its task token; the runner never sees that token.
import type { JobTicket } from '../../shared/workflow/job.ts';
import { JobService } from '../../shared/workflow/job-service.ts';
import { required } from '../environment.ts';
import { jobKey } from '../job-key.ts';
import { openRunners } from '../runners.ts';
import { taskSignals } from '../task-signals.ts';
import { stateHandler } from '../workflow.ts';

type Event =
  | { readonly do: 'start'; readonly build: string; readonly stage: number; readonly platform: string; readonly token: string }
  | { readonly do: 'stop'; readonly build: string; readonly stage: number };

let key: Promise<Uint8Array> | undefined;

export const handler = stateHandler(async (event: Event, ports) => {
  key ??= jobKey(process.env);
  const jobs = new JobService({ ...ports, key: await key, signals: taskSignals() });
  const runners = openRunners(process.env);
  const { build, stage } = event;
  if (event.do === 'stop') {
    const handle = await jobs.handle(build, stage);
    if (handle !== undefined) await runners.stop(handle);
    return {};
  }
  const job = await jobs.open(build, stage, event.token);
  const ticket: JobTicket = { url: `${required(process.env, 'SLIPWAY_URL')}/api/v1/jobs/${build}/${stage}`, token: job.token };
  const handle = await runners.start(event.platform, ticket, `${build}-${stage}-${job.attempt}`);
  await jobs.setHandle(job, handle);
  return { handle };
});
