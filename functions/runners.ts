// Where RUN is executed in an account: MicroVMs for arm64 where the Region has them, CodeBuild for the rest. Both are given one thing, the
// ticket of a job.
import { CodeBuildClient, StartBuildCommand, StopBuildCommand } from '@aws-sdk/client-codebuild';
import { LambdaMicrovmsClient, RunMicrovmCommand, TerminateMicrovmCommand } from '@aws-sdk/client-lambda-microvms';
import { SlipwayError } from '../shared/errors.ts';
import type { JobTicket } from '../shared/workflow/job.ts';
import type { Environment } from './environment.ts';

export interface Runners {
  /** `once`: starting again by the same name starts nothing twice. Answers what `stop` takes. */
  start(platform: string, ticket: JobTicket, once: string): Promise<string>;
  /** No error when it has ended. */
  stop(handle: string): Promise<void>;
}

/** Seconds that one runner may live. A MicroVM ends itself then, whoever has forgotten it. */
const maximumSeconds = 4 * 3600;

export interface RunnerClients {
  readonly microvms: Pick<LambdaMicrovmsClient, 'send'>;
  readonly codebuild: Pick<CodeBuildClient, 'send'>;
}

/** SLIPWAY_MICROVM_IMAGE (an ARN), SLIPWAY_CODEBUILD_AMD64 and SLIPWAY_CODEBUILD_ARM64 (names of projects); what is absent is not used. */
export function openRunners(
  env: Environment,
  clients: RunnerClients = { microvms: new LambdaMicrovmsClient({}), codebuild: new CodeBuildClient({}) },
): Runners {
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
      const { build } = await clients.codebuild.send(
        new StartBuildCommand({
          projectName: project,
          idempotencyToken: once,
          timeoutInMinutesOverride: maximumSeconds / 60,
          environmentVariablesOverride: [{ name: 'SLIPWAY_JOB', value: JSON.stringify(ticket), type: 'PLAINTEXT' }],
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
