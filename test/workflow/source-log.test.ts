import { expect, test } from 'vitest';
import { SlipwayError } from '../../shared/errors.ts';
import { failLog, failureOf, giveLog, type LogPlaces, openLog, takeLog } from '../../shared/workflow/source-log.ts';
import { accountHome, eventsOf, requestOf, startBuild } from '../support/account-home.ts';

async function placed() {
  const home = await accountHome();
  const build = await startBuild(home, requestOf('FROM scratch\n'));
  const places: LogPlaces = { table: home.table, expires: () => 9_999_999_999 };
  return { home, build, places, [Symbol.asyncDispose]: () => home[Symbol.asyncDispose]() };
}

test('who has a log is answered the same place again; who takes it from the dead begins another attempt', async () => {
  await using at = await placed();
  const take = (owner: string) => takeLog(at.places, at.build, 'stage-0', owner);
  expect(await take('one')).toEqual({ attempt: 1, next: 0, started: 0, done: 0 });
  expect(await take('one')).toEqual({ attempt: 1, next: 0, started: 0, done: 0 });
  expect(await take('two')).toEqual({ attempt: 2, next: 0, started: 0, done: 0 });
  await giveLog(at.places, at.build, 'stage-0', 'two', { attempt: 2, next: 5, started: 2, done: 1 });
  expect(await take('three')).toEqual({ attempt: 2, next: 5, started: 2, done: 1 });
});

test('one whose log was taken over neither gives it back nor fails it', async () => {
  await using at = await placed();
  const late = await takeLog(at.places, at.build, 'stage-0', 'late');
  await takeLog(at.places, at.build, 'stage-0', 'new');
  const failed = { failure: { code: 'STEP_FAILED', message: 'late' }, at: 1 };
  await giveLog(at.places, at.build, 'stage-0', 'late', { ...late, next: 99 }, failed);
  expect(await failureOf(at.places, at.build)).toBeUndefined();
  expect(await takeLog(at.places, at.build, 'stage-0', 'newer')).toMatchObject({ attempt: 3, next: 0 });
});

test('of several that take a log at once each has an attempt of its own', async () => {
  await using at = await placed();
  const owners = ['a', 'b', 'c', 'd', 'e'];
  const places = await Promise.all(owners.map((owner) => takeLog(at.places, at.build, 'stage-0', owner)));
  expect(places.map(({ attempt }) => attempt).sort()).toEqual([1, 2, 3, 4, 5]);
});

test('what a build failed with is what failed first and was not taken up again', async () => {
  await using at = await placed();
  const fail = (source: string, message: string, when: number) =>
    failLog(at.places, at.build, source, new SlipwayError('STEP_FAILED', message), when);
  await fail('stage-1', 'second', 20);
  await fail('stage-0', 'first', 10);
  expect(await failureOf(at.places, at.build)).toMatchObject({ code: 'STEP_FAILED', message: 'first' });
  // Somebody tries it again: what it failed with before counts no more.
  await takeLog(at.places, at.build, 'stage-0', 'again');
  expect(await failureOf(at.places, at.build)).toMatchObject({ message: 'second' });
});

test('who takes over does not tell again what the dead one had told', async () => {
  await using at = await placed();
  const { records } = at.home.fresh();
  const open = () => openLog(records, at.places, at.build, 'stage-0', () => 1);
  const dead = await open();
  dead.log.start('one').done();
  const step = dead.log.start('two');
  // More than waits: it is stored before he dies, and he never gives the log back.
  for (let n = 0; n < 20; n++) await step.output('stdout', 'x'.repeat(32 * 1024));
  const next = await open();
  next.log.start('one').done(true);
  next.log.start('two').done();
  await next.close();
  const events = await eventsOf(at.home, at.build);
  const told = events.flatMap((e) => (e.type === 'started' ? [e.name] : []));
  expect(told).toEqual(['one', 'two', 'two']);
  expect(events.filter((e) => e.type === 'done')).toHaveLength(2);
  expect(events.filter((e) => e.type === 'cancelled')).toHaveLength(1);
  // The dead one was only asleep: what he says now is refused.
  step.done();
  await dead.close();
  expect(await eventsOf(at.home, at.build)).toEqual(events);
});

test('output that JSON makes six times as long is stored', async () => {
  await using at = await placed();
  const log = await openLog(at.home.fresh().records, at.places, at.build, 'stage-0', () => 1);
  const step = log.log.start('one');
  const text = '\u0000\u001b'.repeat(96 * 1024);
  await step.output('stdout', text);
  step.done();
  await log.close();
  const said = (await eventsOf(at.home, at.build)).flatMap((e) => (e.type === 'log' ? [e.text] : [])).join('');
  expect(said === text).toBe(true);
});
