// Starts the runner of a job, and stops it. The state machine waits for the job by its task token; the runner never sees that token.
import { Launcher } from '../../shared/workflow/launcher.ts';
import { endBuild } from '../../shared/workflow/steps.ts';
import { required } from '../environment.ts';
import { jobKey } from '../job-key.ts';
import { meteredMachines } from '../runner-use.ts';
import { openMachines } from '../runners.ts';
import { stateHandler } from '../workflow.ts';

type Event =
  | { readonly do: 'start'; readonly build: string; readonly stage: number; readonly platform: string; readonly token: string }
  /** Of one stage, or of the whole build. */
  | { readonly do: 'stop'; readonly build: string; readonly stage?: number }
  /** The execution has ended, however: told by EventBridge. */
  | { readonly do: 'ended'; readonly build: string; readonly status: string };

let key: Promise<Uint8Array> | undefined;

export const handler = stateHandler('launch', async (event: Event, ports) => {
  key ??= jobKey(process.env);
  const machines = meteredMachines(openMachines(process.env), { ...ports, build: event.build, env: process.env });
  const launcher = new Launcher({ ...ports, machines, key: await key, url: required(process.env, 'SLIPWAY_URL') });
  const { build } = event;
  switch (event.do) {
    case 'start': {
      const { attempt, handle } = await launcher.start(build, event.stage, event.platform, event.token);
      return { attempt, handle };
    }
    case 'stop':
      await (event.stage === undefined ? launcher.stopAll(build) : launcher.stop(build, event.stage));
      return {};
    case 'ended':
      await launcher.stopAll(build);
      // One that ended by its own way has ended its build before.
      if (event.status !== 'SUCCEEDED')
        await endBuild(build, { error: event.status, cause: `the execution was ${event.status}` }, ports);
      return {};
  }
});
