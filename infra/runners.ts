// Machines that execute RUN: a MicroVM image (arm64) and privileged CodeBuild projects (amd64, arm64). None of them has a role that may do
// more than write its own log; all they are given is the ticket of a job.
import { Aws, RemovalPolicy, Stack, Validations } from 'aws-cdk-lib';
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
import { bundleProgram } from './program-bundle.ts';
import { runnerBuildspec } from './runner-buildspec.ts';

export interface RunnersProps {
  /** MicroVMs where the Region has them. Off for Regions without, and for emulators: arm64 is then CodeBuild's too. */
  readonly microvms: boolean;
  /** MiB that a MicroVM has at rest; it bursts to four times as much. 2048 when absent. */
  readonly microvmMemory?: 512 | 1024 | 2048 | 4096 | 8192;
  /** Size of the CodeBuild machines. MEDIUM when absent. */
  readonly computeType?: ComputeType;
  /** False leaves CodeBuild out. */
  readonly codebuild?: boolean;
  readonly logRetention: RetentionDays;
}

const hooksPort = 9000;

export class Runners extends Construct {
  readonly image: CfnMicrovmImage | undefined;
  readonly projects: Readonly<Record<'amd64' | 'arm64', Project>> | undefined;
  /** A zip: what a MicroVM's image is built from, and what a CodeBuild machine fetches by a URL that it is given. */
  readonly program: Asset;
  /** What functions/runners.ts reads. */
  readonly environment: Readonly<Record<string, string>>;

  constructor(scope: Construct, id: string, props: RunnersProps) {
    super(scope, id);
    this.program = new Asset(this, 'Program', { path: bundleProgram('runner', ['Dockerfile']) });
    this.image = props.microvms ? this.#microvm(this.program, props) : undefined;
    this.projects =
      props.codebuild === false
        ? undefined
        : {
            amd64: this.#project('Amd64', LinuxBuildImage.AMAZON_LINUX_2023_6, props),
            arm64: this.#project('Arm64', LinuxArmBuildImage.AMAZON_LINUX_2023_STANDARD_4_0, props),
          };
    this.environment = {
      ...(this.image === undefined ? {} : { SLIPWAY_MICROVM_IMAGE: this.image.attrImageArn }),
      ...(this.projects === undefined
        ? {}
        : {
            SLIPWAY_CODEBUILD_AMD64: this.projects.amd64.projectName,
            SLIPWAY_CODEBUILD_ARM64: this.projects.arm64.projectName,
            SLIPWAY_RUNNER_PROGRAM: this.program.s3ObjectUrl,
          }),
    };
  }

  /** The right to start and stop runners, and to give them nothing. */
  grantStart(grantee: IGrantable): void {
    const { image, projects } = this;
    if (image !== undefined) {
      grantee.grantPrincipal.addToPrincipalPolicy(
        new PolicyStatement({
          sid: 'Microvms',
          // A MicroVM has no ARN of its own: the right to end it is on its image.
          actions: ['lambda:RunMicrovm', 'lambda:TerminateMicrovm'],
          resources: [image.attrImageArn],
        }),
      );
      grantee.grantPrincipal.addToPrincipalPolicy(
        new PolicyStatement({
          sid: 'DefaultConnectors',
          actions: ['lambda:PassNetworkConnector'],
          resources: [`arn:${Aws.PARTITION}:lambda:${Aws.REGION}:aws:network-connector:aws-network-connector:*`],
        }),
      );
    }
    if (projects !== undefined) {
      grantee.grantPrincipal.addToPrincipalPolicy(
        new PolicyStatement({
          sid: 'CodeBuild',
          // The last two find a build that was started by a launcher that died before it could say so.
          actions: ['codebuild:StartBuild', 'codebuild:StopBuild', 'codebuild:ListBuildsForProject', 'codebuild:BatchGetBuilds'],
          resources: [projects.amd64.projectArn, projects.arm64.projectArn],
        }),
      );
      // To sign the URL with: the machines themselves may read nothing.
      readProgram(grantee, this.program);
    }
  }

  #microvm(program: Asset, { microvmMemory = 2048, logRetention }: RunnersProps): CfnMicrovmImage {
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
      environmentVariables: [],
      egressNetworkConnectors: [
        `arn:${Aws.PARTITION}:lambda:${Aws.REGION}:aws:network-connector:aws-network-connector:INTERNET_EGRESS`,
      ],
      logging: { cloudWatch: { logGroup: log.logGroupName } },
    });
    return image;
  }

  #project(id: string, buildImage: IBuildImage, { computeType, logRetention }: RunnersProps): Project {
    const logGroup = new LogGroup(this, `${id}Log`, { retention: logRetention, removalPolicy: RemovalPolicy.DESTROY });
    const role = new Role(this, `${id}Role`, {
      description: 'Writes the log of one CodeBuild project, nothing else',
      assumedBy: new ServicePrincipal('codebuild.amazonaws.com'),
    });
    const project = new Project(this, id, {
      description: 'Slipway: executes RUN',
      role,
      environment: { buildImage, privileged: true, computeType: computeType ?? ComputeType.MEDIUM },
      // The project would be given a right to write reports of tests otherwise.
      grantReportGroupPermissions: false,
      logging: { cloudWatch: { logGroup } },
      buildSpec: BuildSpec.fromObject(runnerBuildspec),
    });
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
