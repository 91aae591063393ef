// Tells Step Functions how jobs stand, by their task tokens.
import {
  SendTaskFailureCommand,
  SendTaskHeartbeatCommand,
  SendTaskSuccessCommand,
  SFNClient,
  type SFNServiceException,
} from '@aws-sdk/client-sfn';
import type { JobSignals } from '../shared/workflow/job-service.ts';

/** The task has ended: told twice, timed out, or its execution was stopped. Nobody waits, so nobody misses it. */
const over = (error: unknown): boolean =>
  ['TaskTimedOut', 'TaskDoesNotExist', 'InvalidToken'].includes((error as SFNServiceException | undefined)?.name ?? '');

export function taskSignals(client: SFNClient = new SFNClient({})): JobSignals {
  const quietly = async (sent: Promise<unknown>): Promise<void> => {
    try {
      await sent;
    } catch (error) {
      if (!over(error)) throw error;
    }
  };
  return {
    done: (taskToken) => quietly(client.send(new SendTaskSuccessCommand({ taskToken, output: '{}' }))),
    failed: (taskToken, error, cause) => quietly(client.send(new SendTaskFailureCommand({ taskToken, error, cause }))),
    alive: (taskToken) => quietly(client.send(new SendTaskHeartbeatCommand({ taskToken }))),
  };
}
