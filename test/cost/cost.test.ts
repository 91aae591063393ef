import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { costOf, runnerUsage } from '../../shared/cost/cost.ts';
import { checkPrices, listPrices, picoDollars, priced, pricesInForce } from '../../shared/cost/prices.ts';
import type { UsagePart } from '../../shared/cost/usage.ts';

const part = (usage: Record<string, number>, more: Partial<UsagePart> = {}): UsagePart => ({ at: 0, usage, ...more });
const nano = (usage: Record<string, number>): number => costOf([part(usage)], listPrices, 0).cost.nanoDollars;

describe('prices of us-east-1, by hand', () => {
  test.each([
    // 1024 MiB for 1000 ms is 1 GB-s: $0.0000133334 is 13,333.4 nano-dollars.
    ['one GB-second on arm64', { lambdaArm64MibMs: 1024 * 1000 }, 13_333],
    // 7076 MiB for 60 s is 414.609375 GB-s; times 13,333.4 is 5,528,152.64...
    ['a stage of a minute', { lambdaArm64MibMs: 7076 * 60_000 }, 5_528_153],
    ['1000 GB-seconds on x86', { lambdaX64MibMs: 1024 * 1000 * 1000 }, 16_666_700],
    ['a million invocations', { lambdaRequests: 1_000_000 }, 200_000_000],
    // 1 vCPU and 2 GB for 100 s: 100 * 27,694.4 + 200 * 3,666.7 = 2,769,440 + 733,340.
    ['a MicroVM for 100 s', { microvmMilliVcpuMs: 1000 * 100_000, microvmMibMs: 2048 * 100_000 }, 3_502_780],
    ['three minutes of a medium machine', { codebuildX64MediumMinutes: 3 }, 30_000_000],
    ['a minute of a small arm64 machine', { codebuildArm64SmallMinutes: 1 }, 4_250_000],
    ['1000 GETs and 1000 PUTs', { s3Reads: 1000, s3Writes: 1000, s3Frees: 1000 }, 400_000 + 5_000_000],
    // Half a unit is an eventually consistent read: 125 / 2 nano-dollars, rounded up.
    ['reads', { dynamodbReadUnits: 2.5 }, 313],
    ['writes', { dynamodbWriteUnits: 41 }, 25_625],
    ['transitions', { stateTransitions: 16 }, 400_000],
    ['requests of the API', { apiRequests: 3 }, 10_500],
    ['bytes, which cost nothing within the Region', { s3BytesIn: 1e12, s3BytesOut: 1e12, dynamodbBytesIn: 5 }, 0],
  ])('%s', (_, usage, expected) => {
    expect(nano(usage as Record<string, number>)).toBe(expected);
  });

  test('a runner counts to its stop, or to the end of its build, in the units it is billed in', () => {
    const microvm = { kind: 'microvm', stage: 0, attempt: 1, started: 1000, mib: 2048, milliVcpu: 1000 } as const;
    expect(runnerUsage({ ...microvm, ended: 15_200 }, 99_000)).toEqual({
      runnerMs: 14_200,
      microvmMilliVcpuMs: 15_000_000,
      microvmMibMs: 15_000 * 2048,
    });
    expect(runnerUsage(microvm, 4000)).toMatchObject({ runnerMs: 3000 });
    expect(runnerUsage(microvm, 0)).toMatchObject({ runnerMs: 0, microvmMibMs: 0 });
    const codebuild = { kind: 'codebuild', stage: 0, attempt: 1, started: 0, size: 'X64Medium' } as const;
    expect(runnerUsage({ ...codebuild, ended: 60_001 }, 0)).toEqual({ runnerMs: 60_001, codebuildX64MediumMinutes: 2 });
  });
});

describe('the cost of a build', () => {
  const machine = { kind: 'microvm', stage: 1, attempt: 2, started: 0, ended: 100_000, mib: 2048, milliVcpu: 1000 } as const;

  test('is split by step, with the rest named, and the split adds up', () => {
    const { cost, usage } = costOf(
      [
        part(
          { lambdaRequests: 1, lambdaArm64MibMs: 2 * 1_024_000, s3Reads: 10 },
          { steps: [{ stage: 1, name: 'RUN make', ms: 1000, usage: { lambdaArm64MibMs: 1_024_000, s3Reads: 10 } }] },
        ),
        part({}, { runner: machine }),
        part(
          { s3Writes: 1 },
          { job: { stage: 1, attempt: 2 }, steps: [{ stage: 1, name: 'RUN make', ms: 50_000, usage: { s3Writes: 1 } }] },
        ),
        part({ stateTransitions: 4 }),
      ],
      listPrices,
      0,
    );
    expect(usage).toMatchObject({ s3Reads: 10, s3Writes: 1, runnerMs: 100_000, lambdaRequests: 1 });
    // Half of the machine's 3,502,780, a GB-second, ten GETs, one PUT.
    const step = 1_751_390 + 13_333.4 + 4000 + 5000;
    expect(cost.steps).toEqual([{ stage: 1, name: 'RUN make', milliseconds: 51_000, nanoDollars: Math.floor(step) }]);
    expect(cost.nanoDollars).toBe(Math.round(200 + 2 * 13_333.4 + 4000 + 5000 + 3_502_780 + 100_000));
    expect(cost.rest).toBe(cost.nanoDollars - cost.steps[0]!.nanoDollars);
    expect(cost.services).toEqual({ lambda: 26_867, microvm: 3_502_780, s3: 9000, stepFunctions: 100_000 });
    expect(cost.unpriced).toEqual([]);
    expect(cost.notCounted).not.toEqual([]);
  });

  test('lists steps by stage, whichever machine reported first', () => {
    const step = (name: string, stage?: number) => ({ ...(stage === undefined ? {} : { stage }), name, ms: 1, usage: {} });
    const { cost } = costOf(
      [
        part({}, { steps: [step('plan')] }),
        part({}, { steps: [step('b 1', 1), step('b 2', 1)] }),
        part({}, { steps: [step('a 1', 0), step('b 2', 1)] }),
        part({}, { steps: [step('export')] }),
      ],
      listPrices,
      0,
    );
    expect(cost.steps.map(({ name }) => name)).toEqual(['plan', 'a 1', 'b 1', 'b 2', 'export']);
  });

  test('names what has no price instead of leaving it out in silence', () => {
    const machine = { kind: 'codebuild', stage: 0, attempt: 1, started: 0, ended: 1, size: 'Arm64Medium' } as const;
    const odd = { kind: 'codebuild', stage: 1, attempt: 1, started: 0, ended: 1, size: 'X642xlarge' } as const;
    const { cost } = costOf([part({ s3Reads: 0 }), part({}, { runner: machine }), part({}, { runner: odd })], listPrices, 0);
    expect(cost.unpriced).toEqual(['codebuildArm64MediumMinutes', 'codebuildX642xlargeMinutes']);
    const bare = { ...listPrices, prices: {} };
    expect(costOf([part({ s3Reads: 1, s3Writes: 0, s3BytesIn: 4 })], bare, 0).cost).toMatchObject({
      nanoDollars: 0,
      unpriced: ['s3Reads'],
    });
  });

  test('says where it was built when the prices are of elsewhere', () => {
    expect(costOf([part({ s3Reads: 1 })], listPrices, 0, 'eu-west-1').cost.region).toBe('eu-west-1');
    expect(costOf([part({ s3Reads: 1 })], listPrices, 0, 'us-east-1').cost).not.toHaveProperty('region');
  });

  test('is not overrun by a runner that claims to have worked longer than it lived', () => {
    const steps = [{ stage: 1, name: 'RUN x', ms: 10 ** 9, usage: {} }];
    const { cost } = costOf([part({}, { runner: machine }), part({}, { job: { stage: 1, attempt: 2 }, steps })], listPrices, 0);
    expect(cost.steps[0]!.nanoDollars).toBe(cost.nanoDollars);
    expect(cost.rest).toBe(0);
  });

  test('does not depend on how usage is divided among parts, and is exact where floats are not', () => {
    const amounts = fc.dictionary(fc.constantFrom(...Object.keys(priced)), fc.nat({ max: 2 ** 40 }), { maxKeys: 6 });
    fc.assert(
      fc.property(fc.array(amounts, { maxLength: 5 }), (usages) => {
        const whole: Record<string, number> = {};
        for (const usage of usages) for (const [name, n] of Object.entries(usage)) whole[name] = (whole[name] ?? 0) + n;
        expect(
          costOf(
            usages.map((usage) => part(usage)),
            listPrices,
            0,
          ),
        ).toEqual(costOf([part(whole)], listPrices, 0));
      }),
    );
    // 0.1 + 0.2: a million times a tenth of a cent's millionth.
    expect(nano({ dynamodbReadUnits: 8_000_000_000 })).toBe(1_000_000_000_000);
  });
});

describe('a table of prices', () => {
  test('is read exactly', () => {
    expect(picoDollars('0.0000133334')).toBe(13_333_400n);
    expect(picoDollars('12')).toBe(12n * 10n ** 12n);
    expect(picoDollars('0.000000000001')).toBe(1n);
    for (const bad of ['', '-1', '.5', '1e-6', '0.0000000000001', '1,5', 'NaN']) expect(picoDollars(bad)).toBeUndefined();
    for (const price of Object.values(listPrices.prices)) expect(picoDollars(price)).toBeGreaterThan(0n);
  });

  test('is the list’s unless the home says otherwise', () => {
    expect(pricesInForce(undefined)).toBe(listPrices);
    expect(pricesInForce('')).toBe(listPrices);
    const one = { date: '2027-01-02', region: 'us-east-1', source: 'contract', prices: { s3Read: '0.0000003' } };
    expect(pricesInForce(JSON.stringify(one))).toEqual({ ...one, prices: { ...listPrices.prices, s3Read: '0.0000003' } });
    // Another Region's prices are not filled up with ours.
    const other = { ...one, region: 'eu-west-1' };
    expect(pricesInForce(JSON.stringify(other))).toEqual(other);
  });

  test.each([
    ['{', /not JSON/],
    ['7', /date/],
    ['{"date":"today"}', /date/],
    ['{"date":"2027-01-01"}', /region/],
    ['{"date":"2027-01-01","region":"x"}', /prices/],
    ['{"date":"2027-01-01","region":"x","prices":{"s3Reed":"1"}}', /s3Reed: unknown; there are .*s3Read/],
    ['{"date":"2027-01-01","region":"x","prices":{"s3Read":0.1}}', /s3Read: dollars as decimal text/],
  ])('%s is refused by name', (text, message) => {
    expect(() => pricesInForce(text)).toThrow(message);
  });

  test('of the list is one that it accepts itself', () => {
    expect(checkPrices(JSON.parse(JSON.stringify(listPrices)), (what) => new Error(what))).toEqual(listPrices);
  });
});
