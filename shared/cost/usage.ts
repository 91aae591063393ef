// What a build uses of AWS, in the units that AWS counts. Whole numbers throughout (units of DynamoDB: halves), so that sums are exact.

/**
 * Counters by name; each is summed over the parts of a build.
 *
 * | name | unit |
 * |---|---|
 * | lambdaRequests | invocations of functions |
 * | lambdaArm64MibMs, lambdaX64MibMs | configured memory in MiB times duration in ms |
 * | microvmMilliVcpuMs, microvmMibMs | baseline of a MicroVM times ms, whole seconds |
 * | microvmBurstMilliVcpuMs, microvmBurstMibMs | what it used above that, times ms |
 * | codebuildX64MediumMinutes, ... | minutes begun, by architecture and size |
 * | runnerMs | from the start of a runner to its stop, not rounded |
 * | s3Reads, s3Writes, s3Frees | GET and HEAD; PUT, POST, COPY and LIST; DELETE, which costs nothing |
 * | s3BytesIn, s3BytesOut | bytes of bodies, to S3 and from it |
 * | dynamodbRequests, dynamodbReadUnits, dynamodbWriteUnits | requests, and the request units they consumed |
 * | dynamodbBytesIn, dynamodbBytesOut | bytes of bodies |
 * | stateTransitions | of Step Functions |
 * | apiRequests | of API Gateway |
 */
export type Usage = Readonly<Record<string, number>>;

/** What one step used in one part. */
export interface StepUsage {
  readonly stage?: number;
  /** As the log names it, shortened. */
  readonly name: string;
  readonly ms: number;
  readonly usage: Usage;
}

/** A machine that executes RUN. Times in milliseconds since 1970. */
export interface RunnerUse {
  readonly kind: 'microvm' | 'codebuild';
  readonly stage: number;
  readonly attempt: number;
  readonly started: number;
  /** Absent while it runs, and when nobody stopped it. */
  readonly ended?: number;
  /** Of a MicroVM: its baseline. */
  readonly mib?: number;
  readonly milliVcpu?: number;
  /** Of a CodeBuild build, e.g. `X64Medium`. */
  readonly size?: string;
}

/** What one process, runner or job of a build reports. Later reports of the same part replace earlier ones: they go on counting. */
export interface UsagePart {
  /** Milliseconds since 1970. Of two reports the later one counts. */
  readonly at: number;
  readonly usage: Usage;
  readonly steps?: readonly StepUsage[];
  readonly runner?: RunnerUse;
  /** The part is what a runner says of itself. */
  readonly job?: { readonly stage: number; readonly attempt: number };
  /** The table of prices in force when the build began, and the Region it began in. */
  readonly prices?: unknown;
  readonly region?: string;
}

export function sumOf(usages: Iterable<Usage>): Usage {
  const total: Record<string, number> = {};
  for (const usage of usages) {
    for (const [name, amount] of Object.entries(usage)) total[name] = (total[name] ?? 0) + amount;
  }
  return total;
}

/** What is counted of a step, by stage and name. */
export const stepKey = ({ stage, name }: { readonly stage?: number; readonly name: string }): string => `${stage ?? ''} ${name}`;

/** Steps of the same stage and name are one. In order of their first appearance. */
export function mergedSteps(steps: Iterable<StepUsage>): readonly StepUsage[] {
  const merged = new Map<string, StepUsage>();
  for (const step of steps) {
    const key = stepKey(step);
    const known = merged.get(key);
    merged.set(key, known === undefined ? step : { ...known, ms: known.ms + step.ms, usage: sumOf([known.usage, step.usage]) });
  }
  return [...merged.values()];
}
