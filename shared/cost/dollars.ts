// Dollars as people read and write them; within the program they are whole nano-dollars (10^-9).
import { picoDollars } from './prices.ts';

/** `$0.00062`: two digits that count, and cents at least. */
export function dollars(nano: number): string {
  const cents = 2;
  const places = 9;
  const digits = String(nano).padStart(places + 1, '0');
  const whole = digits.slice(0, -places);
  const fraction = digits.slice(-places);
  const first = fraction.search(/[1-9]/);
  const shown = whole !== '0' || first === -1 ? cents : Math.min(Math.max(cents, first + 2), places);
  // Rounded to the place that is shown last, in whole numbers.
  const rounded = Math.round(nano / 10 ** (places - shown));
  // What rounds up to the next place has a digit too many: $0.00100.
  const over = rounded === 100 && shown > cents ? 1 : 0;
  const text = String(rounded / 10 ** over).padStart(shown - over + 1, '0');
  return `$${text.slice(0, over - shown)}.${text.slice(over - shown)}`;
}

/** `0.50` or `$0.50` in nano-dollars; `undefined` for anything else, and for less than one. */
export function nanoDollars(text: string): number | undefined {
  const pico = picoDollars(text.replace(/^\$/, ''));
  if (pico === undefined || pico < 1000n || pico > BigInt(Number.MAX_SAFE_INTEGER) * 1000n) return undefined;
  return Number(pico / 1000n);
}
