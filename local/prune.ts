// Frees what nothing in a home on this machine needs. People run it to get their disk back at once, so there is no time of grace: the marks
// (docs/decisions/0015) are made first, and what is marked goes if no other process was at work when that was done. Whoever comes later
// takes the marks off what he uses.
import { collectionParts, markUnused, runCollection } from '../shared/collection/collect.ts';
import { oldestBuild } from '../shared/collection/oldest-build.ts';
import { addCollected, type Collected } from '../shared/collection/parts.ts';
import { SlipwayError } from '../shared/errors.ts';
import type { Options } from '../shared/store/blobs.ts';
import { othersSince } from './activity.ts';
import type { Home } from './home.ts';

/** As in an account: 90 days. */
const keepBuilds = 90 * 24 * 3600_000;

export interface Pruned extends Collected {
  /** Others were at work: what they might rely on stayed. */
  readonly disturbed: boolean;
}

export async function pruneHome({ root, parts, activity }: Home, options: Options = {}): Promise<Pruned> {
  const { table, clock, tidy } = parts;
  const collecting = collectionParts(parts);
  // Twice: what is noted of a layer is unused once the layer is marked.
  await markUnused(collecting, options);
  await markUnused(collecting, options);
  let disturbed = false;
  const oldestWork = async (): Promise<number | undefined> => {
    const others = [await oldestBuild(table, clock(), options), othersSince(root, activity.name, clock())];
    const known = others.filter((time) => time !== undefined);
    disturbed ||= known.length > 0;
    return known.length === 0 ? undefined : Math.min(...known);
  };
  const began = clock();
  const run = () => runCollection(collecting, { ...options, grace: 0, keepBuilds, oldestWork });
  let done = await run();
  let sum = done.collected;
  // It went on with one that was interrupted: now for a whole one.
  if (done.began < began) {
    done = await run();
    sum = addCollected(sum, { ...done.collected, waiting: 0, waitingBytes: 0 });
  }
  if (!done.done) throw new SlipwayError('INTERNAL', 'the collection ended before its end');
  await tidy?.();
  return { ...sum, waiting: done.collected.waiting, waitingBytes: done.collected.waitingBytes, disturbed };
}
