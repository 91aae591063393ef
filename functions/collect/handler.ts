// Takes away what the home does not need any more. Called every hour: goes on with the collection that the time of a call did not suffice
// for, and begins one when the last is old enough. `{"now":true}` begins one at once.
import type { Context } from 'aws-lambda';
import { collectionParts, lastCollection, runCollection } from '../../shared/collection/collect.ts';
import { oldestBuild } from '../../shared/collection/oldest-build.ts';
import { oldestTransfer } from '../../shared/collection/oldest-transfer.ts';
import { isCode } from '../../shared/errors.ts';
import { days } from '../environment.ts';
import { writeLine } from '../log.ts';
import { openBlobs, openTable } from '../stores.ts';

const { env } = process;
const clock = Date.now;
const table = openTable(env);
const opened = openBlobs(env, table).then((blobs) => collectionParts({ table, blobs, clock }));
/** Milliseconds that a page may take after the function was asked to end. */
const reserve = 60_000;

/** Since when builds and transfers under way may rely on what they have seen. */
async function oldestWork(): Promise<number | undefined> {
  const began = [await oldestBuild(table, clock()), await oldestTransfer(table, clock())].filter((at) => at !== undefined);
  return began.length === 0 ? undefined : Math.min(...began);
}

export async function handler(
  event: { readonly now?: boolean },
  context: Pick<Context, 'getRemainingTimeInMillis'>,
): Promise<object> {
  const parts = await opened;
  const last = await lastCollection(table);
  const due = clock() - days(env, 'SLIPWAY_COLLECT_EVERY_DAYS');
  if (last?.done && last.began > due && event.now !== true) return { state: 'not due', ...last };
  try {
    const collection = await runCollection(parts, {
      grace: days(env, 'SLIPWAY_COLLECT_AFTER_DAYS'),
      keepBuilds: days(env, 'SLIPWAY_KEEP_BUILDS_DAYS'),
      oldestWork,
      stop: () => context.getRemainingTimeInMillis() < reserve,
    });
    const answer = { state: collection.done ? 'done' : 'to be continued', ...collection };
    writeLine({ level: 'info', collection: answer });
    return answer;
  } catch (error) {
    // Somebody called it by hand.
    if (isCode(error, 'CONFLICT')) return { state: 'under way' };
    throw error;
  }
}
