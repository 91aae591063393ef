// How builds of an account speak to Step Functions, on a machine that does nothing but wait for somebody's word.
import { randomUUID } from 'node:crypto';
import {
  CreateActivityCommand,
  CreateStateMachineCommand,
  DescribeExecutionCommand,
  GetActivityTaskCommand,
  ListExecutionsCommand,
  SFNClient,
  StopExecutionCommand,
} from '@aws-sdk/client-sfn';
import { describe, expect, inject, test, vi } from 'vitest';
import { StepFunctionsBuilds } from '../../functions/step-functions-builds.ts';
import { taskSignals } from '../../functions/task-signals.ts';
import { BuildRecords } from '../../shared/build/build-records.ts';
import { JobRecords } from '../../shared/workflow/job-record.ts';
import { requestOf } from '../support/account-home.ts';
import { clientOptions } from '../support/aws.ts';
import { storeHome } from '../support/store-home.ts';

const aws = inject('aws');

describe.skipIf('missing' in aws)('Step Functions', () => {
  async function world() {
    const endpoint = 'endpoint' in aws ? aws.endpoint : '';
    const client = new SFNClient(clientOptions(endpoint));
    const name = `builds-${randomUUID()}`;
    const { activityArn } = await client.send(new CreateActivityCommand({ name }));
    const { stateMachineArn: machine = '' } = await client.send(
      new CreateStateMachineCommand({
        name,
        roleArn: 'arn:aws:iam::000000000000:role/any',
        definition: JSON.stringify({
          StartAt: 'Wait',
          States: { Wait: { Type: 'Task', Resource: activityArn, TimeoutSeconds: 300, End: true } },
        }),
      }),
    );
    const home = await storeHome();
    const records = new BuildRecords({ table: home.table, blobs: home.blobs, clock: Date.now });
    const builds = new StepFunctionsBuilds({ client, machine, records, table: home.table, followFor: 30_000 });
    const executionArn = (id: string): string => `${machine.replace(':stateMachine:', ':execution:')}:${id}`;
    return {
      client,
      machine,
      records,
      builds,
      home,
      executionArn,
      /** The token of the task that waits. */
      async token(): Promise<string> {
        // It may not have come there yet.
        for (let tries = 0; tries < 10; tries++) {
          const { taskToken } = await client.send(new GetActivityTaskCommand({ activityArn }));
          if (taskToken) return taskToken;
          await new Promise((resolve) => setTimeout(resolve, 200));
        }
        throw new Error('nobody waits');
      },
      describe: (id: string) => client.send(new DescribeExecutionCommand({ executionArn: executionArn(id) })),
      async [Symbol.asyncDispose]() {
        client.destroy();
        await home[Symbol.asyncDispose]();
      },
    };
  }

  test('one build is one execution, of its name, with nothing but its id', async () => {
    await using at = await world();
    const request = requestOf('FROM scratch\n');
    const id = await at.builds.start(request, { clientToken: 'a', by: 'me' });
    expect(await at.builds.start(request, { clientToken: 'a', by: 'me' })).toBe(id);
    const { executions } = await at.client.send(new ListExecutionsCommand({ stateMachineArn: at.machine }));
    expect(executions?.map(({ name }) => name)).toEqual([id]);
    expect(await at.describe(id)).toMatchObject({ status: 'RUNNING', input: JSON.stringify({ build: id }) });
    expect(await at.builds.get(id)).toMatchObject({ state: 'queued' });
    await at.client.send(new StopExecutionCommand({ executionArn: at.executionArn(id) }));
  });

  test('one that was stopped by hand is known as failed; one that was to be cancelled, as cancelled', async () => {
    await using at = await world();
    for (const cancelled of [false, true]) {
      const id = await at.builds.start(requestOf('FROM scratch\n'));
      await at.records.start(id);
      if (cancelled) await at.records.requestCancel(id);
      const stop = { executionArn: at.executionArn(id), error: 'Tidying', cause: 'somebody tidied up' };
      await at.client.send(new StopExecutionCommand(stop));
      await expect.poll(async () => (await at.builds.get(id)).state, { timeout: 30_000 }).not.toBe('running');
      expect(await at.builds.get(id)).toMatchObject(
        cancelled ? { state: 'cancelled' } : { state: 'failed', failure: { message: expect.stringContaining('was ended') } },
      );
    }
  });

  test('cancelling fails the task that waits for a runner, by its token, and ends the record', async () => {
    await using at = await world();
    const id = await at.builds.start(requestOf('FROM scratch\n'));
    await at.records.start(id);
    const waiter = await at.token();
    const jobs = new JobRecords(at.home.table, () => 9_999_999_999);
    await jobs.edit(id, 0, () => ({ attempt: 1, state: 'open', waiter, opened: 0, tries: 1, machines: [] }));
    await at.builds.cancel(id);
    expect(await at.records.get(id)).toMatchObject({ state: 'cancelled' });
    await expect.poll(() => at.describe(id), { timeout: 30_000 }).toMatchObject({ status: 'FAILED', error: 'CANCELLED' });
    // The task is over now, which is no error.
    await at.builds.cancel(id);
    await taskSignals(at.client).done(waiter);
    expect(await taskSignals(at.client).alive(waiter)).toBe(false);
    await taskSignals(at.client).failed(waiter, 'X', 'late');
  });

  test('a job that is done ends its task; told again, nothing happens', async () => {
    await using at = await world();
    const id = await at.builds.start(requestOf('FROM scratch\n'));
    const waiter = await at.token();
    const signals = taskSignals(at.client);
    expect(await signals.alive(waiter)).toBe(true);
    for (const _ of [1, 2]) await signals.done(waiter);
    await signals.failed(waiter, 'X', 'late');
    await vi.waitFor(async () => expect(await at.describe(id)).toMatchObject({ status: 'SUCCEEDED' }), 10_000);
  });

  test('a build that cannot be started says so, and is not left waiting', async () => {
    await using at = await world();
    const { records, home, client } = at;
    const machine = `${at.machine}-gone`;
    const builds = new StepFunctionsBuilds({ client, machine, records, table: home.table });
    await expect(builds.start(requestOf('FROM scratch\n'), { clientToken: 'a' })).rejects.toMatchObject({
      code: 'STORE',
      message: expect.stringContaining('could not be started'),
    });
    const [build] = await records.list({ limit: 1 });
    expect(build).toMatchObject({ state: 'failed' });
  });
});
