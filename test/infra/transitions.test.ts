// What functions say of their state transitions, against the state machine itself: a walk through it, with answers of the functions.
import { expect, test } from 'vitest';
import { transitionsAfter, transitionsAtStart } from '../../functions/transitions.ts';
import { buildDefinition } from '../../infra/build-definition.ts';

interface Choice {
  readonly Variable: string;
  readonly StringEquals?: string;
  readonly BooleanEquals?: boolean;
  readonly Next: string;
}
interface State {
  readonly Type: string;
  readonly Next?: string;
  readonly Default?: string;
  readonly Choices?: readonly Choice[];
  readonly Catch?: readonly { readonly ErrorEquals: readonly string[]; readonly Next: string }[];
  readonly Parameters?: { readonly FunctionName: string; readonly Payload: { readonly do?: string } };
  readonly ItemProcessor?: Machine;
}
interface Machine {
  readonly StartAt: string;
  readonly States: Readonly<Record<string, State>>;
}

const names = { plan: 'plan', stage: 'stage', finish: 'finish', launch: 'launch' };
const machine = buildDefinition({
  ...names,
  partition: 'aws',
  concurrency: 10,
  heartbeat: 1,
  runnerTime: 1,
}) as unknown as Machine;

type Answer = { readonly done?: boolean; readonly status?: string; readonly stages?: readonly number[] };
class Broken extends Error {}

/** Walks to the end. Answers the states entered, and what the functions called on the way say that they stand for. */
function walk(answers: Readonly<Record<string, readonly (Answer | 'fails')[]>>) {
  const left = new Map(Object.entries(answers).map(([name, list]) => [name, [...list]]));
  let entered = 0;
  let counted = 0;
  const call = (state: State): Answer => {
    const { FunctionName, Payload } = state.Parameters!;
    const name = Payload.do ?? FunctionName;
    const answer = left.get(name)?.shift() ?? {};
    counted += transitionsAtStart(name);
    if (answer === 'fails') throw new Broken();
    counted += transitionsAfter(name, answer);
    return answer;
  };
  const run = ({ StartAt, States }: Machine): void => {
    let last: Answer = {};
    for (let name: string | undefined = StartAt; name !== undefined; ) {
      const state: State = States[name]!;
      entered += 1;
      try {
        if (state.Type === 'Fail') throw new Broken();
        if (state.Type === 'Task') last = call(state);
        if (state.Type === 'Map') for (const _ of last.stages ?? []) run(state.ItemProcessor!);
      } catch (error) {
        const caught: string | undefined = state.Catch?.findLast((one) => one.ErrorEquals.includes('States.ALL'))?.Next;
        if (!(error instanceof Broken) || caught === undefined) throw error;
        name = caught;
        continue;
      }
      const chosen = state.Choices?.find(
        ({ StringEquals, BooleanEquals }) => last.status === StringEquals && (BooleanEquals ?? last.done) === last.done,
      );
      name = state.Type === 'Choice' ? (chosen?.Next ?? state.Default) : state.Next;
    }
  };
  try {
    run(machine);
  } catch (error) {
    if (!(error instanceof Broken)) throw error;
  }
  return { entered, counted };
}

test('they are the states that a build goes through', () => {
  const two = walk({
    ready: [
      { stages: [0, 1], done: false },
      { stages: [2], done: false },
      { stages: [], done: true },
    ],
    stage: [{ status: 'done' }, { status: 'done' }, { status: 'done' }],
  });
  expect(two.entered).toBe(1 + 3 * 2 + 2 + 3 * 3 + 2);
  expect(two.counted).toBe(two.entered);
});

test('with a runner', () => {
  const { entered, counted } = walk({
    ready: [
      { stages: [0], done: false },
      { stages: [], done: true },
    ],
    stage: [{ status: 'runner' }, { status: 'done' }],
  });
  expect(entered).toBe(1 + 2 + 1 + (2 + 1 + 1 + 3) + 2 + 2);
  expect(counted).toBe(entered);
});

test('of a build that fails, all but the end of the stage that failed', () => {
  const planned = walk({ plan: ['fails'] });
  expect(planned.entered).toBe(3);
  expect(planned.counted).toBe(3);
  const run = walk({ ready: [{ stages: [0], done: false }], stage: [{ status: 'runner' }], start: ['fails'] });
  // StageFailed follows from no function.
  expect(run.counted).toBe(run.entered - 1);
});
