// Whole numbers in a query.
import { SlipwayError } from '../errors.ts';

/** USAGE for what is none, or not within the limits. */
export function whole(text: string | null, name: string, otherwise: number, least: number, most: number): number {
  if (text === null) return otherwise;
  const value = Number(text);
  if (/^\d{1,16}$/.test(text) && value >= least && value <= most) return value;
  throw new SlipwayError('USAGE', `${name}: a whole number from ${least} to ${most} is expected`);
}
