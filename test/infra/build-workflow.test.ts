import { App, RemovalPolicy, Stack } from 'aws-cdk-lib';
import { Match, Template } from 'aws-cdk-lib/assertions';
import { RetentionDays } from 'aws-cdk-lib/aws-logs';
import { beforeAll, describe, expect, test } from 'vitest';
import { buildDefinition } from '../../infra/build-definition.ts';
import { BuildWorkflow } from '../../infra/build-workflow.ts';
import { Runners } from '../../infra/runners.ts';
import { Storage } from '../../infra/storage.ts';

interface State {
  readonly Type: string;
  readonly Next?: string;
  readonly Default?: string;
  readonly Choices?: readonly { readonly Next: string }[];
  readonly Catch?: readonly { readonly Next: string; readonly ErrorEquals: readonly string[] }[];
  readonly Retry?: readonly { readonly ErrorEquals: readonly string[] }[];
  readonly ItemProcessor?: Machine;
}
interface Machine {
  readonly StartAt: string;
  readonly States: Readonly<Record<string, State>>;
}

const machine = buildDefinition({
  plan: 'arn:plan',
  stage: 'arn:stage',
  finish: 'arn:finish',
  launch: 'arn:launch',
  partition: 'aws',
  concurrency: 10,
  heartbeat: 600,
  runnerTime: 14_400,
}) as unknown as Machine;
const inner = machine.States.Stages!.ItemProcessor!;

const leadsTo = ({ Next, Default, Choices = [], Catch = [] }: State): readonly string[] =>
  [Next, Default, ...[...Choices, ...Catch].map((way) => way.Next)].filter((name) => name !== undefined);

describe('the state machine', () => {
  test.each([
    ['build', machine],
    ['stage', inner],
  ] as const)('of a %s names only states that are there, and all of them are reached', (_, { StartAt, States }) => {
    const seen = new Set<string>();
    const todo = [StartAt];
    for (let name = todo.pop(); name !== undefined; name = todo.pop()) {
      if (seen.has(name)) continue;
      seen.add(name);
      const state = States[name];
      expect(state, name).toBeDefined();
      const next = leadsTo(state!);
      expect(next.length > 0 || ['Succeed', 'Fail'].includes(state!.Type), `${name} ends somewhere`).toBe(true);
      todo.push(...next);
    }
    expect([...seen].sort()).toEqual(Object.keys(States).sort());
  });

  test('sends whatever ends badly to the state that says why', () => {
    for (const [name, state] of Object.entries(machine.States)) {
      if (!['Task', 'Map'].includes(state.Type) || name === 'Fail') continue;
      const next = state.Type === 'Map' ? 'StopRunners' : 'Fail';
      expect(state.Catch?.at(-1), name).toMatchObject({ ErrorEquals: ['States.ALL'], Next: next });
    }
  });

  test('never tries a step of the user’s again', () => {
    const tasks = [...Object.values(machine.States), ...Object.values(inner.States)].filter((s) => s.Type === 'Task');
    expect(tasks.length).toBeGreaterThan(6);
    for (const { Retry } of tasks) {
      const errors = (Retry ?? []).flatMap((one) => one.ErrorEquals);
      expect(errors).toContain('Lambda.TooManyRequestsException');
      expect(errors.filter((error) => /STEP_FAILED|DOCKERFILE|CONTEXT|CANCELLED|SANDBOX/.test(error))).toEqual([]);
    }
  });

  test('stops every runner it started', () => {
    const { Runner } = inner.States;
    expect(Runner).toMatchObject({ HeartbeatSeconds: 600, TimeoutSeconds: 14_400, Next: 'StopRunner' });
    expect(Runner!.Catch!.map((c) => c.Next).sort()).toEqual(['StopAfterFailure', 'StopRunner']);
    // Whether or not that works, the way is the same.
    for (const [states, name, next] of [
      [inner.States, 'StopRunner', 'Stage'],
      [inner.States, 'StopAfterFailure', 'StageFailed'],
      [machine.States, 'StopRunners', 'Fail'],
    ] as const) {
      expect(states[name]).toMatchObject({ Next: next, Catch: [{ ErrorEquals: ['States.ALL'], Next: next }] });
    }
  });
});

describe('the stack', () => {
  let template: Template;
  beforeAll(() => {
    const stack = new Stack(new App(), 'test');
    const storage = new Storage(stack, 'Storage', { removalPolicy: RemovalPolicy.RETAIN, abandonedUploadDays: 7 });
    const logRetention = RetentionDays.ONE_MONTH;
    const runners = new Runners(stack, 'Runners', { microvms: true, logRetention });
    new BuildWorkflow(stack, 'Builds', {
      storage,
      runners,
      url: 'https://slipway.test',
      tokenSecret: storage.tokenSecret,
      environment: { SLIPWAY_TABLE: storage.table.tableName },
      logRetention,
    });
    template = Template.fromStack(stack);
  }, 600_000);

  interface Statement {
    readonly Action: string | readonly string[];
    readonly Resource: unknown;
  }
  const policies = (): readonly (readonly [string, readonly Statement[]])[] =>
    Object.entries(template.findResources('AWS::IAM::Policy')).map(([name, policy]) => [
      name,
      (policy as { Properties: { PolicyDocument: { Statement: Statement[] } } }).Properties.PolicyDocument.Statement,
    ]);

  test('gives runners no role but one for their own log', () => {
    template.hasResourceProperties('AWS::Lambda::MicrovmImage', {
      AdditionalOsCapabilities: ['ALL'],
      CpuConfigurations: [{ Architecture: 'ARM_64' }],
      EnvironmentVariables: [],
      Hooks: {
        Port: 9000,
        MicrovmHooks: Match.objectLike({ Run: 'ENABLED', Resume: 'ENABLED', Suspend: 'ENABLED', Terminate: 'ENABLED' }),
        MicrovmImageHooks: Match.objectLike({ Ready: 'ENABLED', Validate: 'ENABLED' }),
      },
    });
    const sourceless = {
      Source: Match.objectLike({ Type: 'NO_SOURCE' }),
      Environment: Match.objectLike({ PrivilegedMode: true }),
    };
    template.resourcePropertiesCountIs('AWS::CodeBuild::Project', sourceless, 2);
    const own = policies().filter(([name]) => name.startsWith('Runners'));
    expect(own).toHaveLength(3);
    const harmless = /^logs:(CreateLogGroup|CreateLogStream|PutLogEvents)$/;
    for (const [name, list] of own) {
      const others = list.flatMap(({ Action }) => Action).filter((action) => !harmless.test(action));
      expect([name, others]).toEqual([name, name.startsWith('RunnersImage') ? ['s3:GetObject'] : []]);
    }
    // The zip of the program and nothing beside it: to build the image from, and to sign a URL for.
    const reads = policies()
      .flatMap(([, list]) => list)
      .filter(({ Action }) => Action === 's3:GetObject');
    expect(reads).toHaveLength(2);
    for (const { Resource } of reads) expect(JSON.stringify(Resource)).not.toContain('*');
    // Neither has a role to give to what it runs.
    for (const [, role] of Object.entries(template.findResources('AWS::IAM::Role'))) {
      const { ManagedPolicyArns } = (role as { Properties: { ManagedPolicyArns?: unknown } }).Properties;
      expect(ManagedPolicyArns).toBeUndefined();
    }
  });

  test('has a Standard machine that keeps no data in its log, and five functions', () => {
    template.hasResourceProperties('AWS::StepFunctions::StateMachine', {
      StateMachineType: 'STANDARD',
      LoggingConfiguration: Match.objectLike({ Level: 'ERROR', IncludeExecutionData: false }),
    });
    const functions = Object.keys(template.findResources('AWS::Lambda::Function')).filter((name) => name.startsWith('Builds'));
    expect(functions).toHaveLength(5);
  });

  test('lets only the routes’ function answer tasks, and only the launcher start runners', () => {
    const who = (action: string): string[] =>
      policies()
        .filter(([, list]) => list.some(({ Action }) => [Action].flat().includes(action)))
        .map(([name]) => name.replace(/Role.*/, ''));
    expect(who('states:SendTaskSuccess')).toEqual(['BuildsJobs']);
    expect(who('codebuild:StartBuild')).toEqual(['BuildsLaunch']);
    expect(who('lambda:RunMicrovm')).toEqual(['BuildsLaunch']);
  });
});
