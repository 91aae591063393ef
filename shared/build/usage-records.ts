// What the parts of a stored build report that they used (N01). Each part goes on counting and reports again; of two reports the later one
// counts, so reports may be delivered twice, late, or not at all, and nothing is counted twice.
import type { UsagePart } from '../cost/usage.ts';
import { isCode } from '../errors.ts';
import { buildKeys } from '../store/keys.ts';
import { retrying } from '../store/removal.ts';
import type { Condition, Json, Table } from '../store/table.ts';

export class UsageRecords {
  readonly #table: Table;
  readonly #expires: (() => number) | undefined;

  /** `expires`: seconds since 1970 until when a report is kept; for ever without it. */
  constructor(table: Table, expires?: () => number) {
    this.#table = table;
    this.#expires = expires;
  }

  /**
   * Keeps what a part used so far, in place of what it reported before. `known`: what this answered for the part's last report, which
   * saves asking. One write, where nobody else reports for the part.
   */
  save(build: string, part: string, usage: UsagePart, known?: string): Promise<string> {
    const key = buildKeys.usage(build, part);
    const expires = this.#expires === undefined ? {} : { expires: this.#expires() };
    let condition: Condition = known === undefined ? { ifAbsent: true } : { ifVersion: known };
    return retrying(async () => {
      try {
        return await this.#table.put(key, usage as unknown as Json, { condition, ...expires });
      } catch (error) {
        if (!isCode(error, 'STORE_CONFLICT')) throw error;
        const there = await this.#table.get(key);
        if (there !== undefined && (there.value as unknown as UsagePart).at >= usage.at) return there.version;
        condition = there === undefined ? { ifAbsent: true } : { ifVersion: there.version };
        throw error;
      }
    });
  }

  /** What was kept of one part, and the version under which. */
  async part(build: string, part: string): Promise<{ readonly usage: UsagePart; readonly version: string } | undefined> {
    const record = await this.#table.get(buildKeys.usage(build, part));
    return record === undefined ? undefined : { usage: record.value as unknown as UsagePart, version: record.version };
  }

  /** All parts of a build, by name. */
  async parts(build: string): Promise<ReadonlyMap<string, UsagePart>> {
    const parts = new Map<string, UsagePart>();
    for (let after: string | undefined; ; ) {
      const records = await this.#table.query(buildKeys.partition(build), {
        prefix: buildKeys.usagePrefix,
        limit: 200,
        ...(after === undefined ? {} : { after }),
      });
      for (const { sort, value } of records) parts.set(sort.slice(buildKeys.usagePrefix.length), value as unknown as UsagePart);
      if (records.length < 200) return parts;
      after = records.at(-1)!.sort;
    }
  }
}
