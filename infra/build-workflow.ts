// Builds: the functions that carry them, the state machine that calls these in turn, and the routes' function that runners speak to.
import { Aws, Duration, RemovalPolicy, Size, Stack, Validations } from 'aws-cdk-lib';
import { EventField, Rule, RuleTargetInput } from 'aws-cdk-lib/aws-events';
import { LambdaFunction as FunctionTarget } from 'aws-cdk-lib/aws-events-targets';
import { PolicyStatement, Role, ServicePrincipal } from 'aws-cdk-lib/aws-iam';
import { Architecture, Code, Function as LambdaFunction, Runtime } from 'aws-cdk-lib/aws-lambda';
import { LogGroup, type RetentionDays } from 'aws-cdk-lib/aws-logs';
import type { ISecret } from 'aws-cdk-lib/aws-secretsmanager';
import { DefinitionBody, LogLevel, StateMachine, StateMachineType } from 'aws-cdk-lib/aws-stepfunctions';
import { Construct } from 'constructs';
import { buildDefinition } from './build-definition.ts';
import { grantObjects, grantRecords, type Program } from './functions.ts';
import { bundleProgram } from './program-bundle.ts';
import type { Runners } from './runners.ts';
import type { Storage } from './storage.ts';

export interface BuildWorkflowProps {
  readonly storage: Storage;
  readonly runners: Runners;
  /** Where runners reach the home, without a slash at the end. */
  readonly url: string;
  readonly tokenSecret: ISecret;
  /** Variables that all functions of the home have. */
  readonly environment: Readonly<Record<string, string>>;
  readonly logRetention: RetentionDays;
  /** Stages of one build at the same time. 10 when absent. */
  readonly concurrency?: number;
}

/** Seconds in which a runner has to be heard of: a CodeBuild machine may take minutes to come. */
const heartbeat = 600;
const runnerTime = 4 * 3600;

interface BundledProps {
  readonly folder: string;
  readonly description: string;
  /** MiB. */
  readonly memory: number;
  readonly timeout: Duration;
  /** MiB of /tmp. */
  readonly disk?: number;
}

/** As `Program`, for programs with threads. */
class BundledProgram extends Construct {
  readonly function: LambdaFunction;

  constructor(scope: Construct, id: string, props: BundledProps & Pick<BuildWorkflowProps, 'environment' | 'logRetention'>) {
    super(scope, id);
    const logGroup = new LogGroup(this, 'Log', { retention: props.logRetention, removalPolicy: RemovalPolicy.DESTROY });
    const role = new Role(this, 'Role', { assumedBy: new ServicePrincipal('lambda.amazonaws.com') });
    this.function = new LambdaFunction(this, 'Function', {
      description: props.description,
      code: Code.fromAsset(bundleProgram(props.folder)),
      handler: 'handler.handler',
      runtime: Runtime.NODEJS_24_X,
      architecture: Architecture.ARM_64,
      memorySize: props.memory,
      timeout: props.timeout,
      ephemeralStorageSize: Size.mebibytes(props.disk ?? 512),
      role,
      logGroup,
      environment: { ...props.environment },
    });
    logGroup.grantWrite(role);
  }
}

export class BuildWorkflow extends Construct {
  readonly machine: StateMachine;
  /** Serves `/api/v1/jobs/*`; behind no authorizer, because each call shows its job's token. */
  readonly jobs: Program;
  readonly programs: Readonly<Record<'Plan' | 'Stage' | 'Finish' | 'Launch' | 'Jobs', Program>>;

  constructor(scope: Construct, id: string, props: BuildWorkflowProps) {
    super(scope, id);
    const { storage, runners, logRetention } = props;
    const environment = { ...props.environment, SLIPWAY_BUCKET: storage.bucket.bucketName };
    const program = (name: string, bundled: BundledProps, more: Readonly<Record<string, string>> = {}): Program => {
      const made = new BundledProgram(this, name, {
        ...bundled,
        logRetention,
        environment: { ...environment, ...more },
      }) as Program;
      grantRecords(made, storage);
      grantObjects(made, storage);
      return made;
    };
    const secret = { SLIPWAY_TOKEN_SECRET: props.tokenSecret.secretArn };
    const most = Duration.minutes(15);
    const plan = program('Plan', { folder: 'plan', description: 'Slipway: plans a build', memory: 1769, timeout: most });
    const stage = program('Stage', {
      folder: 'stage',
      description: 'Slipway: executes a stage of a build, all but its RUNs',
      // Four vCPUs: layers are compressed on all of them.
      memory: 7076,
      timeout: most,
      // Members of archives, and files copied out of other stages' layers.
      disk: 4096,
    });
    const finish = program('Finish', { folder: 'finish', description: 'Slipway: ends a build', memory: 1769, timeout: most });
    const launch = program(
      'Launch',
      { folder: 'launch', description: 'Slipway: starts and stops runners', memory: 512, timeout: Duration.minutes(1) },
      { ...secret, ...runners.environment, SLIPWAY_URL: props.url },
    );
    this.jobs = program(
      'Jobs',
      { folder: 'jobs', description: 'Slipway: what runners ask', memory: 1024, timeout: Duration.seconds(29) },
      secret,
    );
    for (const one of [launch, this.jobs]) props.tokenSecret.grantRead(one.function);
    runners.grantStart(launch.function);
    this.programs = { Plan: plan, Stage: stage, Finish: finish, Launch: launch, Jobs: this.jobs };

    const definition = buildDefinition({
      plan: plan.function.functionArn,
      stage: stage.function.functionArn,
      finish: finish.function.functionArn,
      launch: launch.function.functionArn,
      partition: Aws.PARTITION,
      concurrency: props.concurrency ?? 10,
      heartbeat,
      runnerTime,
    });
    const log = new LogGroup(this, 'MachineLog', { retention: logRetention, removalPolicy: RemovalPolicy.DESTROY });
    this.machine = new StateMachine(this, 'Machine', {
      stateMachineType: StateMachineType.STANDARD,
      definitionBody: DefinitionBody.fromString(Stack.of(this).toJsonString(definition)),
      logs: { destination: log, level: LogLevel.ERROR, includeExecutionData: false },
      tracingEnabled: true,
      comment: 'Slipway: one build',
    });
    const called = [plan, stage, finish, launch];
    for (const { function: callee } of called) callee.grantInvoke(this.machine);
    const answer = ['states:SendTaskSuccess', 'states:SendTaskFailure', 'states:SendTaskHeartbeat'];
    // Not the launcher, which the machine itself depends on: it starts what the routes' function hears of.
    this.jobs.function.addToRolePolicy(
      new PolicyStatement({ sid: 'AnswerTasks', actions: answer, resources: [this.machine.stateMachineArn] }),
    );
    // However an execution ends, stopped by hand and timed out included: its build ends too, and no runner outlives it.
    new Rule(this, 'Ended', {
      description: 'Slipway: an execution has ended',
      eventPattern: {
        source: ['aws.states'],
        detailType: ['Step Functions Execution Status Change'],
        detail: {
          stateMachineArn: [this.machine.stateMachineArn],
          status: ['SUCCEEDED', 'FAILED', 'TIMED_OUT', 'ABORTED'],
        },
      },
      targets: [
        new FunctionTarget(launch.function, {
          event: RuleTargetInput.fromObject({
            do: 'ended',
            build: EventField.fromPath('$.detail.name'),
            status: EventField.fromPath('$.detail.status'),
          }),
        }),
      ],
    });
    Validations.of(this.machine).acknowledge({
      id: 'AwsSolutions-SF1',
      reason: 'Errors are logged; every event of every build is kept by Step Functions itself for 90 days.',
    });
  }
}
