// Damaged forms of good input, the same for the same seed, and the promise about whatever reads them: it answers or fails with an error of
// ours, soon. SLIPWAY_FUZZ_RUNS=100 tries a hundred times as many, SLIPWAY_FUZZ_SEED others; a failure says its seed.
import { SlipwayError } from '../../shared/errors.ts';

/** From 0 to 1 (mulberry32). */
export type Random = () => number;

export function randomOf(seed: number): Random {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

export const below = (random: Random, limit: number): number => Math.floor(random() * limit);
export const oneOf = <T>(random: Random, values: readonly T[]): T => values[below(random, values.length)] as T;

/** Bytes changed, cut out, doubled, cut off, or taken from another place. */
export function damagedBytes(random: Random, bytes: Uint8Array): Buffer {
  let result = Buffer.from(bytes);
  for (let edits = 1 + below(random, 4); edits > 0 && result.length > 0; edits--) {
    const at = below(random, result.length);
    const length = 1 + below(random, Math.min(64, result.length - at));
    const [head, part, tail] = [result.subarray(0, at), result.subarray(at, at + length), result.subarray(at + length)];
    switch (below(random, 6)) {
      case 0:
        result = Buffer.concat([head, part.map(() => below(random, 256)), tail]);
        break;
      case 1:
        result = Buffer.concat([head, tail]);
        break;
      case 2:
        result = Buffer.concat([head, part, part, tail]);
        break;
      case 3:
        result = Buffer.from(head);
        break;
      case 4:
        result = Buffer.from(result);
        result[at] = oneOf(random, [0, 1, 0x7f, 0x80, 0xff]);
        break;
      default: {
        const from = below(random, result.length);
        result = Buffer.concat([head, result.subarray(from, from + length), tail]);
      }
    }
  }
  return result;
}

/** Lines and parts of lines changed for others of `pieces`. */
export function damagedText(random: Random, text: string, pieces: readonly string[]): string {
  let result = text;
  for (let edits = 1 + below(random, 4); edits > 0; edits--) {
    const at = below(random, result.length + 1);
    const end = Math.min(result.length, at + below(random, 12));
    const put = oneOf(random, [...pieces, '', result.slice(at, end).repeat(2), result.slice(0, below(random, 40))]);
    result = result.slice(0, at) + put + result.slice(end);
  }
  return result;
}

const oddValues: readonly unknown[] = [
  ...[null, true, 0, -1, 1.5, 1e308, 2 ** 53, 1e21, '', 'x', '../x', '/', 'a\0b', '\ud800', 'sha256:', [], {}, [[]], [null]],
  ...[{ '': 1 }, 'x'.repeat(5000), Array.from({ length: 300 }, () => 'x'), JSON.parse('{"__proto__":{"a":1}}'), ['a', 1]],
];

/** Members changed for odd values, removed, added, or moved to where others were. */
export function damagedJson(random: Random, value: unknown): unknown {
  let result = structuredClone(value);
  const places: { readonly holder: Record<string, unknown>; readonly key: string }[] = [];
  const collect = (node: unknown): void => {
    if (typeof node !== 'object' || node === null) return;
    for (const key of Object.keys(node)) {
      places.push({ holder: node as Record<string, unknown>, key });
      collect((node as Record<string, unknown>)[key]);
    }
  };
  collect(result);
  if (places.length === 0 || random() < 0.02) return oneOf(random, oddValues);
  for (let edits = 1 + below(random, 3); edits > 0; edits--) {
    const { holder, key } = oneOf(random, places);
    const other = oneOf(random, places);
    switch (below(random, 5)) {
      case 0:
        if (Array.isArray(holder)) holder.splice(Number(key), 1);
        else delete holder[key];
        break;
      case 1:
        holder[key] = structuredClone(other.holder[other.key]);
        break;
      case 2:
        if (!Array.isArray(holder))
          holder[oneOf(random, ['extra', '__proto__', 'constructor', 'toString', ''])] = oneOf(random, oddValues);
        break;
      default:
        holder[key] = oneOf(random, oddValues);
    }
  }
  if (random() < 0.02) for (let depth = 0; depth < 3000; depth++) result = [result];
  return result;
}

/** A third of what the tests name keeps `npm run check` short; CI and a look for new trouble take more. */
const factor = Number(process.env.SLIPWAY_FUZZ_RUNS ?? (process.env.CI ? 1 : 0.3));
const first = Number(process.env.SLIPWAY_FUZZ_SEED ?? 1);
/** Milliseconds; only looked at in a long run, where it tells what is worth a look. */
const slow = process.env.SLIPWAY_FUZZ_RUNS === undefined ? Number.POSITIVE_INFINITY : 1000;

/** Runs `attempt` so many times (times SLIPWAY_FUZZ_RUNS); anything but an answer or a SlipwayError is a failure. */
export async function always(runs: number, attempt: (random: Random, tell: (input: unknown) => void) => unknown): Promise<void> {
  for (let seed = first; seed < first + runs * factor; seed++) {
    let given: unknown;
    const fail = (why: string, cause?: unknown): Error => {
      const shown = given instanceof Uint8Array ? Buffer.from(given).toString('base64') : JSON.stringify(given);
      return new Error(`seed ${seed} ${why}, given ${shown?.slice(0, 3000)}`, { cause });
    };
    const began = performance.now();
    try {
      await attempt(randomOf(seed), (input) => {
        given = input;
      });
    } catch (error) {
      if (!(error instanceof SlipwayError) || error.code === 'INTERNAL') throw fail('failed', error);
    }
    const took = performance.now() - began;
    if (took > slow) throw fail(`took ${took} ms`);
  }
}
