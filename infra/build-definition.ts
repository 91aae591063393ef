// The state machine of a build, in Amazon States Language (JSONPath): plan, then the ready stages side by side, again until the target is
// done, then finish. Only ids pass between states. Whatever ends badly goes to `Fail`, which writes the reason into the build's record.
// When one stage fails, the others are cut off wherever they are: `StopRunners` then stops what they had started.

export interface DefinitionParts {
  /** ARNs of functions. */
  readonly plan: string;
  readonly stage: string;
  readonly finish: string;
  readonly launch: string;
  readonly partition: string;
  /** Stages of one build that are executed at the same time. */
  readonly concurrency: number;
  /** Seconds in which a runner has to be heard of, its start included. */
  readonly heartbeat: number;
  /** Seconds that a runner may take. */
  readonly runnerTime: number;
}

/** Faults of Lambda itself, and of what a step stands on. Each state may be run again, so all of these may be tried again. */
const passing = [
  'Lambda.ServiceException',
  'Lambda.AWSLambdaException',
  'Lambda.SdkClientException',
  'Lambda.TooManyRequestsException',
  'Lambda.ClientExecutionTimeoutException',
  'Lambda.Unknown',
  'Runtime.ExitError',
  'STORE',
  'STORE_CONFLICT',
  'TOO_MANY_REQUESTS',
];

const retry = (attempts: number) => [
  {
    ErrorEquals: passing,
    IntervalSeconds: 1,
    MaxAttempts: attempts,
    BackoffRate: 2,
    MaxDelaySeconds: 30,
    JitterStrategy: 'FULL',
  },
];

/** A Region or an account that has no room for another runner right now. */
const patient = {
  ErrorEquals: ['TOO_MANY_REQUESTS'],
  IntervalSeconds: 5,
  MaxAttempts: 8,
  BackoffRate: 2,
  MaxDelaySeconds: 60,
  JitterStrategy: 'FULL',
};

/** As JSON; strings may be tokens of the CDK. */
export function buildDefinition(parts: DefinitionParts): Record<string, unknown> {
  const invoke = `arn:${parts.partition}:states:::lambda:invoke`;
  const failed = [{ ErrorEquals: ['States.ALL'], ResultPath: '$.error', Next: 'Fail' }];
  const call = (FunctionName: string, Payload: object, more: object) => ({
    Type: 'Task',
    Resource: invoke,
    Parameters: { FunctionName, Payload },
    Retry: retry(5),
    ...more,
  });
  const stageCatch = { ErrorEquals: ['States.ALL'], ResultPath: '$.error' };
  return {
    Comment: 'Slipway: one build',
    StartAt: 'Plan',
    TimeoutSeconds: 6 * 3600,
    States: {
      Plan: call(parts.plan, { 'build.$': '$.build' }, { TimeoutSeconds: 900, ResultPath: null, Catch: failed, Next: 'Ready' }),
      Ready: call(
        parts.finish,
        { do: 'ready', 'build.$': '$.build' },
        {
          ResultSelector: { 'stages.$': '$.Payload.stages', 'done.$': '$.Payload.done' },
          ResultPath: '$.ready',
          Catch: failed,
          Next: 'AllDone',
        },
      ),
      AllDone: {
        Type: 'Choice',
        Choices: [{ Variable: '$.ready.done', BooleanEquals: true, Next: 'Finish' }],
        Default: 'Stages',
      },
      Stages: {
        Type: 'Map',
        ItemsPath: '$.ready.stages',
        ItemSelector: { 'build.$': '$.build', 'stage.$': '$$.Map.Item.Value' },
        MaxConcurrency: parts.concurrency,
        ResultPath: null,
        Catch: [{ ErrorEquals: ['States.ALL'], ResultPath: '$.error', Next: 'StopRunners' }],
        Next: 'Ready',
        ItemProcessor: {
          ProcessorConfig: { Mode: 'INLINE' },
          StartAt: 'Stage',
          States: {
            Stage: call(
              parts.stage,
              { 'build.$': '$.build', 'stage.$': '$.stage' },
              {
                TimeoutSeconds: 900,
                ResultSelector: { 'status.$': '$.Payload.status', 'answer.$': '$.Payload' },
                ResultPath: '$.outcome',
                Next: 'StageDone',
              },
            ),
            StageDone: {
              Type: 'Choice',
              Choices: [{ Variable: '$.outcome.status', StringEquals: 'runner', Next: 'Runner' }],
              Default: 'Done',
            },
            Runner: {
              Type: 'Task',
              Resource: `${invoke}.waitForTaskToken`,
              Parameters: {
                FunctionName: parts.launch,
                Payload: {
                  do: 'start',
                  'build.$': '$.build',
                  'stage.$': '$.stage',
                  'platform.$': '$.outcome.answer.platform',
                  'token.$': '$$.Task.Token',
                },
              },
              HeartbeatSeconds: parts.heartbeat,
              TimeoutSeconds: parts.runnerTime,
              // Each try has a token of its own, and is another attempt for the launch function.
              Retry: [patient, ...retry(5)],
              ResultPath: null,
              // A runner that was lost is stopped for good, and the stage goes on from where it came; the launch function counts.
              Catch: [
                { ErrorEquals: ['States.HeartbeatTimeout', 'States.Timeout'], ResultPath: '$.error', Next: 'StopRunner' },
                { ...stageCatch, Next: 'StopAfterFailure' },
              ],
              Next: 'StopRunner',
            },
            StopRunner: call(
              parts.launch,
              { do: 'stop', 'build.$': '$.build', 'stage.$': '$.stage' },
              // It can do no harm: its token is void. It is tried again when the build has ended.
              { ResultPath: null, Catch: [{ ErrorEquals: ['States.ALL'], ResultPath: null, Next: 'Stage' }], Next: 'Stage' },
            ),
            StopAfterFailure: call(
              parts.launch,
              { do: 'stop', 'build.$': '$.build', 'stage.$': '$.stage' },
              // What failed before is the reason.
              {
                ResultPath: null,
                Catch: [{ ErrorEquals: ['States.ALL'], ResultPath: null, Next: 'StageFailed' }],
                Next: 'StageFailed',
              },
            ),
            StageFailed: { Type: 'Fail', ErrorPath: '$.error.Error', CausePath: '$.error.Cause' },
            Done: { Type: 'Succeed' },
          },
        },
      },
      Finish: call(
        parts.finish,
        { do: 'finish', 'build.$': '$.build' },
        { TimeoutSeconds: 900, ResultPath: null, Catch: failed, Next: 'Succeeded' },
      ),
      Succeeded: { Type: 'Succeed' },
      StopRunners: call(
        parts.launch,
        { do: 'stop', 'build.$': '$.build' },
        // What failed before is the reason. The end of the execution is another occasion to stop them.
        { ResultPath: null, Catch: [{ ErrorEquals: ['States.ALL'], ResultPath: null, Next: 'Fail' }], Next: 'Fail' },
      ),
      Fail: call(
        parts.finish,
        { do: 'fail', 'build.$': '$.build', 'error.$': '$.error.Error', 'cause.$': '$.error.Cause' },
        {
          Retry: [...retry(8), { ErrorEquals: ['States.ALL'], IntervalSeconds: 5, MaxAttempts: 5, BackoffRate: 2 }],
          ResultPath: null,
          Next: 'Failed',
        },
      ),
      Failed: { Type: 'Fail', ErrorPath: '$.error.Error', CausePath: '$.error.Cause' },
    },
  };
}
