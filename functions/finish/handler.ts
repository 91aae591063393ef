// What comes between and after the stages of a build: which can be run next, the tags at the end, or the reason why there is none.
import { failStep, finishStep, readyStages } from '../../shared/workflow/steps.ts';
import { stateHandler } from '../workflow.ts';

type Event =
  | { readonly do: 'ready'; readonly build: string }
  | { readonly do: 'finish'; readonly build: string }
  | { readonly do: 'fail'; readonly build: string; readonly error?: string; readonly cause?: string };

/** Ids and states only: what the state machine keeps for a year is not the place for anything else. */
export const handler = stateHandler('finish', async (event: Event, ports, call) => {
  const { build } = event;
  if (event.do === 'ready') return readyStages(build, ports);
  // Who hears that the build has ended asks at once what it cost.
  const ending = { ...ports, ending: call.report };
  const record = event.do === 'finish' ? await finishStep(build, ending) : await failStep(build, event, ending);
  return { build, state: record.state };
});
