// Where RUN is executed in an account: MicroVMs for arm64 where the Region has them, CodeBuild for the rest. Both are given one thing, the
// ticket of a job.
import { CodeBuildClient, StartBuildCommand, StopBuildCommand } from '@aws-sdk/client-codebuild';
import { LambdaMicrovmsClient, RunMicrovmCommand, TerminateMicrovmCommand } from '@aws-sdk/client-lambda-microvms';
import { SlipwayError } from '../shared/errors.ts';
import type { JobTicket } from '../shared/workflow/job.ts';
import { type Environment, required } from './environment.ts';

export interface Runners {
  /** `once`: starting again by the same name starts nothing twice. Answers what `stop` takes. */
  start(platform: string, ticket: JobTicket, once: string): Promise<string>;
  /** No error when it has ended. */
  stop(handle: string): Promise<void>;
}

/** Seconds that one runner may live. A MicroVM ends itself then, whoever has forgotten it. */
const maximumSeconds = 4 * 3600;

/** Minutes that CodeBuild may let a job wait for a machine; the state machine gives a runner up that is not heard of for as long. */
const queueMinutes = 10;
/** Seconds that the URL of the program is good for: the queue, and a machine that starts slowly. */
const programSeconds = 3600;

export interface RunnerClients {
  readonly microvms: Pick<LambdaMicrovmsClient, 'send'>;
  readonly codebuild: Pick<CodeBuildClient, 'send'>;
  /** A URL by which anyone may read this object (`s3://BUCKET/KEY`) for so many seconds. */
  readonly sign: (object: string, seconds: number) => Promise<string>;
}

const awsClients = (env: Environment): RunnerClients => ({
  microvms: new LambdaMicrovmsClient({}),
  codebuild: new CodeBuildClient({}),
  async sign(object, expiresIn) {
    const [{ GetObjectCommand, S3Client }, { getSignedUrl }] = await Promise.all([
      import('@aws-sdk/client-s3'),
      import('@aws-sdk/s3-request-presigner'),
    ]);
    const { host: Bucket, pathname } = new URL(object);
    const client = new S3Client({ forcePathStyle: env.SLIPWAY_S3_PATH_STYLE === 'true' });
    return getSignedUrl(client, new GetObjectCommand({ Bucket, Key: pathname.slice(1) }), { expiresIn });
  },
});

/**
 * SLIPWAY_MICROVM_IMAGE (an ARN), SLIPWAY_CODEBUILD_AMD64 and SLIPWAY_CODEBUILD_ARM64 (names of projects); what is absent is not used.
 * CodeBuild's machines have no right to read anything: they get SLIPWAY_RUNNER_PROGRAM (`s3://...`) as a presigned URL.
 */
export function openRunners(env: Environment, clients: RunnerClients = awsClients(env)): Runners {
  return {
    async start(platform, ticket, once) {
      const [, architecture] = platform.split('/');
      if (architecture === 'arm64' && env.SLIPWAY_MICROVM_IMAGE) {
        const { microvmId } = await clients.microvms.send(
          new RunMicrovmCommand({
            imageIdentifier: env.SLIPWAY_MICROVM_IMAGE,
            ...(env.SLIPWAY_MICROVM_VERSION ? { imageVersion: env.SLIPWAY_MICROVM_VERSION } : {}),
            // No execution role: there is nothing to be had from the metadata address. No idle policy: its work is outbound.
            maximumDurationInSeconds: maximumSeconds,
            runHookPayload: JSON.stringify(ticket),
            clientToken: once,
          }),
        );
        return `microvm:${microvmId}`;
      }
      const project =
        architecture === 'arm64'
          ? env.SLIPWAY_CODEBUILD_ARM64
          : architecture === 'amd64'
            ? env.SLIPWAY_CODEBUILD_AMD64
            : undefined;
      if (!project) {
        throw new SlipwayError('SANDBOX_UNAVAILABLE', `this home has no runner for RUN on ${platform}`, {
          hint: 'linux/arm64 and linux/amd64 are run; a deployment may have left one out (the construct’s `runners`).',
        });
      }
      const program = await clients.sign(required(env, 'SLIPWAY_RUNNER_PROGRAM'), programSeconds);
      const { build } = await clients.codebuild.send(
        new StartBuildCommand({
          projectName: project,
          idempotencyToken: once,
          timeoutInMinutesOverride: maximumSeconds / 60,
          queuedTimeoutInMinutesOverride: queueMinutes,
          environmentVariablesOverride: [
            { name: 'SLIPWAY_JOB', value: JSON.stringify(ticket), type: 'PLAINTEXT' },
            { name: 'SLIPWAY_RUNNER_PROGRAM', value: program, type: 'PLAINTEXT' },
          ],
        }),
      );
      return `codebuild:${build?.id}`;
    },
    async stop(handle) {
      const [kind, ...rest] = handle.split(':');
      const id = rest.join(':');
      try {
        if (kind === 'microvm') await clients.microvms.send(new TerminateMicrovmCommand({ microvmIdentifier: id }));
        else await clients.codebuild.send(new StopBuildCommand({ id }));
      } catch (error) {
        if ((error as { readonly name?: string }).name !== 'ResourceNotFoundException') throw error;
      }
    },
  };
}
