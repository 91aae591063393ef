// How runners are started and stopped, as far as the emulator has CodeBuild and MicroVMs: it starts nothing, keeps no variables, and does
// not know client tokens. For those see test/functions/runners.test.ts.
import { randomUUID } from 'node:crypto';
import { BatchGetBuildsCommand, CodeBuildClient, CreateProjectCommand } from '@aws-sdk/client-codebuild';
import { GetMicrovmCommand, LambdaMicrovmsClient } from '@aws-sdk/client-lambda-microvms';
import { describe, expect, inject, test } from 'vitest';
import { openMachines } from '../../functions/runners.ts';
import { clientOptions } from '../support/aws.ts';

const aws = inject('aws');
const ticket = { url: 'https://home.test/api/v1/jobs/b/0', token: 'slipway-job-1.b.0.1.1.x' };

describe.skipIf('missing' in aws)('runners', () => {
  const options = clientOptions('endpoint' in aws ? aws.endpoint : '');
  const [codebuild, microvms] = [new CodeBuildClient(options), new LambdaMicrovmsClient(options)];
  const clients = { codebuild, microvms, sign: async () => 'https://bucket.test/program.zip?X-Amz-Signature=x' };

  test('a CodeBuild build is started by its project’s name, and stopped', async () => {
    const name = `slipway-${randomUUID()}`;
    await codebuild.send(
      new CreateProjectCommand({
        name,
        source: { type: 'NO_SOURCE', buildspec: 'version: 0.2' },
        artifacts: { type: 'NO_ARTIFACTS' },
        environment: { type: 'LINUX_CONTAINER', image: 'any', computeType: 'BUILD_GENERAL1_SMALL' },
        serviceRole: 'arn:aws:iam::000000000000:role/any',
      }),
    );
    const machines = openMachines(
      { SLIPWAY_RUNNER_AMD64: `codebuild:${name}`, SLIPWAY_RUNNER_PROGRAM: 's3://assets/program.zip' },
      clients,
    );
    const handle = await machines.start('linux/amd64', ticket, 'b-0-1');
    expect(handle).toMatch(new RegExp(`^codebuild:${name}:`));
    const status = async () => {
      const { builds } = await codebuild.send(new BatchGetBuildsCommand({ ids: [handle.slice('codebuild:'.length)] }));
      return builds?.[0]?.buildStatus;
    };
    await machines.stop(handle);
    expect(await status()).toBe('STOPPED');
    await machines.stop(handle);
    await machines.stop(`codebuild:${name}:${randomUUID()}`);
    expect(await machines.find('linux/amd64', ticket, 'never started')).toBeUndefined();
  });

  test('a MicroVM is run and terminated', async () => {
    const image = 'arn:aws:lambda:us-east-1:000000000000:microvm-image:slipway-runner';
    const machines = openMachines({ SLIPWAY_RUNNER_ARM64: `microvm:${image}` }, clients);
    const handle = await machines.start('linux/arm64', ticket, 'b-0-1');
    const microvmIdentifier = handle.slice('microvm:'.length);
    const state = async () => (await microvms.send(new GetMicrovmCommand({ microvmIdentifier }))).state;
    expect(await state()).toBe('RUNNING');
    await machines.stop(handle);
    expect(await state()).toBe('TERMINATED');
    await machines.stop(handle);
    await machines.stop('microvm:microvm-never-was');
  });
});
