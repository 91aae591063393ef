// List prices of AWS, dated. They are what an estimate is made of, not an offer: free tiers, volume tiers, savings plans and taxes are left
// out. In dollars as decimal text, because 0.0000133334 is no number that a float holds.
import { SlipwayError } from '../errors.ts';

/** Counters of usage.ts that cost something, and how many of each make the unit of its price. */
export const priced = {
  lambdaRequests: { price: 'lambdaRequest', unit: 1n },
  lambdaArm64MibMs: { price: 'lambdaArm64GbSecond', unit: 1_024_000n },
  lambdaX64MibMs: { price: 'lambdaX64GbSecond', unit: 1_024_000n },
  microvmMilliVcpuMs: { price: 'microvmVcpuSecond', unit: 1_000_000n },
  microvmMibMs: { price: 'microvmGbSecond', unit: 1_024_000n },
  microvmBurstMilliVcpuMs: { price: 'microvmBurstVcpuSecond', unit: 1_000_000n },
  microvmBurstMibMs: { price: 'microvmBurstGbSecond', unit: 1_024_000n },
  codebuildX64SmallMinutes: { price: 'codebuildX64SmallMinute', unit: 1n },
  codebuildX64MediumMinutes: { price: 'codebuildX64MediumMinute', unit: 1n },
  codebuildX64LargeMinutes: { price: 'codebuildX64LargeMinute', unit: 1n },
  codebuildX64XlargeMinutes: { price: 'codebuildX64XlargeMinute', unit: 1n },
  codebuildX642xlargeMinutes: { price: 'codebuildX642xlargeMinute', unit: 1n },
  codebuildArm64SmallMinutes: { price: 'codebuildArm64SmallMinute', unit: 1n },
  codebuildArm64MediumMinutes: { price: 'codebuildArm64MediumMinute', unit: 1n },
  codebuildArm64LargeMinutes: { price: 'codebuildArm64LargeMinute', unit: 1n },
  codebuildArm64XlargeMinutes: { price: 'codebuildArm64XlargeMinute', unit: 1n },
  codebuildArm642xlargeMinutes: { price: 'codebuildArm642xlargeMinute', unit: 1n },
  s3Reads: { price: 's3Read', unit: 1n },
  s3Writes: { price: 's3Write', unit: 1n },
  dynamodbReadUnits: { price: 'dynamodbReadUnit', unit: 1n },
  dynamodbWriteUnits: { price: 'dynamodbWriteUnit', unit: 1n },
  stateTransitions: { price: 'stateTransition', unit: 1n },
  apiRequests: { price: 'apiRequest', unit: 1n },
} as const satisfies Readonly<Record<string, { readonly price: string; readonly unit: bigint }>>;

export type PriceName = (typeof priced)[keyof typeof priced]['price'];

export interface PriceTable {
  /** The day they were looked up, `YYYY-MM-DD`. */
  readonly date: string;
  readonly region: string;
  /** Where they come from, for a person. */
  readonly source: string;
  /** Dollars for one, as decimal text of at most twelve places. What has none is counted and named, not priced. */
  readonly prices: Readonly<Partial<Record<PriceName, string>>>;
}

/**
 * us-east-1. Sources: the pricing pages of Lambda, Step Functions and API Gateway; for MicroVMs the prices at launch as reported; S3,
 * DynamoDB and CodeBuild as generally known. None was confirmed on a bill. CodeBuild's arm64 machines but the small one, and all from
 * xlarge on, are left out, as is what a MicroVM bursts above its baseline: no source was at hand.
 */
export const listPrices: PriceTable = {
  date: '2026-11-23',
  region: 'us-east-1',
  source: 'list prices, first tier, not confirmed on a bill',
  prices: {
    lambdaRequest: '0.0000002',
    lambdaArm64GbSecond: '0.0000133334',
    lambdaX64GbSecond: '0.0000166667',
    microvmVcpuSecond: '0.0000276944',
    microvmGbSecond: '0.0000036667',
    codebuildX64SmallMinute: '0.005',
    codebuildX64MediumMinute: '0.01',
    codebuildX64LargeMinute: '0.02',
    codebuildArm64SmallMinute: '0.00425',
    s3Read: '0.0000004',
    s3Write: '0.000005',
    dynamodbReadUnit: '0.000000125',
    dynamodbWriteUnit: '0.000000625',
    stateTransition: '0.000025',
    apiRequest: '0.0000035',
  },
};

const names: ReadonlySet<string> = new Set(Object.values(priced).map(({ price }) => price));

/** Dollars as decimal text in whole pico-dollars (10^-12), exactly. `undefined` for anything else. */
export function picoDollars(text: string): bigint | undefined {
  const match = /^(\d{1,9})(?:\.(\d{1,12}))?$/.exec(text);
  return match === null ? undefined : BigInt(match[1]! + (match[2] ?? '').padEnd(12, '0'));
}

const wrong = (what: string): SlipwayError =>
  new SlipwayError('USAGE', `SLIPWAY_PRICES: ${what}`, {
    hint: 'JSON such as {"date":"2026-11-23","region":"eu-west-1","source":"...","prices":{"lambdaArm64GbSecond":"0.0000133334"}}',
  });

/**
 * The table that is in force: the list's, or what `SLIPWAY_PRICES` says. One for the list's own Region changes single prices of the list;
 * one for another Region replaces it, because a price of another Region is none.
 * @throws USAGE naming what is wrong
 */
export function pricesInForce(text: string | undefined): PriceTable {
  if (!text) return listPrices;
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw wrong(`not JSON: ${error instanceof Error ? error.message : String(error)}`);
  }
  const { date, region, source, prices } = checkPrices(value, wrong);
  return region === listPrices.region
    ? { date, region, source, prices: { ...listPrices.prices, ...prices } }
    : { date, region, source, prices };
}

/** The value as a table of prices. `refuse` makes the error. */
export function checkPrices(value: unknown, refuse: (what: string) => Error): PriceTable {
  const { date, region, source = 'the settings of this home', prices } = (value ?? {}) as Readonly<Record<string, unknown>>;
  if (typeof date !== 'string' || !/^\d{4}-\d\d-\d\d$/.test(date)) throw refuse('date: a day as YYYY-MM-DD is missing');
  if (typeof region !== 'string' || region === '') throw refuse('region: missing');
  if (typeof source !== 'string') throw refuse('source: not a text');
  if (typeof prices !== 'object' || prices === null) throw refuse('prices: missing');
  for (const [name, price] of Object.entries(prices)) {
    if (!names.has(name)) throw refuse(`prices.${name}: unknown; there are ${[...names].join(', ')}`);
    if (typeof price !== 'string' || picoDollars(price) === undefined) {
      throw refuse(`prices.${name}: dollars as decimal text, such as "0.0000133334", are expected`);
    }
  }
  return { date, region, source, prices: prices as PriceTable['prices'] };
}
