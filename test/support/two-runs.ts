// A build with two RUNs in one stage, and what its log tells of them: for tests of runners that are lost.
import { expect } from 'vitest';
import { eventsOf, project, requestOf, sendContext, startBuild } from './account-home.ts';
import type { AccountWorld } from './account-world.ts';

/** The second RUN does what the test says. */
export const twoRuns = (second: string): string =>
  `FROM scratch AS one\nCOPY app /one\nRUN write /made hello; print first\nRUN print second; ${second}; write /again x\nFROM scratch\nCOPY --from=one / /\n`;

/** The steps of its first stage. */
export const stepsOfTwoRuns: readonly unknown[] = ['FROM scratch', 'COPY app /one', 'RUN write', 'RUN print'].map((step) =>
  expect.stringContaining(step),
);

/** Keeps a build of it, which nobody carries out yet. */
export async function startTwoRuns(world: AccountWorld, second: string): Promise<string> {
  const files = { 'app/main.js': 'go()' };
  const context = { kind: 'stored' as const, id: await sendContext(world.home.fresh(), files), project };
  return startBuild(world.home, requestOf(twoRuns(second), { context, noCache: true }));
}

/** What the log says of the stage with RUNs. */
export async function toldOf(world: AccountWorld, id: string) {
  const events = await eventsOf(world.home, id);
  const names = new Map(events.flatMap((e) => (e.type === 'started' ? [[e.id, e.name] as const] : [])));
  const done = events.flatMap((e) => (e.type === 'done' && names.get(e.id)?.startsWith('[one') ? [names.get(e.id)] : []));
  const interrupted = events.flatMap((e) => (e.type === 'cancelled' ? [names.get(e.id)] : []));
  return { events, done, interrupted };
}

/** The question's name of a `METHOD path`. */
export const questionOf = (call: string): string => call.replace(/^POST \/api\/v1\/jobs\/[^/]+\/\d+\//, '');
