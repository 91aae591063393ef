// Ends a build that has cost more than it may. What it has cost is an estimate, known some seconds late: a budget is a brake, not a wall.
import { buildCost } from '../build/build-cost.ts';
import { type BuildRecord, type BuildRecords, hasEnded } from '../build/build-records.ts';
import { UsageRecords } from '../build/usage-records.ts';
import { dollars } from '../cost/dollars.ts';
import type { Table } from '../store/table.ts';

export interface BudgetPorts {
  readonly records: BuildRecords;
  readonly table: Table;
  /** Milliseconds since 1970. */
  readonly clock: () => number;
}

/** Whether the build is over its budget. If so, it has ended now, with the code BUDGET. */
export async function isOverBudget(build: BuildRecord, { records, table, clock }: BudgetPorts): Promise<boolean> {
  const { id, budget } = build;
  if (budget === undefined || hasEnded(build.state)) return false;
  const { cost } = await buildCost(new UsageRecords(table), build, clock());
  if (cost === undefined || cost.nanoDollars <= budget) return false;
  await records.fail(id, {
    code: 'BUDGET',
    message: `the build has cost ${dollars(cost.nanoDollars)} by estimate, and may cost ${dollars(budget)}`,
    hint: 'What it finished is in the cache, and the next build goes on from there: give it a larger --budget, or none.',
    details: { nanoDollars: cost.nanoDollars, budget },
  });
  return true;
}

/** Whether work on a build has to stop: somebody asked for that, it has ended, or it has used up what it may cost. */
export async function mustStop(id: string, ports: BudgetPorts): Promise<boolean> {
  const build = await ports.records.get(id);
  if (build === undefined || build.cancelRequested !== undefined || hasEnded(build.state)) return true;
  return isOverBudget(build, ports);
}
