// The builds of an account as the control API has them, on a world's state machine: Step Functions as far as StepFunctionsBuilds asks it.
import {
  DescribeExecutionCommand,
  ExecutionAlreadyExists,
  ExecutionDoesNotExist,
  SendTaskFailureCommand,
  StartExecutionCommand,
  TaskDoesNotExist,
} from '@aws-sdk/client-sfn';
import { StepFunctionsBuilds, type StepFunctionsBuildsOptions } from '../../functions/step-functions-builds.ts';
import { BuildRecords } from '../../shared/build/build-records.ts';
import type { AccountWorld } from './account-world.ts';
import type { Execution } from './state-machine.ts';

export interface WorldBuilds {
  readonly builds: StepFunctionsBuilds;
  /** Resolves when the execution of a build has come to its end, and everything it had begun. */
  ended(id: string): Promise<Execution>;
}

export function worldBuilds(world: AccountWorld): WorldBuilds {
  const executions = new Map<string, { readonly end: Promise<Execution>; status: string }>();
  const fault = { $metadata: { httpStatusCode: 400 }, message: 'as Step Functions says it' };
  const send = async (command: unknown): Promise<unknown> => {
    if (command instanceof StartExecutionCommand) {
      const { name = '', input = '' } = command.input;
      if (executions.has(name)) throw new ExecutionAlreadyExists(fault);
      const machine = world.machine();
      const one = { status: 'RUNNING', end: machine.execute(JSON.parse(input) as Record<string, unknown>) };
      executions.set(name, {
        ...one,
        end: one.end.then(async (end) => {
          executions.get(name)!.status = end.status;
          await machine.quiet();
          return end;
        }),
      });
      return {};
    }
    if (command instanceof DescribeExecutionCommand) {
      const one = executions.get(command.input.executionArn?.split(':').at(-1) ?? '');
      if (one === undefined) throw new ExecutionDoesNotExist(fault);
      return { status: one.status };
    }
    if (command instanceof SendTaskFailureCommand) {
      const { taskToken = '', error = '', cause = '' } = command.input;
      if (!world.tasks.waiting.includes(taskToken)) throw new TaskDoesNotExist(fault);
      await world.tasks.signals.failed(taskToken, error, cause);
      return {};
    }
    throw new Error('Step Functions is not asked for that');
  };
  // As it is: what breaks in a world breaks in its functions.
  const { table, blobs } = world.home.disk;
  const builds = new StepFunctionsBuilds({
    client: { send } as StepFunctionsBuildsOptions['client'],
    machine: 'arn:aws:states:us-east-1:000000000000:stateMachine:builds',
    records: new BuildRecords({ table, blobs, clock: Date.now }),
    table,
    followFor: 60_000,
  });
  return { builds, ended: async (id) => executions.get(id)!.end };
}
