import { App, Stack } from 'aws-cdk-lib';
import { Match, Template } from 'aws-cdk-lib/assertions';
import { ComputeType } from 'aws-cdk-lib/aws-codebuild';
import { beforeAll, describe, expect, test } from 'vitest';
import { buildDefinition } from '../../infra/build-definition.ts';
import { Slipway, type SlipwayProps } from '../../infra/slipway.ts';
import { pricesInForce } from '../../shared/cost/prices.ts';

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
      // What `isPassing` knows: of these no reason is kept for the build's end.
      expect(errors).toEqual(expect.arrayContaining(['STORE', 'STORE_CONFLICT', 'TOO_MANY_REQUESTS']));
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

const made = (props: SlipwayProps = {}, region = 'us-east-1'): Template => {
  const app = new App({ context: { 'aws:cdk:bundling-stacks': [] } });
  const stack = new Stack(app, 'test', { env: { region, account: '123456789012' } });
  new Slipway(stack, 'Slipway', props);
  return Template.fromStack(stack);
};

interface Statement {
  readonly Sid?: string;
  readonly Action: string | readonly string[];
  readonly Resource: unknown;
}

const policies = (template: Template): readonly (readonly [string, readonly Statement[]])[] =>
  Object.entries(template.findResources('AWS::IAM::Policy')).map(([name, policy]) => [
    name.replace(/^Slipway/, '').replace(/(Default)?Policy[0-9A-F]+$/, ''),
    (policy as { Properties: { PolicyDocument: { Statement: Statement[] } } }).Properties.PolicyDocument.Statement,
  ]);

/** Whose role may do this. */
const who = (template: Template, action: string): string[] =>
  policies(template)
    .filter(([, list]) => list.some(({ Action }) => [Action].flat().includes(action)))
    .map(([name]) => name.replace(/Role$/, ''))
    .sort();

const variables = (template: Template, description: string): Readonly<Record<string, unknown>> => {
  const found = template.findResources('AWS::Lambda::Function', { Properties: { Description: `Slipway: ${description}` } });
  expect(Object.keys(found), description).toHaveLength(1);
  return Object.values(found)[0]?.Properties.Environment.Variables;
};

describe('the stack', () => {
  let template: Template;
  beforeAll(() => {
    template = made();
  });

  test('gives runners no role but one for their own log', () => {
    template.hasResourceProperties('AWS::Lambda::MicrovmImage', {
      AdditionalOsCapabilities: ['ALL'],
      CpuConfigurations: [{ Architecture: 'ARM_64' }],
      EnvironmentVariables: [{ Key: 'SLIPWAY_MICROVM_MEMORY', Value: '2048' }],
      Hooks: {
        Port: 9000,
        MicrovmHooks: Match.objectLike({ Run: 'ENABLED', Resume: 'ENABLED', Suspend: 'ENABLED', Terminate: 'ENABLED' }),
        MicrovmImageHooks: Match.objectLike({ Ready: 'ENABLED', Validate: 'ENABLED' }),
      },
    });
    const both = made({ runners: { arm64: 'codebuild' } });
    const sourceless = {
      Source: Match.objectLike({ Type: 'NO_SOURCE' }),
      Environment: Match.objectLike({ PrivilegedMode: true }),
    };
    both.resourcePropertiesCountIs('AWS::CodeBuild::Project', sourceless, 2);
    const own = [...policies(template), ...policies(both)].filter(([name]) => name.startsWith('Runners'));
    expect(own.map(([name]) => name).sort()).toEqual([
      'RunnersAmd64Role',
      'RunnersAmd64Role',
      'RunnersArm64Role',
      'RunnersImageRole',
    ]);
    const harmless = /^logs:(CreateLogGroup|CreateLogStream|PutLogEvents)$/;
    for (const [name, list] of own) {
      const others = list.flatMap(({ Action }) => Action).filter((action) => !harmless.test(action));
      expect([name, others]).toEqual([name, name.startsWith('RunnersImage') ? ['s3:GetObject'] : []]);
    }
    // What Lambda's guide calls the least for who builds an image, the making of its log among it.
    const image = own.find(([name]) => name === 'RunnersImageRole')?.[1].flatMap(({ Action }) => Action);
    expect(image?.sort()).toEqual(['logs:CreateLogGroup', 'logs:CreateLogStream', 'logs:PutLogEvents', 's3:GetObject']);
    // The zip of the program and nothing beside it: to build the image from, and to sign a URL for.
    const reads = policies(template)
      .flatMap(([, list]) => list)
      .filter(({ Action, Sid }) => Action === 's3:GetObject' && Sid !== 'Archives');
    expect(reads).toHaveLength(2);
    for (const { Resource } of reads) expect(JSON.stringify(Resource)).not.toContain('*');
    // What others put into the bucket is read by who starts and who plans builds, below its folder.
    const archives = policies(template).flatMap(([name, list]) =>
      list.filter(({ Sid }) => Sid === 'Archives').map(({ Resource }) => [name, /contexts\/\*/.test(JSON.stringify(Resource))]),
    );
    expect(archives.map(([name, inside]) => [/(Api|Plan)Role/.exec(String(name))?.[1], inside]).toSorted()).toEqual([
      ['Api', true],
      ['Plan', true],
    ]);
    // Neither has a role to give to what it runs.
    for (const [name, role] of Object.entries(template.findResources('AWS::IAM::Role'))) {
      if (!name.startsWith('SlipwayRunners')) continue;
      const { ManagedPolicyArns } = (role as { Properties: { ManagedPolicyArns?: unknown } }).Properties;
      expect(ManagedPolicyArns).toBeUndefined();
    }
  });

  test('has a Standard machine that keeps no data in its log, and starts only the four functions of its states', () => {
    template.hasResourceProperties('AWS::StepFunctions::StateMachine', {
      StateMachineType: 'STANDARD',
      LoggingConfiguration: Match.objectLike({ Level: 'ERROR', IncludeExecutionData: false }),
    });
    const machine = policies(template).find(([name]) => name === 'BuildsMachineRole')?.[1] ?? [];
    const invokes = machine.filter(({ Action }) => Action === 'lambda:InvokeFunction');
    expect(invokes).toHaveLength(1);
    expect(
      JSON.stringify(invokes[0]?.Resource)
        .match(/Slipway\w+/g)
        ?.map((id) => id.replace(/Function\w+$/, '')),
    ).toEqual(['SlipwayBuildsPlan', 'SlipwayBuildsStage', 'SlipwayBuildsFinish', 'SlipwayBuildsLaunch']);
  });

  test('lets each function do what is its work: answer tasks, start runners, start builds, end both', () => {
    const both = made({ runners: { arm64: 'codebuild' } });
    expect(who(template, 'states:SendTaskSuccess')).toEqual(['BuildsJobs']);
    expect(who(template, 'codebuild:StartBuild')).toEqual(['BuildsLaunch']);
    expect(who(template, 'lambda:RunMicrovm')).toEqual(['BuildsLaunch']);
    expect(who(template, 'codebuild:StopBuild')).toEqual(['BuildsLaunch']);
    expect(who(template, 'lambda:TerminateMicrovm')).toEqual(['BuildsLaunch']);
    expect(who(template, 'states:StartExecution')).toEqual(['BuildsApi']);
    expect(who(template, 'states:DescribeExecution')).toEqual(['BuildsApi']);
    // Who cancels a build fails the tasks that wait for its runners.
    expect(who(template, 'states:SendTaskFailure')).toEqual(['BuildsApi', 'BuildsJobs']);
    expect(who(both, 'lambda:RunMicrovm')).toEqual([]);
    expect(who(both, 'lambda:TerminateMicrovm')).toEqual([]);
    for (const action of ['iam:PassRole', 'sts:AssumeRole', 'lambda:CreateMicrovmShellAuthToken']) {
      expect(who(template, action), action).toEqual([]);
    }
  });

  test('tells the functions what builds are priced by', () => {
    expect(variables(template, 'plans a build')).not.toHaveProperty('SLIPWAY_PRICES');
    expect(variables(template, 'starts and stops runners')).toMatchObject({
      SLIPWAY_MICROVM_MEMORY: '2048',
      SLIPWAY_CODEBUILD_SIZE: 'BUILD_GENERAL1_MEDIUM',
    });
    template.hasResourceProperties('AWS::Lambda::MicrovmImage', { Resources: [{ MinimumMemoryInMiB: 2048 }] });
    template.hasResourceProperties('AWS::CodeBuild::Project', {
      Environment: Match.objectLike({ ComputeType: 'BUILD_GENERAL1_MEDIUM' }),
    });
    const prices = { date: '2027-01-02', region: 'eu-west-1', source: 'ours', prices: { s3Read: '0.0000004' } };
    const own = made({ prices, runners: { microvmMemory: 4096, computeType: ComputeType.SMALL } });
    const { SLIPWAY_PRICES } = variables(own, 'plans a build');
    expect(pricesInForce(SLIPWAY_PRICES as string)).toEqual(prices);
    expect(variables(own, 'starts and stops runners')).toMatchObject({
      SLIPWAY_MICROVM_MEMORY: '4096',
      SLIPWAY_CODEBUILD_SIZE: 'BUILD_GENERAL1_SMALL',
    });
  });

  test('logs the machine where Step Functions needs no line of the account’s policy for logs, which holds 5120 characters', () => {
    const [log] = Object.keys(
      template.findResources('AWS::Logs::LogGroup', {
        Properties: { LogGroupName: Match.stringLikeRegexp('^/aws/vendedlogs/states/test-Slipway'), RetentionInDays: 30 },
      }),
    );
    const LogGroupArn = { 'Fn::GetAtt': [log, 'Arn'] };
    template.hasResourceProperties('AWS::StepFunctions::StateMachine', {
      LoggingConfiguration: Match.objectLike({ Destinations: [{ CloudWatchLogsLogGroup: { LogGroupArn } }] }),
    });
  });

  test('fits into the 3008 MB that a new account gives a function, unless it is told to take more', () => {
    const most = (of: Template): number =>
      Math.max(...Object.values(of.findResources('AWS::Lambda::Function')).map(({ Properties }) => Properties.MemorySize));
    expect(most(template)).toBe(3008);
    expect(most(made({ stageMemory: 7076 }))).toBe(7076);
    for (const stageMemory of [1024, 10_241, 3008.5, Number.NaN])
      expect(() => made({ stageMemory }), String(stageMemory)).toThrow('stageMemory');
  });

  test('keeps what a build does away from the accounts of people', () => {
    for (const [name, list] of policies(template)) {
      if (!/^Builds\w+Role$/.test(name) || name === 'BuildsMachineRole') continue;
      expect(list, name).toContainEqual(
        expect.objectContaining({
          Effect: 'Deny',
          Condition: { 'ForAnyValue:StringEquals': { 'dynamodb:LeadingKeys': ['accounts'] } },
        }),
      );
    }
  });

  test.each<[string, SlipwayProps | undefined, string, RegExp | undefined, RegExp | undefined]>([
    ['a Region with MicroVMs', undefined, 'us-east-1', /^microvm:/, /^codebuild:/],
    ['another Region', undefined, 'eu-central-1', /^codebuild:/, /^codebuild:/],
    ['MicroVMs asked for where we know of none', { runners: { arm64: 'microvm' } }, 'eu-central-1', /^microvm:/, /^codebuild:/],
    ['CodeBuild alone', { runners: { arm64: 'codebuild' } }, 'us-east-1', /^codebuild:/, /^codebuild:/],
    ['arm64 alone', { runners: { amd64: 'none' } }, 'us-east-1', /^microvm:/, undefined],
    ['no RUN at all', { runners: { arm64: 'none', amd64: 'none' } }, 'us-east-1', undefined, undefined],
  ])('chooses runners: %s', (_, props, region, arm64, amd64) => {
    const one = made(props, region);
    const { SLIPWAY_RUNNER_ARM64, SLIPWAY_RUNNER_AMD64, ...others } = variables(one, 'starts and stops runners');
    const text = (value: unknown): string =>
      value === undefined ? 'none' : ((value as { 'Fn::Join': [string, string[]] })['Fn::Join'][1][0] ?? '');
    expect(text(SLIPWAY_RUNNER_ARM64)).toMatch(arm64 ?? /^none$/);
    expect(text(SLIPWAY_RUNNER_AMD64)).toMatch(amd64 ?? /^none$/);
    expect(Object.keys(others)).toContain('SLIPWAY_URL');
    const kinds = [arm64, amd64].map(String);
    one.resourceCountIs('AWS::Lambda::MicrovmImage', kinds.filter((kind) => kind.includes('microvm')).length);
    one.resourceCountIs('AWS::CodeBuild::Project', kinds.filter((kind) => kind.includes('codebuild')).length);
  });
});
