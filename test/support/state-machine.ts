// Executes a definition in Amazon States Language as Step Functions does, as far as the definition of a build needs it: lambda:invoke with
// and without a task token, Choice, Map (one branch that fails cuts the others off), Retry, Catch, heartbeats. Waits are left out, and a
// second of a heartbeat is a millisecond: of those in which this process was awake, so that one that was held up hears nobody die.
import { setTimeout as sleep } from 'node:timers/promises';

interface Retrier {
  readonly ErrorEquals: readonly string[];
  readonly MaxAttempts?: number;
}

interface State {
  readonly Type: string;
  readonly Next?: string;
  readonly Default?: string;
  readonly Choices?: readonly { Variable: string; BooleanEquals?: boolean; StringEquals?: string; Next: string }[];
  readonly Resource?: string;
  readonly Parameters?: { readonly FunctionName: string; readonly Payload: Record<string, unknown> };
  readonly ResultSelector?: Record<string, unknown>;
  readonly ResultPath?: string | null;
  readonly Retry?: readonly Retrier[];
  readonly Catch?: readonly { ErrorEquals: readonly string[]; Next: string; ResultPath?: string | null }[];
  readonly HeartbeatSeconds?: number;
  readonly ItemsPath?: string;
  readonly ItemSelector?: Record<string, unknown>;
  readonly ItemProcessor?: Definition;
  readonly ErrorPath?: string;
  readonly CausePath?: string;
}

export interface Definition {
  readonly StartAt: string;
  readonly States: Readonly<Record<string, State>>;
}

/** What a state failed with. */
export class StateError extends Error {
  readonly error: string;

  constructor(error: string, cause: string) {
    super(cause);
    this.error = error;
  }
}

export type Call = (name: string, payload: Record<string, unknown>) => Promise<unknown>;

export type Execution =
  | { readonly status: 'SUCCEEDED' }
  | { readonly status: 'FAILED'; readonly error: string; readonly cause: string };

type Data = Record<string, unknown>;

interface Waiter {
  /** Milliseconds without a sign of life. */
  silent: number;
  end: ((result: { readonly error?: StateError }) => void) | undefined;
}

const tick = 5;

/** Task tokens, and who waits for them. */
export class Tasks {
  readonly #waiters = new Map<string, Waiter>();
  readonly #calls: Promise<unknown>[] = [];
  #count = 0;

  /** The tokens that are waited for now. */
  get waiting(): readonly string[] {
    return [...this.#waiters.keys()];
  }

  readonly signals = {
    alive: async (token: string): Promise<boolean> => {
      const waiter = this.#waiters.get(token);
      if (waiter !== undefined) waiter.silent = 0;
      return waiter !== undefined;
    },
    done: async (token: string): Promise<void> => this.#waiters.get(token)?.end?.({}),
    failed: async (token: string, error: string, cause: string): Promise<void> =>
      this.#waiters.get(token)?.end?.({ error: new StateError(error, cause) }),
  };

  /** Calls with a token, and waits until it is answered or not heard of for so many milliseconds. */
  async run(call: (token: string) => Promise<unknown>, silence: number, signal: AbortSignal): Promise<void> {
    this.#count += 1;
    const token = `task-${this.#count}`;
    const { promise, resolve } = Promise.withResolvers<{ readonly error?: StateError }>();
    const waiter: Waiter = { silent: 0, end: resolve };
    this.#waiters.set(token, waiter);
    const watch = setInterval(() => {
      if (signal.aborted) resolve({});
      waiter.silent += tick;
      if (waiter.silent > silence) resolve({ error: new StateError('States.HeartbeatTimeout', '') });
    }, tick);
    try {
      // What the call answers is not what is waited for; that it fails is.
      const calling = call(token).catch((error: unknown) => resolve({ error: asStateError(error) }));
      this.#calls.push(calling);
      const { error } = await promise;
      if (error !== undefined) throw error;
    } finally {
      clearInterval(watch);
      this.#waiters.delete(token);
    }
  }

  /** As when executions are stopped: nobody waits for any task any more, and none goes on. */
  forget(): void {
    this.#waiters.clear();
  }

  /** Resolves when calls whose tasks were given up have come to their ends, too. */
  async quiet(): Promise<void> {
    await Promise.all(this.#calls);
  }
}

const asStateError = (error: unknown): StateError =>
  error instanceof StateError ? error : new StateError('Lambda.Unknown', String(error));

export class StateMachine {
  readonly tasks: Tasks;
  readonly #definition: Definition;
  readonly #call: Call;
  readonly #loose: Promise<void>[] = [];
  /** Names of states, as they were entered. */
  readonly entered: string[] = [];

  constructor(definition: Definition, call: Call, tasks = new Tasks()) {
    this.#definition = definition;
    this.#call = call;
    this.tasks = tasks;
  }

  async execute(input: Data): Promise<Execution> {
    try {
      await this.#run(this.#definition, input, {}, new AbortController().signal);
      return { status: 'SUCCEEDED' };
    } catch (error) {
      const { error: name, message } = asStateError(error);
      return { status: 'FAILED', error: name, cause: message };
    }
  }

  async #run({ StartAt, States }: Definition, input: Data, context: Data, signal: AbortSignal): Promise<void> {
    let data = input;
    for (let name = StartAt; ; ) {
      if (signal.aborted) throw new StateError('aborted', 'another branch has failed');
      if (this.entered.push(name) > 2000) throw new Error('the machine does not come to an end');
      const state = States[name] as State;
      if (state.Type === 'Succeed') return;
      if (state.Type === 'Fail') throw new StateError(String(at(data, state.ErrorPath)), String(at(data, state.CausePath)));
      if (state.Type === 'Choice') {
        name = choose(state, data);
        continue;
      }
      try {
        const result = await this.#retried(state, data, context, signal);
        const selected = state.ResultSelector === undefined ? result : fill(state.ResultSelector, result as Data, context);
        data = put(data, state.ResultPath, selected);
        name = state.Next as string;
      } catch (error) {
        const failed = asStateError(error);
        const caught = signal.aborted ? undefined : state.Catch?.find(({ ErrorEquals }) => matches(ErrorEquals, failed.error));
        if (caught === undefined) throw failed;
        data = put(data, caught.ResultPath, { Error: failed.error, Cause: failed.message });
        name = caught.Next;
      }
    }
  }

  async #retried(state: State, data: Data, context: Data, signal: AbortSignal): Promise<unknown> {
    const used = new Map<Retrier, number>();
    for (;;) {
      try {
        return state.Type === 'Map' ? await this.#map(state, data, signal) : await this.#task(state, data, context, signal);
      } catch (error) {
        const failed = asStateError(error);
        const retrier = state.Retry?.find(({ ErrorEquals }) => matches(ErrorEquals, failed.error));
        const times = retrier === undefined ? 0 : (used.get(retrier) ?? 0);
        if (retrier === undefined || times >= (retrier.MaxAttempts ?? 3) || signal.aborted) throw failed;
        used.set(retrier, times + 1);
        await sleep(1);
      }
    }
  }

  async #task(state: State, data: Data, context: Data, signal: AbortSignal): Promise<unknown> {
    const { FunctionName = '', Payload = {} } = state.Parameters ?? {};
    if (!state.Resource?.endsWith('.waitForTaskToken')) {
      return { Payload: await this.#call(FunctionName, fill(Payload, data, context)) };
    }
    const call = (token: string) => this.#call(FunctionName, fill(Payload, data, { ...context, Task: { Token: token } }));
    await this.tasks.run(call, state.HeartbeatSeconds ?? 60_000, signal);
    return {};
  }

  async #map(state: State, data: Data, outer: AbortSignal): Promise<unknown> {
    const items = at(data, state.ItemsPath) as readonly unknown[];
    const stop = new AbortController();
    const signal = AbortSignal.any([outer, stop.signal]);
    const branches = items.map(async (Value) => {
      const context = { Map: { Item: { Value } } };
      const input = fill(state.ItemSelector ?? {}, data, context);
      try {
        await this.#run(state.ItemProcessor as Definition, input, context, signal);
      } catch (error) {
        stop.abort();
        throw error;
      }
    });
    this.#loose.push(...branches);
    // The first failure is the state's, at once: nobody waits for the others.
    await Promise.all(branches);
    return [];
  }

  /** Resolves when branches that were cut off have come to their ends, too. */
  async quiet(): Promise<void> {
    await Promise.allSettled(this.#loose);
    await this.tasks.quiet();
  }
}

const matches = (names: readonly string[], error: string): boolean =>
  names.includes(error) ||
  names.includes('States.ALL') ||
  (names.includes('States.Timeout') && error === 'States.HeartbeatTimeout');

function at(data: unknown, path = '$'): unknown {
  let found = data;
  for (const part of path.replace(/^\$\.?/, '').split('.')) {
    if (part === '') continue;
    if (typeof found !== 'object' || found === null || !(part in found)) throw new StateError('States.Runtime', `no ${path}`);
    found = (found as Data)[part];
  }
  return found;
}

/** A payload template: `name.$` is a path into the data, or with `$$` into the context. */
function fill(template: Data, data: Data, context: Data): Data {
  const filled: Data = {};
  for (const [name, value] of Object.entries(template)) {
    if (!name.endsWith('.$')) filled[name] = value;
    else {
      const path = String(value);
      filled[name.slice(0, -2)] = path.startsWith('$$') ? at(context, path.slice(1)) : at(data, path);
    }
  }
  return filled;
}

/** Only `$.name` and null are in use. */
function put(data: Data, path: string | null | undefined, result: unknown): Data {
  if (path === null) return data;
  if (path === undefined) return result as Data;
  return { ...data, [path.slice(2)]: result };
}

function choose({ Choices = [], Default }: State, data: Data): string {
  for (const { Variable, BooleanEquals, StringEquals, Next } of Choices) {
    const value = at(data, Variable);
    if (value === BooleanEquals || value === StringEquals) return Next;
  }
  return Default as string;
}
