// Plans a build, and fetches the bases it is missing.
import { savePrices } from '../../shared/build/build-cost.ts';
import { UsageRecords } from '../../shared/build/usage-records.ts';
import { pricesInForce } from '../../shared/cost/prices.ts';
import { planBuildStep } from '../../shared/workflow/steps.ts';
import { stateHandler } from '../workflow.ts';

export const handler = stateHandler('plan', async ({ build }: { readonly build: string }, ports) => {
  await savePrices(new UsageRecords(ports.table), build, pricesInForce(process.env.SLIPWAY_PRICES), process.env.AWS_REGION);
  await planBuildStep(build, ports);
  return { build };
});
