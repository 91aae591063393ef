import { describe, expect, test } from 'vitest';
import { costLine } from '../../cli/cost-text.ts';
import { costOf } from '../../shared/cost/cost.ts';
import { listPrices } from '../../shared/cost/prices.ts';

describe('the line at the end of a build', () => {
  const usage = {
    lambdaArm64MibMs: 3_174_400,
    lambdaRequests: 7,
    s3Reads: 14,
    s3Writes: 8,
    s3Frees: 1,
    s3BytesIn: 1_000_000,
    s3BytesOut: 200_000,
    dynamodbRequests: 41,
  };
  const facts = (more: Record<string, number> = {}, region?: string) =>
    costOf([{ at: 0, usage: { ...usage, ...more } }], listPrices, 0, region);

  test('says what was used and what that costs', () => {
    expect(costLine(facts())).toBe(
      'cost  $0.000088 estimated (prices of 2026-11-23, us-east-1)  lambda 3.1 GB-s, s3 23 requests 1.2MB, dynamodb 41',
    );
  });

  test('names the machine, the Region and what has no price', () => {
    expect(costLine(facts({ runnerMs: 14_200, microvmMibMs: 15_000 }))).toContain('lambda 3.1 GB-s, vm 14 s, s3');
    expect(costLine(facts({ runnerMs: 61_000, codebuildX64MediumMinutes: 2 }, 'eu-west-1'))).toMatch(
      /us-east-1; built in eu-west-1\) {2}lambda 3.1 GB-s, codebuild 2 min, s3/,
    );
    expect(costLine(facts({ codebuildArm64LargeMinutes: 2 }))).toContain(
      '(prices of 2026-11-23, us-east-1, not priced: codebuildArm64LargeMinutes)',
    );
  });

  test('says once that what a MicroVM bursts has no price', () => {
    expect(costLine(facts({ microvmBurstMilliVcpuMs: 5, microvmBurstMibMs: 5 }))).toContain('us-east-1, not priced: vm burst)');
  });

  test('is none where nothing is charged for', () => {
    expect(costLine({})).toBeUndefined();
  });
});
