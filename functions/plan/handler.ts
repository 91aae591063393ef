// Plans a build, and fetches the bases it is missing.
import { planBuildStep } from '../../shared/workflow/steps.ts';
import { stateHandler } from '../workflow.ts';

export const handler = stateHandler(async ({ build }: { readonly build: string }, ports) => {
  await planBuildStep(build, ports);
  return { build };
});
