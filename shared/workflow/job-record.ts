// How a job stands: one record a stage that needs a runner. Everyone who changes it looks first, and starts again when somebody else was
// quicker. What was started for it is written down before it is started, so that nothing runs that no record tells of.

import { SlipwayError } from '../errors.ts';
import { jobKeys } from '../store/keys.ts';
import { retrying } from '../store/removal.ts';
import type { Json, Table } from '../store/table.ts';
import type { LogPlace } from './source-log.ts';

/** A machine that may be running for a job. */
export interface Machine {
  readonly attempt: number;
  readonly platform: string;
  /** Until when its token is good, in seconds since 1970: part of what it was started with. */
  readonly expires: number;
  /** What it is called where it runs. Absent: it is being started, or whoever did that died before he could say. */
  readonly handle?: string;
}

export interface JobRecord {
  /** Counts from 1; each start of a runner is another attempt, and only the last one counts. */
  readonly attempt: number;
  /** `closed`: nobody waits for this attempt any more. */
  readonly state: 'open' | 'done' | 'failed' | 'closed';
  /** Who waits for it: in an account, a task token of Step Functions. */
  readonly waiter: string;
  /** When this attempt was opened, in milliseconds since 1970. */
  readonly opened: number;
  /** Attempts whose machine was started. */
  readonly tries: number;
  /** Those that were not stopped yet. */
  readonly machines: readonly Machine[];
  /** Where the runner's log began. */
  readonly log?: LogPlace;
}

const asJson = (value: object): Json => JSON.parse(JSON.stringify(value)) as Json;

const readOnly = (): never => {
  throw new SlipwayError('INTERNAL', 'jobs are only read here');
};

export class JobRecords {
  readonly #table: Table;
  readonly #expires: () => number;

  /** `expires`: seconds since 1970 until which records are kept; only who changes them needs it. */
  constructor(table: Table, expires: () => number = readOnly) {
    this.#table = table;
    this.#expires = expires;
  }

  async get(build: string, stage: number): Promise<JobRecord | undefined> {
    return (await this.#table.get(jobKeys.job(build, stage)))?.value as unknown as JobRecord | undefined;
  }

  /** Stages of the build that have or had a runner. */
  async stages(build: string): Promise<readonly number[]> {
    const stages: number[] = [];
    for (let after: string | undefined; ; ) {
      const page = { limit: 200, ...(after === undefined ? {} : { after }) };
      const records = await this.#table.query(jobKeys.jobs(build), page);
      for (const { sort } of records) stages.push(Number(sort));
      if (records.length < 200) return stages;
      after = records.at(-1)!.sort;
    }
  }

  /** Applies `change` unless it answers `undefined`. Answers the record as it is then. */
  edit(
    build: string,
    stage: number,
    change: (job: JobRecord | undefined) => JobRecord | undefined,
  ): Promise<JobRecord | undefined> {
    const key = jobKeys.job(build, stage);
    return retrying(async () => {
      const record = await this.#table.get(key);
      const known = record?.value as unknown as JobRecord | undefined;
      const next = change(known);
      if (next === undefined) return known;
      const condition = record === undefined ? ({ ifAbsent: true } as const) : { ifVersion: record.version };
      await this.#table.put(key, asJson(next), { condition, expires: this.#expires() });
      return next;
    });
  }
}
