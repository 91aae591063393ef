// Calls through the gateway that are done for one build, counted for that build.
import { type BuildRecord, hasEnded } from '../shared/build/build-records.ts';
import { UsageRecords } from '../shared/build/usage-records.ts';
import { buildKeys } from '../shared/store/keys.ts';
import type { Table } from '../shared/store/table.ts';
import type { Around } from './api-gateway.ts';
import type { Metering } from './metering.ts';

const counts = { apiRequests: 1 };

/** What runners ask. The last word of a job is kept at once, the others with those that follow. */
export const countedJob =
  (metering: Metering, table: Table): Around =>
  (_, path, answer) => {
    const [, build, name] = /^\/api\/v1\/jobs\/([^/]+)\/[^/]+\/(.+)$/.exec(path) ?? [];
    const always = name === 'complete' || name === 'fail';
    return metering.run(undefined, new UsageRecords(table), { counts, always }, async (call) => {
      const result = await answer();
      // Its token was good: a stranger's calls are not this build's.
      if (result.statusCode < 400) call.build = build;
      return result;
    });
  };

/** Milliseconds after its end in which what is asked of a build is still its own: the last events, and what it cost. */
const aftermath = 60_000;

/** Starting, following, looking at and cancelling a build. Who reads an old log pays for no build. */
export const countedBuild =
  (metering: Metering, table: Table, now: () => number = Date.now): Around =>
  (method, path, answer) => {
    const [, rest] = /^\/api\/v1\/builds(?:\/([^/]+))?(?:\/(?:events|cancel))?$/.exec(path) ?? [];
    const starting = path === '/api/v1/builds' && method === 'POST';
    if (rest === undefined && !starting) return answer();
    return metering.run(undefined, new UsageRecords(table), { counts, always: starting }, async (call) => {
      const result = await answer();
      if (result.statusCode >= 400) return result;
      const id = starting ? (JSON.parse(result.body) as { readonly id: string }).id : rest;
      const build = (await table.get(buildKeys.record(id ?? '')))?.value as unknown as BuildRecord | undefined;
      const over = build !== undefined && hasEnded(build.state) && now() - (build.ended ?? 0) > aftermath;
      if (build !== undefined && !over) call.build = build.id;
      return result;
    });
  };
