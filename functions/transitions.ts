// State transitions that an invocation stands for: the state that made it, and those that lead on from it without a function
// (infra/build-definition.ts; a test walks through that and compares). Standard workflows are billed for each.

/** When the invocation begins. `state`: what the event says to do, or the function's name. */
export function transitionsAtStart(state: string): number {
  // Told by EventBridge, when all is over.
  if (state === 'ended') return 0;
  // After finish and fail there is Succeeded or Failed, whatever they answer.
  return state === 'finish' || state === 'fail' ? 2 : 1;
}

/** Those that its answer leads to. None when it failed: the state is tried again, or the build is given up. */
export function transitionsAfter(state: string, answer: { readonly done?: boolean; readonly status?: string }): number {
  // AllDone, and Stages where there is more.
  if (state === 'ready') return answer.done === true ? 1 : 2;
  // StageDone, and Done.
  if (state === 'stage') return answer.status === 'done' ? 2 : 1;
  return 0;
}
