// What a stored build used and what that costs, from the reports of its parts.
import { type Cost, costOf } from '../cost/cost.ts';
import { checkPrices, listPrices, type PriceTable } from '../cost/prices.ts';
import type { Usage } from '../cost/usage.ts';
import { SlipwayError } from '../errors.ts';
import type { BuildRecord, BuildRecords } from './build-records.ts';

/** The part that keeps the prices in force when a build began: what it cost does not change with the price list. */
const pricesPart = 'prices';

/** Keeps the prices that a build's cost is estimated with. The first ones count. */
export async function savePrices(
  records: BuildRecords,
  id: string,
  prices: PriceTable,
  region: string | undefined,
): Promise<void> {
  await records.saveUsage(id, pricesPart, { at: 0, usage: {}, prices, ...(region ? { region } : {}) });
}

/** `now`: milliseconds since 1970. Empty where nothing was counted: in an embedded home. */
export async function buildCost(
  records: Pick<BuildRecords, 'usage'>,
  build: Pick<BuildRecord, 'id' | 'ended'>,
  now: number,
): Promise<{ readonly usage?: Usage; readonly cost?: Cost }> {
  const parts = await records.usage(build.id);
  const { prices, region } = parts.get(pricesPart) ?? {};
  const counted = [...parts.values()].filter(({ usage, runner }) => runner !== undefined || Object.keys(usage).length > 0);
  if (counted.length === 0) return {};
  const table =
    prices === undefined
      ? listPrices
      : checkPrices(prices, (what) => new SlipwayError('STORE', `prices of build ${build.id}: ${what}`));
  return costOf(counted, table, build.ended ?? now, region);
}
