// Executes one stage of a build, up to a RUN that needs a runner.
import { runStageStep } from '../../shared/workflow/steps.ts';
import { stateHandler } from '../workflow.ts';

export const handler = stateHandler('stage', ({ build, stage }: { readonly build: string; readonly stage: number }, ports) =>
  runStageStep(build, stage, ports),
);
