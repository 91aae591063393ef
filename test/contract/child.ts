// The other process of the contract suites: node child.ts ACTION ARGUMENTS. Prints lines of JSON; the last one is its result.
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { isCode } from '../../shared/errors.ts';
import type { Digest } from '../../shared/oci/digest.ts';
import type { Expected } from '../../shared/store/blobs.ts';
import { type BlobsSpec, openBlobs, openTable, type TableSpec } from './drivers.ts';
import { pattern, slowly } from './pattern.ts';

const say = (line: unknown): void => void process.stdout.write(`${JSON.stringify(line)}\n`);

const actions = {
  /** Races others for `seats` records, then adds to a common counter; prints the seats it won. */
  async contend(spec: TableSpec, name: string, seats: number, counts: number) {
    const table = await openTable(spec);
    await table.get({ partition: 'contend', sort: 'count' });
    say('ready');
    if (seats > 1) await once(process.stdin, 'data');
    const won: string[] = [];
    for (let seat = 0; seat < seats; seat++) {
      try {
        await table.put({ partition: 'contend', sort: `seat ${seat}` }, name, { condition: { ifAbsent: true } });
        won.push(`seat ${seat}`);
      } catch (error) {
        if (!isCode(error, 'STORE_CONFLICT')) throw error;
      }
    }
    const key = { partition: 'contend', sort: 'count' };
    for (let done = 0; done < counts; ) {
      const current = await table.get(key);
      const condition = current === undefined ? ({ ifAbsent: true } as const) : { ifVersion: current.version };
      try {
        await table.put(key, Number(current?.value ?? 0) + 1, { condition });
        done++;
      } catch (error) {
        if (!isCode(error, 'STORE_CONFLICT')) throw error;
      }
    }
    table[Symbol.dispose]?.();
    return won;
  },

  async 'put-and-hang'(spec: TableSpec) {
    await (await openTable(spec)).put({ partition: 'killed', sort: 'kept' }, 'for good');
    say('put');
    await sleep(600_000);
  },

  /** Puts a generated blob and tells how much memory that took. */
  async put(spec: BlobsSpec, seed: number, size: number, expected: Expected) {
    const blobs = await openBlobs(spec);
    const stat = await blobs.put(pattern(seed, 0, size), expected);
    return { ...stat, peak: process.resourceUsage().maxRSS * 1024 };
  },

  /** Reads a blob and tells how much memory that took. */
  async read(spec: BlobsSpec, digest: Digest) {
    const blobs = await openBlobs(spec);
    const hash = createHash('sha256');
    let size = 0;
    for await (const chunk of (await blobs.open(digest))!.body) {
      hash.update(chunk);
      size += chunk.length;
    }
    return { digest: `sha256:${hash.digest('hex')}`, size, peak: process.resourceUsage().maxRSS * 1024 };
  },

  async append(spec: BlobsSpec, id: string, offset: number, seed: number, size: number) {
    const state = await (await openBlobs(spec)).append(id, offset, pattern(seed, offset, size));
    return { ...state, peak: process.resourceUsage().maxRSS * 1024 };
  },

  async finish(spec: BlobsSpec, id: string, expected: Expected) {
    return (await openBlobs(spec)).finish(id, expected);
  },

  /** Gives a put `given` bytes and then nothing, until killed. */
  async 'put-and-stall'(spec: BlobsSpec, seed: number, given: number, expected: Expected) {
    await (await openBlobs(spec)).put(
      slowly(pattern(seed, 0, given), () => say('stalled')),
      expected,
    );
  },

  async 'append-and-stall'(spec: BlobsSpec, id: string, offset: number, seed: number, given: number) {
    await (await openBlobs(spec)).append(
      id,
      offset,
      slowly(pattern(seed, offset, given), () => say('stalled')),
    );
  },
} as const;

export type Action = keyof typeof actions;

const [action, args] = process.argv.slice(2);
if (import.meta.main) {
  const run = actions[action as Action] as (...args: unknown[]) => Promise<unknown>;
  say((await run(...JSON.parse(args!))) ?? null);
  process.exit();
}
