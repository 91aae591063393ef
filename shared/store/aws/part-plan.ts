// How large the parts of a multipart upload are. S3 takes at most 10,000 of them, each but the last at least 5 MiB, at most 5 GiB.
import { SlipwayError } from '../../errors.ts';

const MiB = 1 << 20;
const GiB = 1024 * MiB;

export const maxParts = 10_000;
export const minPart = 5 * MiB;
/** What one blob may have. */
export const maxBlob = 5 * 1024 * GiB;
/** A part up to this size is held in memory, so that it can be sent again; a larger one is streamed, once. */
export const maxBuffered = 64 * MiB;

const usual = 8 * MiB;

export interface PartPlan {
  /** Bytes of part `number`, which counts from 1; the last part may be shorter. */
  sizeOf(number: number): number;
}

/** Equal parts, so many that they suffice for `size` bytes. TOO_LARGE beyond 5 TiB. */
export function planFor(size: number): PartPlan {
  if (size > maxBlob) throw tooLarge(maxBlob);
  const part = Math.max(usual, Math.ceil(size / maxParts / MiB) * MiB);
  return { sizeOf: () => part };
}

// [last part number, size]: 7.8 GiB in parts of 8 MiB, 62.5 GiB more in parts of 32 MiB, 437.5 GiB more in parts of 64 MiB.
const steps = [
  [1000, usual],
  [3000, 32 * MiB],
  [maxParts, maxBuffered],
] as const;

/** Parts that grow with their number, for bytes of which nobody knows how many will come. TOO_LARGE beyond about 508 GiB. */
export const growing: PartPlan = {
  sizeOf(number) {
    for (const [last, size] of steps) if (number <= last) return size;
    throw tooLarge(
      steps.reduce(({ sum, from }, [last, size]) => ({ sum: sum + (last - from) * size, from: last }), { sum: 0, from: 0 }).sum,
    );
  },
};

/** From this many bytes on, what is left at the end of an append becomes a part; less waits for more, to save part numbers. */
export const worthAPart = (number: number): number => Math.max(minPart, growing.sizeOf(number) / 4);

/** Parts on their way at once, so that their buffers, and the one being filled, stay within about 128 MiB. */
export const concurrencyOf = (part: number): number => Math.max(1, Math.min(4, Math.floor((128 * MiB) / part) - 1));

const tooLarge = (limit: number): SlipwayError =>
  new SlipwayError('TOO_LARGE', `the blob is larger than ${limit} bytes`, {
    hint: 'Announce its size when you put it, if you have not; the limit is 5 TiB then.',
    details: { limit },
  });
