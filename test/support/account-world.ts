// A whole account in one process: the state machine's real definition, each call of a function a process of its own with nothing but what
// is stored, the routes of runners on a real port, and machines. Any write of any of them can be broken.
import { buildDefinition } from '../../infra/build-definition.ts';
import { type BuildRecord, BuildRecords } from '../../shared/build/build-records.ts';
import { errorDocument, SlipwayError } from '../../shared/errors.ts';
import { Launcher, type Machines } from '../../shared/workflow/launcher.ts';
import { endBuild, failStep, finishStep, planBuildStep, readyStages, runStageStep } from '../../shared/workflow/steps.ts';
import { type AccountHome, type AccountOptions, accountHome } from './account-home.ts';
import { breakable, type Faults, noFaults } from './faulty.ts';
import { type Fleet, openFleet } from './fleet.ts';
import { type JobHost, jobHost } from './job-host.ts';
import { type ScriptedSandbox, scriptedSandbox } from './scripted-sandbox.ts';
import { type Definition, type Execution, StateError, StateMachine, Tasks } from './state-machine.ts';

export interface AccountWorld extends AsyncDisposable {
  readonly home: AccountHome;
  readonly host: JobHost;
  readonly fleet: Fleet;
  readonly sandbox: ScriptedSandbox;
  readonly tasks: Tasks;
  readonly faults: Faults;
  /** Functions that were called: `plan`, `stage`, `finish:ready`, `launch:start`, ... */
  readonly calls: string[];
  machine(): StateMachine;
  /** Carries a build out, by the state machine. Answers what became of it. */
  build(id: string): Promise<BuildRecord & { readonly execution: string }>;
  /** Calls a function. */
  call(name: string, payload: Record<string, unknown>): Promise<unknown>;
}

export interface WorldOptions extends AccountOptions {
  /** Milliseconds after which a runner that is not heard of is given up. */
  readonly silence?: number;
  /** In place of the fleet. */
  readonly machines?: Machines;
}

const machineWrites = new Set(['start', 'stop']);

export async function accountWorld(options: WorldOptions = {}): Promise<AccountWorld> {
  const faults = options.faults ?? noFaults();
  const home = await accountHome({ ...options, faults });
  const sandbox = scriptedSandbox();
  const fleet = await openFleet({ sandbox });
  const tasks = new Tasks();
  const host = await jobHost(home, tasks.signals, faults);
  const calls: string[] = [];

  const work: Record<string, (event: Record<string, unknown>, ports: ReturnType<AccountHome['fresh']>) => Promise<unknown>> = {
    plan: ({ build }, ports) => planBuildStep(String(build), ports),
    stage: ({ build, stage }, ports) => runStageStep(String(build), Number(stage), ports),
    finish: (event, ports) => {
      const build = String(event.build);
      if (event.do === 'ready') return readyStages(build, ports);
      return event.do === 'finish' ? finishStep(build, ports) : failStep(build, event, ports);
    },
    launch: async (event, ports) => {
      const machines = breakable(options.machines ?? fleet, 'machines', machineWrites, faults, ports.process);
      const launcher = new Launcher({ ...ports, machines, key: host.key, url: host.origin });
      const [build, stage] = [String(event.build), Number(event.stage)];
      if (event.do === 'start') return launcher.start(build, stage, String(event.platform), String(event.token));
      if (event.do === 'stop') return event.stage === undefined ? launcher.stopAll(build) : launcher.stop(build, stage);
      await launcher.stopAll(build);
      return endBuild(build, { error: String(event.status) }, ports);
    },
  };
  const call = async (name: string, payload: Record<string, unknown>): Promise<unknown> => {
    calls.push(payload.do === undefined ? name : `${name}:${String(payload.do)}`);
    const ports = home.fresh();
    const died = () => new StateError('Lambda.Unknown', 'RequestId: 1 Error: Runtime exited with error: signal: killed');
    try {
      const answer = await work[name]!(payload, ports);
      if (ports.process.dead) throw died();
      // What a function answers is JSON.
      return JSON.parse(JSON.stringify(answer ?? null)) as unknown;
    } catch (error) {
      if (ports.process.dead) throw died();
      if (!(error instanceof SlipwayError)) throw new StateError('Error', String(error));
      const { code, message } = errorDocument(error);
      throw new StateError(code, JSON.stringify({ errorType: code, errorMessage: message }));
    }
  };
  const definition = buildDefinition({
    plan: 'plan',
    stage: 'stage',
    finish: 'finish',
    launch: 'launch',
    partition: 'aws',
    concurrency: 10,
    heartbeat: options.silence ?? 5000,
    runnerTime: 14_400,
  }) as unknown as Definition;
  const machine = (): StateMachine => new StateMachine(definition, call, tasks);
  return {
    home,
    host,
    fleet,
    sandbox,
    tasks,
    faults,
    calls,
    machine,
    call,
    async build(id) {
      const own = machine();
      const { status } = await own.execute({ build: id });
      await own.quiet();
      const record = await new BuildRecords({ ...home.disk, clock: Date.now }).get(id);
      return { ...record!, execution: status satisfies Execution['status'] };
    },
    async [Symbol.asyncDispose]() {
      await fleet[Symbol.asyncDispose]();
      await host[Symbol.asyncDispose]();
      await home[Symbol.asyncDispose]();
    },
  };
}
