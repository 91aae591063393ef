// Machines that execute RUN: a MicroVM image (arm64) and privileged CodeBuild projects (amd64, arm64). None of them has a role that may do
// more than write its own log; all they are given is the ticket of a job.
import { ArnFormat, Aws, RemovalPolicy, Stack, Token, Validations } from 'aws-cdk-lib';
import {
  BuildSpec,
  ComputeType,
  type IBuildImage,
  LinuxArmBuildImage,
  LinuxBuildImage,
  Project,
} from 'aws-cdk-lib/aws-codebuild';
import { type IGrantable, PolicyStatement, Role, ServicePrincipal, SessionTagsPrincipal } from 'aws-cdk-lib/aws-iam';
import { CfnMicrovmImage } from 'aws-cdk-lib/aws-lambda';
import { LogGroup, type RetentionDays } from 'aws-cdk-lib/aws-logs';
import { Asset } from 'aws-cdk-lib/aws-s3-assets';
import { Construct } from 'constructs';
import { acknowledgeWildcard } from './acknowledge.ts';
import type { Program } from './functions.ts';
import { programAsset } from './program-bundle.ts';
import { runnerBuildspec } from './runner-buildspec.ts';

/** What a RUN is executed by, for each architecture that a build may be for. */
export interface RunnersProps {
  /**
   * `microvm` where the stack's Region is known to have them (`microvmRegions`), else `codebuild`. `none`: such builds are refused at their
   * first RUN that is not in the cache.
   */
  readonly arm64?: 'microvm' | 'codebuild' | 'none';
  /** `codebuild` when absent: MicroVMs are arm64 only. */
  readonly amd64?: 'codebuild' | 'none';
  /** MiB that a MicroVM has at rest; it bursts to four times as much. 2048 when absent. */
  readonly microvmMemory?: 512 | 1024 | 2048 | 4096 | 8192;
  /** Size of the CodeBuild machines. MEDIUM when absent. */
  readonly computeType?: ComputeType;
}

/** Where MicroVMs were when they were announced. */
export const microvmRegions: readonly string[] = ['us-east-1', 'us-east-2', 'us-west-2', 'ap-northeast-1', 'eu-west-1'];

const hooksPort = 9000;
const defaultMemory = 2048;
const defaultSize = ComputeType.MEDIUM;

type Props = RunnersProps & { readonly logRetention: RetentionDays };

export class Runners extends Construct {
  readonly image: CfnMicrovmImage | undefined;
  readonly projects: Readonly<Partial<Record<'amd64' | 'arm64', Project>>>;
  /** A zip: what a MicroVM's image is built from, and what a CodeBuild machine fetches by a URL that it is given. */
  readonly program: Asset | undefined;
  /** What functions/runners.ts reads: one variable for each architecture that has a runner. */
  readonly environment: Readonly<Record<string, string>>;

  constructor(scope: Construct, id: string, props: Props) {
    super(scope, id);
    const { amd64 = 'codebuild', arm64 = this.#usualArm64() } = props;
    if (amd64 === 'none' && arm64 === 'none') {
      this.projects = {};
      this.environment = {};
      return;
    }
    const { path, options } = programAsset('runner');
    this.program = new Asset(this, 'Program', { path, ...options });
    this.image = arm64 === 'microvm' ? this.#microvm(this.program, props) : undefined;
    this.projects = {
      ...(amd64 === 'codebuild' ? { amd64: this.#project('Amd64', LinuxBuildImage.AMAZON_LINUX_2023_6, props) } : {}),
      ...(arm64 === 'codebuild'
        ? { arm64: this.#project('Arm64', LinuxArmBuildImage.AMAZON_LINUX_2023_STANDARD_4_0, props) }
        : {}),
    };
    const named = Object.entries(this.projects);
    this.environment = {
      ...(this.image === undefined
        ? {}
        : {
            SLIPWAY_RUNNER_ARM64: `microvm:${this.image.attrImageArn}`,
            SLIPWAY_MICROVM_MEMORY: String(props.microvmMemory ?? defaultMemory),
          }),
      ...Object.fromEntries(
        named.map(([architecture, { projectName }]) => [
          `SLIPWAY_RUNNER_${architecture.toUpperCase()}`,
          `codebuild:${projectName}`,
        ]),
      ),
      ...(named.length === 0
        ? {}
        : { SLIPWAY_RUNNER_PROGRAM: this.program.s3ObjectUrl, SLIPWAY_CODEBUILD_SIZE: props.computeType ?? defaultSize }),
    };
  }

  #usualArm64(): 'microvm' | 'codebuild' {
    const { region } = Stack.of(this);
    return !Token.isUnresolved(region) && microvmRegions.includes(region) ? 'microvm' : 'codebuild';
  }

  /** The right to start and stop runners, and to give them nothing. */
  grantUse(program: Program): void {
    const { image } = this;
    if (image !== undefined) {
      program.function.addToRolePolicy(
        new PolicyStatement({
          sid: 'Microvms',
          // A MicroVM has no ARN of its own: the right to end it is on its image.
          actions: ['lambda:RunMicrovm', 'lambda:TerminateMicrovm'],
          resources: [image.attrImageArn],
        }),
      );
      program.function.addToRolePolicy(
        new PolicyStatement({
          sid: 'DefaultConnectors',
          actions: ['lambda:PassNetworkConnector'],
          resources: ['HTTP_INGRESS', 'INTERNET_EGRESS'].map(connectorArn),
        }),
      );
    }
    const projects = Object.values(this.projects).map(({ projectArn }) => projectArn);
    if (projects.length === 0 || this.program === undefined) return;
    program.function.addToRolePolicy(
      new PolicyStatement({
        sid: 'CodeBuild',
        // The last two find a build that was started by a launcher that died before it could say so.
        actions: ['codebuild:StartBuild', 'codebuild:StopBuild', 'codebuild:ListBuildsForProject', 'codebuild:BatchGetBuilds'],
        resources: projects,
      }),
    );
    // To sign the URL with: the machines themselves may read nothing.
    readProgram(program.function, this.program);
  }

  #microvm(program: Asset, { microvmMemory = defaultMemory, logRetention }: Props): CfnMicrovmImage {
    const stack = Stack.of(this);
    const log = new LogGroup(this, 'ImageLog', { retention: logRetention, removalPolicy: RemovalPolicy.DESTROY });
    const role = new Role(this, 'ImageRole', {
      description: 'Builds the image of runners; no runner ever has it',
      // Lambda tags the session as well; without that right no image is built.
      assumedBy: new SessionTagsPrincipal(
        new ServicePrincipal('lambda.amazonaws.com', {
          conditions: { StringEquals: { 'aws:SourceAccount': stack.account } },
        }),
      ),
    });
    readProgram(role, program);
    log.grantWrite(role);
    // Of the least that Lambda asks for, though the group is there.
    log.grant(role, 'logs:CreateLogGroup');
    const image = new CfnMicrovmImage(this, 'Image', {
      name: `${stack.stackName}-runner`,
      description: 'Slipway: executes RUN',
      baseImageArn: `arn:${Aws.PARTITION}:lambda:${Aws.REGION}:aws:microvm-image:al2023-1`,
      baseImageVersion: '1.0',
      buildRoleArn: role.roleArn,
      codeArtifact: { uri: program.s3ObjectUrl },
      cpuConfigurations: [{ architecture: 'ARM_64' }],
      resources: [{ minimumMemoryInMiB: microvmMemory }],
      // Mounts and namespaces.
      additionalOsCapabilities: ['ALL'],
      hooks: {
        port: hooksPort,
        microvmImageHooks: {
          ready: 'ENABLED',
          readyTimeoutInSeconds: 300,
          validate: 'ENABLED',
          validateTimeoutInSeconds: 300,
        },
        // `run` only takes the job. `terminate` ends it and tells the home, so it has most of the time.
        microvmHooks: {
          run: 'ENABLED',
          runTimeoutInSeconds: 30,
          resume: 'ENABLED',
          resumeTimeoutInSeconds: 10,
          suspend: 'ENABLED',
          suspendTimeoutInSeconds: 10,
          terminate: 'ENABLED',
          terminateTimeoutInSeconds: 30,
        },
      },
      // What is billed apart is what goes above this. Frozen into the snapshot: nothing secret here.
      environmentVariables: [{ key: 'SLIPWAY_MICROVM_MEMORY', value: String(microvmMemory) }],
      egressNetworkConnectors: [connectorArn('INTERNET_EGRESS')],
      logging: { cloudWatch: { logGroup: log.logGroupName } },
    });
    return image;
  }

  #project(id: string, buildImage: IBuildImage, { computeType, logRetention }: Props): Project {
    const logGroup = new LogGroup(this, `${id}Log`, { retention: logRetention, removalPolicy: RemovalPolicy.DESTROY });
    const role = new Role(this, `${id}Role`, {
      description: 'Writes the log of one CodeBuild project, nothing else',
      assumedBy: new ServicePrincipal('codebuild.amazonaws.com'),
    });
    const project = new Project(this, id, {
      description: 'Slipway: executes RUN',
      role,
      environment: { buildImage, privileged: true, computeType: computeType ?? defaultSize },
      // The project would be given a right to write reports of tests otherwise.
      grantReportGroupPermissions: false,
      logging: { cloudWatch: { logGroup } },
      buildSpec: BuildSpec.fromObject(runnerBuildspec),
    });
    acknowledgeWildcard(
      role,
      Stack.of(this).formatArn({
        service: 'logs',
        resource: 'log-group',
        resourceName: `/aws/codebuild/${project.projectName}:*`,
        arnFormat: ArnFormat.COLON_RESOURCE_NAME,
      }),
      'The streams of the project’s own log group.',
    );
    Validations.of(project).acknowledge(
      {
        id: 'AwsSolutions-CB3',
        reason: 'RUN needs namespaces and mounts; the machine is the boundary and has nothing to give away.',
      },
      { id: 'AwsSolutions-CB4', reason: 'The project has no artifacts.' },
    );
    return project;
  }
}

/** Of AWS's own connectors, which a MicroVM has when none is named. */
const connectorArn = (name: string): string =>
  `arn:${Aws.PARTITION}:lambda:${Aws.REGION}:aws:network-connector:aws-network-connector:${name}`;

/** This one object: the bucket of assets holds what other stacks are made of. */
function readProgram(grantee: IGrantable, program: Asset): void {
  grantee.grantPrincipal.addToPrincipalPolicy(
    new PolicyStatement({
      sid: 'RunnerProgram',
      actions: ['s3:GetObject'],
      resources: [program.bucket.arnForObjects(program.s3ObjectKey)],
    }),
  );
}
