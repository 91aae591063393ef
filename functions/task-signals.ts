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
  /** Whether somebody waited for it. */
  const heard = async (sent: Promise<unknown>): Promise<boolean> => {
    try {
      await sent;
      return true;
    } catch (error) {
      if (!over(error)) throw error;
      return false;
    }
  };
  return {
    done: async (taskToken) => void (await heard(client.send(new SendTaskSuccessCommand({ taskToken, output: '{}' })))),
    failed: async (taskToken, error, cause) =>
      void (await heard(client.send(new SendTaskFailureCommand({ taskToken, error, cause })))),
    alive: (taskToken) => heard(client.send(new SendTaskHeartbeatCommand({ taskToken }))),
  };
}
