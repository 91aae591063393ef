import { expect, it } from 'vitest';
import type { BuildEvent } from '../../shared/build/events.ts';
import { LogWriter } from '../../shared/build/log-writer.ts';
import { SlipwayError } from '../../shared/errors.ts';

function target(fail: () => boolean = () => false) {
  const stored: BuildEvent[] = [];
  let calls = 0;
  return {
    stored,
    calls: () => calls,
    async append(first: number, events: readonly BuildEvent[]) {
      calls++;
      // Stored, but the answer is lost: the same come again.
      stored.push(...events.slice(Math.max(0, stored.length - first)));
      if (fail()) throw new SlipwayError('STORE', 'throttled');
      return { next: first + events.length, closed: false };
    },
  };
}
const textOf = (events: readonly BuildEvent[]): string => events.map((e) => (e.type === 'log' ? e.text : '')).join('');

it('stores many events with few calls, and everything at the end', async () => {
  const records = target();
  {
    await using writer = new LogWriter({ append: records.append, clock: () => 1, gather: 60_000 });
    const step = writer.log.start('one');
    for (let i = 0; i < 1000; i++) await step.output('stdout', `${i}\n`);
    step.done();
  }
  expect(records.stored).toHaveLength(1002);
  expect(records.calls()).toBeLessThan(5);
});

it('cuts long output in pieces that lose nothing, and makes a fast writer wait', async () => {
  const records = target();
  const text = `${'x'.repeat(32 * 1024 - 1)}\u{1f6a2}`.repeat(40);
  await using writer = new LogWriter({ append: records.append, clock: () => 1 });
  const step = writer.log.start('one');
  await step.output('stdout', text);
  expect(records.calls()).toBeGreaterThan(0);
  expect(textOf(records.stored)).toBe(text);
  for (const event of records.stored) expect(textOf([event]).isWellFormed()).toBe(true);
});

it('stores once what it has to send again', async () => {
  let failures = 2;
  const records = target(() => failures-- > 0);
  const writer = new LogWriter({ append: records.append, clock: () => 1 });
  const step = writer.log.start('one');
  await expect(writer.flush()).rejects.toMatchObject({ code: 'STORE' });
  void step.output('stdout', 'a');
  await expect(writer.flush()).rejects.toMatchObject({ code: 'STORE' });
  await writer.flush();
  expect(records.stored.map((e) => e.type)).toEqual(['started', 'log']);
});
