// Stages side by side, the first failure, and stopping.

import { afterEach, beforeEach, expect, it } from 'vitest';
import { parseTarget } from '../../shared/oci/reference.ts';
import { type Ask, type BuildHome, buildHome } from '../support/build-home.ts';

let home: BuildHome;
beforeEach(async () => {
  home = await buildHome();
});
afterEach(async () => {
  expect(home.leftovers()).toEqual([]);
  await home[Symbol.asyncDispose]();
});

const tagged = (name: string) => {
  const { repository, tag } = parseTarget(name);
  return home.catalog.resolve(repository, tag);
};

const both = (one: string, two: string): string =>
  `FROM scratch AS one\nRUN ${one}\nFROM scratch AS two\nRUN ${two}\nFROM scratch\nCOPY --from=one / /\nCOPY --from=two / /`;

it('runs stages that do not need each other at the same time', async () => {
  // Each waits for the other: one after the other they would never end.
  const { error, made } = await home.build(both('say one; wait two; write /1 1', 'say two; wait one; write /2 2'));
  expect(error).toBeUndefined();
  expect(made).toHaveLength(4);
});

it('stops the other stages at the first failure, which is the one that is reported', async () => {
  // The second stage fails first, and the first while it is being stopped.
  const built = await home.build(both('say ready; hang', 'wait ready; exit 5'));
  expect(built.error).toMatchObject({ code: 'STEP_FAILED', details: { exitCode: 5 }, where: { start: { line: 4 } } });
  expect(built.failed).toEqual(['RUN wait ready; exit 5']);
  expect(built.cancelled).toEqual(['RUN say ready; hang']);
  expect(built.made).toEqual([]);
});

it('leaves stages that the target does not need alone', async () => {
  await home.build(`${both('write /1 1', 'write /2 2')}\nFROM scratch AS last\nRUN write /3 3`);
  expect(home.sandbox.ran).toEqual(['write /3 3']);
});

it('is cancelled: the step is stopped, no tag is moved, what was finished stays', async () => {
  const id = await home.start('FROM scratch\nRUN write /1 1\nRUN say here; hang', { tags: ['app'] });
  const ended = home.follow(id);
  await home.sandbox.said('here');
  await home.builds.cancel(id);
  const built = await ended;
  expect(built.error).toEqual({ code: 'CANCELLED', message: 'cancelled' });
  expect(built).toMatchObject({ made: ['RUN write /1 1'], cancelled: ['RUN say here; hang'], failed: [] });
  expect(await tagged('app')).toBeUndefined();
  expect((await home.build('FROM scratch\nRUN write /1 1')).cached).toEqual(['RUN write /1 1']);
  // Of a build that has ended, it is no error.
  await home.builds.cancel(id);
});

it('fails before any work: a tag that is none, a Dockerfile that is none, a platform that is none', async () => {
  const bad: readonly (readonly [string, Ask])[] = [
    ['FROM scratch\nRUN write /1 1', { tags: ['UPPER'] }],
    ['FROM scratch\nRUN write /1 1\nBOGUS', {}],
    ['FROM scratch\nRUN write /1 1', { platform: 'a/b/c/d' }],
    ['FROM scratch\nRUN write /1 1', { target: 'nosuch' }],
  ];
  for (const [dockerfile, ask] of bad) {
    expect((await home.build(dockerfile, ask)).error).toBeDefined();
  }
  expect(home.sandbox.ran).toEqual([]);
  expect(await home.blobs.list({ limit: 10 })).toEqual([]);
});

it('says of a base that is nowhere what it means, at its line', async () => {
  const { error } = await home.build('# x\nFROM registry.invalid/base:1\nRUN write /x 1');
  expect(error).toMatchObject({
    code: 'UPSTREAM',
    message: 'registry.invalid/base:1: failed to resolve source metadata: no registry in this test',
    where: { start: { line: 2 } },
    hint: expect.stringContaining('There is none in the home either'),
  });
});

it('moves all tags at the end', async () => {
  const { digest } = await home.build('FROM scratch\nRUN write /x 1', { tags: ['app', 'localhost:5000/team/app:2'] });
  expect((await tagged('app'))?.digest).toBe(digest);
  expect((await tagged('localhost:5000/team/app:2'))?.digest).toBe(digest);
});

it('two equal builds at once both succeed, with one image', async () => {
  const dockerfile = 'FROM scratch\nRUN write /x 1\nWORKDIR /w';
  const ask = { buildArgs: { SOURCE_DATE_EPOCH: '1000000000' }, tags: ['same'] };
  const [one, two] = await Promise.all([home.build(dockerfile, ask), home.build(dockerfile, ask)]);
  expect(one.error ?? two.error).toBeUndefined();
  expect(one.digest).toBe(two.digest);
});

it('knows no build of another id', async () => {
  await expect(home.builds.events('nosuch')[Symbol.asyncIterator]().next()).rejects.toMatchObject({ code: 'NOT_FOUND' });
});
