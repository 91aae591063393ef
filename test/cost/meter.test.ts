import { setTimeout as sleep } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { count, currentMeter, Meter, metered } from '../../shared/cost/meter.ts';

test('counts what is done within it, wherever it is awaited, and nothing of its neighbours', async () => {
  const clock = () => 0;
  const [one, two] = [new Meter({ clock }), new Meter({ clock })];
  const work = async (times: number) => {
    for (let i = 0; i < times; i++) {
      await sleep(0);
      count('s3Reads');
    }
  };
  await Promise.all([metered(one, () => work(3)), metered(two, () => work(5)), work(7)]);
  expect(one.read().usage).toEqual({ s3Reads: 3 });
  expect(two.read().usage).toEqual({ s3Reads: 5 });
  expect(currentMeter()).toBeUndefined();
  await metered(one, () => metered(undefined, () => work(1)));
  expect(one.read().usage).toEqual({ s3Reads: 3 });
});

test('counts time at a rate, rounded up to the millisecond, from before it was made', () => {
  let now = 100;
  const meter = new Meter({ clock: () => now, rate: { lambdaArm64MibMs: 1024 }, before: 80 });
  now = 110.2;
  expect(meter.read().usage).toEqual({ lambdaArm64MibMs: 91 * 1024 });
  meter.stop();
  now = 500;
  expect(meter.read().usage).toEqual({ lambdaArm64MibMs: 91 * 1024 });
});

test('gives a step what happens while it alone is open', () => {
  let now = 0;
  const meter = new Meter({ clock: () => now, rate: { lambdaArm64MibMs: 10 } });
  meter.count('s3Reads', 1);
  const first = meter.step('[1/2] COPY', 0);
  meter.count('s3Reads', 2);
  now = 5;
  expect(meter.read().steps).toEqual([{ stage: 0, name: '[1/2] COPY', ms: 5, usage: { s3Reads: 2, lambdaArm64MibMs: 50 } }]);
  const second = meter.step('[2/2] RUN', 0);
  meter.count('s3Reads', 4);
  now = 9;
  second();
  now = 10;
  first();
  first();
  // The same step again, after it was taken up by another round.
  const again = meter.step('[1/2] COPY', 0);
  meter.add({ s3Writes: 1 });
  now = 12;
  again();
  expect(meter.read()).toEqual({
    usage: { s3Reads: 7, s3Writes: 1, lambdaArm64MibMs: 120 },
    steps: [
      // The four milliseconds in which both were open are shared.
      { stage: 0, name: '[1/2] COPY', ms: 10, usage: { s3Reads: 2, s3Writes: 1, lambdaArm64MibMs: 100 } },
      { stage: 0, name: '[2/2] RUN', ms: 2, usage: { lambdaArm64MibMs: 20 } },
    ],
  });
});

test('stays small however many steps there are and however long their names', () => {
  const meter = new Meter({ clock: () => 0 });
  for (let i = 0; i < 1000; i++) {
    const end = meter.step(`${i} ${'x'.repeat(1000)}`, i);
    meter.count('s3Reads', 1);
    end();
  }
  const read = meter.read();
  expect(read.usage).toEqual({ s3Reads: 1000 });
  expect(read.steps).toHaveLength(200);
  expect(JSON.stringify(read).length).toBeLessThan(64 * 1024);
});
