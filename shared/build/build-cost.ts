// What a stored build used and what that costs, from the reports of its parts.
import { type Cost, costOf } from '../cost/cost.ts';
import { checkPrices, listPrices, type PriceTable } from '../cost/prices.ts';
import type { Usage } from '../cost/usage.ts';
import { SlipwayError } from '../errors.ts';
import type { BuildRecord } from './build-records.ts';
import type { UsageRecords } from './usage-records.ts';

/** The part that keeps the prices in force when a build began: what it cost does not change with the price list. */
const pricesPart = 'prices';

/** Keeps the prices that a build's cost is estimated with. The first ones count. */
export async function savePrices(
  usages: UsageRecords,
  id: string,
  prices: PriceTable,
  region: string | undefined,
): Promise<void> {
  await usages.save(id, pricesPart, { at: 0, usage: {}, prices, ...(region ? { region } : {}) });
}

/** Steps are listed as a build goes through them. */
const rankOf = (part: string): number => (part.startsWith('plan.') ? 0 : part.startsWith('finish.') ? 2 : 1);

/** `now`: milliseconds since 1970. Empty where nothing was counted: in an embedded home. */
export async function buildCost(
  usages: Pick<UsageRecords, 'parts'>,
  build: Pick<BuildRecord, 'id' | 'ended'>,
  now: number,
): Promise<{ readonly usage?: Usage; readonly cost?: Cost }> {
  const parts = await usages.parts(build.id);
  const { prices, region } = parts.get(pricesPart) ?? {};
  const counted = [...parts]
    .filter(([, { usage, runner }]) => runner !== undefined || Object.keys(usage).length > 0)
    .toSorted(([a], [b]) => rankOf(a) - rankOf(b))
    .map(([, part]) => part);
  if (counted.length === 0) return {};
  const refuse = (what: string): Error => new SlipwayError('STORE', `the prices kept with build ${build.id}: ${what}`);
  const table = prices === undefined ? listPrices : checkPrices(prices, refuse);
  return costOf(counted, table, build.ended ?? now, region);
}
