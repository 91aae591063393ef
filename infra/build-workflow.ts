// Builds: the functions that carry them, the state machine that calls these in turn, the control API that starts them, and the function
// that runners speak to.
import { ArnFormat, Aws, Duration, Names, RemovalPolicy, Stack, Validations } from 'aws-cdk-lib';
import { EventField, Rule, RuleTargetInput } from 'aws-cdk-lib/aws-events';
import { LambdaFunction as FunctionTarget } from 'aws-cdk-lib/aws-events-targets';
import { PolicyStatement, Role, ServicePrincipal } from 'aws-cdk-lib/aws-iam';
import { LogGroup, type RetentionDays } from 'aws-cdk-lib/aws-logs';
import { DefinitionBody, LogLevel, StateMachine, StateMachineType } from 'aws-cdk-lib/aws-stepfunctions';
import { Construct } from 'constructs';
import { acknowledgeWildcard } from './acknowledge.ts';
import { buildDefinition } from './build-definition.ts';
import { grantArchives, grantObjects, grantRecords, Program, type ProgramProps } from './functions.ts';
import type { Runners } from './runners.ts';
import type { Storage } from './storage.ts';

/**
 * Prices of a Region, or of a contract (docs/account.md has the names). Those for us-east-1 change single list prices; those for another
 * Region replace them all, and what they leave out is counted but not priced.
 */
export interface Prices {
  /** The day they were looked up, `YYYY-MM-DD`. */
  readonly date: string;
  readonly region: string;
  /** Where they come from, for a person. */
  readonly source?: string;
  /** Dollars for one, as decimal text: `{ lambdaArm64GbSecond: '0.0000133334' }`. */
  readonly prices: Readonly<Record<string, string>>;
}

export interface BuildWorkflowProps {
  readonly storage: Storage;
  readonly runners: Runners;
  /** Variables that all functions of the home have. */
  readonly environment: Readonly<Record<string, string>>;
  readonly logRetention: RetentionDays;
  /** What the cost of builds is estimated with. List prices of us-east-1 when absent. */
  readonly prices?: Prices;
  /** Stages of one build at the same time. 10 when absent. */
  readonly concurrency?: number;
  /** MiB of the function that executes stages: layers are compressed on all the vCPUs that come with them. 3008 when absent. */
  readonly stageMemory?: number;
}

/** Seconds in which a runner has to be heard of: a CodeBuild machine may take minutes to come. */
const heartbeat = 600;
const runnerTime = 4 * 3600;
/** MiB with which a function has one vCPU. */
const vcpu = 1769;
/** MiB that a function may have in any account: a deployment that asks a new one for more is rolled back. */
const everywhere = 3008;

type Named = Pick<ProgramProps, 'folder' | 'description' | 'memory' | 'timeout' | 'disk'>;

export class BuildWorkflow extends Construct {
  readonly machine: StateMachine;
  /** Serves `/api/v1`; behind the authorizer. */
  readonly api: Program;
  /** Serves `/api/v1/jobs/*`; behind no authorizer, because each call shows its job's token. */
  readonly jobs: Program;
  readonly plan: Program;
  readonly stage: Program;
  readonly finish: Program;
  /** Starts and stops runners. */
  readonly launch: Program;

  constructor(scope: Construct, id: string, props: BuildWorkflowProps) {
    super(scope, id);
    const { storage, runners, logRetention, stageMemory = everywhere } = props;
    if (!Number.isInteger(stageMemory) || stageMemory < vcpu || stageMemory > 10_240) {
      throw new Error(`stageMemory: ${stageMemory} is not a whole number of ${vcpu} to 10240 (MiB)`);
    }
    const secret = { SLIPWAY_TOKEN_SECRET: storage.tokenSecret.secretArn };
    const program = (name: string, { more, ...named }: Named & { readonly more?: Readonly<Record<string, string>> }): Program => {
      const bucket = { SLIPWAY_BUCKET: storage.bucket.bucketName };
      const environment = { ...more, ...bucket, ...props.environment };
      const made = new Program(this, name, { ...named, logRetention, environment });
      grantRecords(made, storage);
      grantObjects(made, storage);
      return made;
    };
    const most = Duration.minutes(15);
    const answering = Duration.seconds(29);
    this.plan = program('Plan', {
      folder: 'plan',
      description: 'Slipway: plans a build',
      memory: 1769,
      timeout: most,
      more: props.prices === undefined ? {} : { SLIPWAY_PRICES: JSON.stringify(props.prices) },
    });
    grantArchives(this.plan, storage);
    this.stage = program('Stage', {
      folder: 'stage',
      description: 'Slipway: executes a stage of a build, all but its RUNs',
      memory: stageMemory,
      timeout: most,
      // Members of archives, and files copied out of other stages' layers.
      disk: 4096,
    });
    this.finish = program('Finish', { folder: 'finish', description: 'Slipway: ends a build', memory: 1769, timeout: most });
    this.launch = program('Launch', {
      folder: 'launch',
      description: 'Slipway: starts and stops runners',
      memory: 512,
      // Seconds; but where an execution was cut off, it also takes what its runners did before that into the cache.
      timeout: Duration.minutes(5),
      more: { ...secret, ...runners.environment },
    });
    this.jobs = program('Jobs', {
      folder: 'jobs',
      description: 'Slipway: what runners ask',
      memory: 1024,
      timeout: answering,
      more: secret,
    });
    runners.grantUse(this.launch);

    const definition = buildDefinition({
      plan: this.plan.function.functionArn,
      stage: this.stage.function.functionArn,
      finish: this.finish.function.functionArn,
      launch: this.launch.function.functionArn,
      partition: Aws.PARTITION,
      concurrency: props.concurrency ?? 10,
      heartbeat,
      runnerTime,
    });
    const log = new LogGroup(this, 'MachineLog', {
      // Below this name Step Functions needs no line of its own in the account's policy for logs, which is full after some machines.
      logGroupName: `/aws/vendedlogs/states/${Names.uniqueResourceName(this, { maxLength: 200, separator: '-' })}`,
      retention: logRetention,
      removalPolicy: RemovalPolicy.DESTROY,
    });
    const role = new Role(this, 'MachineRole', { assumedBy: new ServicePrincipal('states.amazonaws.com') });
    this.machine = new StateMachine(this, 'Machine', {
      stateMachineType: StateMachineType.STANDARD,
      definitionBody: DefinitionBody.fromString(Stack.of(this).toJsonString(definition)),
      role,
      logs: { destination: log, level: LogLevel.ERROR, includeExecutionData: false },
      tracingEnabled: true,
      comment: 'Slipway: one build',
    });
    role.addToPolicy(
      new PolicyStatement({
        sid: 'States',
        actions: ['lambda:InvokeFunction'],
        resources: [this.plan, this.stage, this.finish, this.launch].map((one) => one.function.functionArn),
      }),
    );
    acknowledgeWildcard(role, '*', 'Neither the delivery of logs nor X-Ray knows rights on single resources.');
    Validations.of(this.machine).acknowledge({
      id: 'AwsSolutions-SF1',
      reason: 'Errors are logged; every event of every build is kept by Step Functions itself for 90 days.',
    });
    // Not the launcher, which the machine itself depends on: it starts what the routes' function hears of.
    this.jobs.function.addToRolePolicy(
      new PolicyStatement({
        sid: 'AnswerTasks',
        actions: ['states:SendTaskSuccess', 'states:SendTaskFailure', 'states:SendTaskHeartbeat'],
        resources: [this.machine.stateMachineArn],
      }),
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
        new FunctionTarget(this.launch.function, {
          event: RuleTargetInput.fromObject({
            do: 'ended',
            build: EventField.fromPath('$.detail.name'),
            status: EventField.fromPath('$.detail.status'),
          }),
        }),
      ],
    });

    this.api = program('Api', {
      folder: 'api',
      description: 'Slipway: the control API',
      memory: 1024,
      timeout: answering,
      more: { ...secret, SLIPWAY_MACHINE: this.machine.stateMachineArn },
    });
    grantArchives(this.api, storage);
    this.api.function.addToRolePolicy(
      new PolicyStatement({
        sid: 'StartAndCancelBuilds',
        // Who cancels fails the tasks that wait for runners.
        actions: ['states:StartExecution', 'states:SendTaskFailure'],
        resources: [this.machine.stateMachineArn],
      }),
    );
    const executions = Stack.of(this).formatArn({
      service: 'states',
      resource: 'execution',
      resourceName: `${this.machine.stateMachineName}:*`,
      arnFormat: ArnFormat.COLON_RESOURCE_NAME,
    });
    this.api.function.addToRolePolicy(
      new PolicyStatement({
        sid: 'SeeBuilds',
        actions: ['states:DescribeExecution'],
        resources: [executions],
      }),
    );
    acknowledgeWildcard(this.api, executions, 'The executions of this one machine: each is named after its build.');
    for (const one of [this.launch, this.jobs, this.api]) storage.tokenSecret.grantRead(one.function);
  }

  /** Where runners reach the home, and whom its tokens are for. */
  addFront(url: string, host: string): void {
    this.launch.function.addEnvironment('SLIPWAY_URL', url);
    this.api.function.addEnvironment('SLIPWAY_URL', url);
    this.plan.function.addEnvironment('SLIPWAY_AUDIENCE', host);
    this.api.function.addEnvironment('SLIPWAY_AUDIENCE', host);
  }
}
