// Errors of the AWS SDK as ours. The drivers handle the ones they can do something about; this is for the rest.
import { SlipwayError } from '../../errors.ts';

/** The exception's name on the wire (`NoSuchKey`, `ThrottlingException`), or undefined when it is none of the SDK's. */
export function nameOf(error: unknown): string | undefined {
  return error instanceof Error && '$metadata' in error ? error.name : undefined;
}

export function statusOf(error: unknown): number | undefined {
  if (!(error instanceof Error) || !('$metadata' in error)) return undefined;
  return (error.$metadata as { readonly httpStatusCode?: number } | undefined)?.httpStatusCode;
}

const throttled = new Set(['ThrottlingException', 'ProvisionedThroughputExceededException', 'RequestLimitExceeded', 'SlowDown']);

/** What could not be done (`what`), because of what. Aborted requests are CANCELLED. */
export function awsError(error: unknown, what: string, signal: AbortSignal | undefined): unknown {
  if (error instanceof SlipwayError) return error;
  if (signal?.aborted) return new SlipwayError('CANCELLED', 'cancelled', { cause: signal.reason });
  if (!(error instanceof Error)) return error;
  const name = nameOf(error) ?? error.name;
  const hint = throttled.has(name)
    ? 'The service asked to slow down and retries did not help: try again later, or raise its limits.'
    : statusOf(error) === 403
      ? 'The role may not do this: look at its policy.'
      : name === 'NoSuchBucket' || name === 'ResourceNotFoundException'
        ? 'Is the installation deployed, and is this its region?'
        : undefined;
  return new SlipwayError('STORE', `${what}: ${name}: ${error.message}`, {
    ...(hint === undefined ? {} : { hint }),
    cause: error,
  });
}
