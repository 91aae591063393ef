// Takes away what nothing needs any more, once a day: what deleted images, old contexts, forgotten pushes and the build cache leave behind.
// docs/decisions/0015 says why nobody loses anything by it.
import { Duration } from 'aws-cdk-lib';
import { Rule, Schedule } from 'aws-cdk-lib/aws-events';
import { LambdaFunction as FunctionTarget } from 'aws-cdk-lib/aws-events-targets';
import type { RetentionDays } from 'aws-cdk-lib/aws-logs';
import { Construct } from 'constructs';
import { grantObjects, grantRecords, Program } from './functions.ts';
import type { Storage } from './storage.ts';

export interface CollectionProps {
  /**
   * How long something must have been unused, and asked for by nobody, before it goes. It is also how long the build cache lasts for layers
   * that are in no image. At least a day; 14 days when absent.
   */
  readonly after?: Duration;
  /** How long a build that has ended is remembered, with its log and what it used. At least a week; 90 days when absent. */
  readonly keepBuilds?: Duration;
  /** How often a collection begins. At least an hour; a day when absent. */
  readonly every?: Duration;
}

export class Collection extends Construct {
  readonly program: Program;

  constructor(
    scope: Construct,
    id: string,
    props: CollectionProps & {
      readonly storage: Storage;
      readonly environment: Readonly<Record<string, string>>;
      readonly logRetention: RetentionDays;
    },
  ) {
    super(scope, id);
    const { storage, after = Duration.days(14), every = Duration.days(1), keepBuilds = Duration.days(90) } = props;
    const inDays = (duration: Duration): number => duration.toSeconds() / Duration.days(1).toSeconds();
    if (inDays(after) < 1) throw new Error(`collection.after: ${after.toHumanString()} is less than a day`);
    if (inDays(keepBuilds) < 7) throw new Error(`collection.keepBuilds: ${keepBuilds.toHumanString()} is less than a week`);
    if (inDays(every) < 1 / 24) throw new Error(`collection.every: ${every.toHumanString()} is less than an hour`);
    this.program = new Program(this, 'Collect', {
      folder: 'collect',
      description: 'Slipway: takes away what nothing needs any more',
      memory: 1024,
      timeout: Duration.minutes(15),
      logRetention: props.logRetention,
      environment: {
        ...props.environment,
        SLIPWAY_BUCKET: storage.bucket.bucketName,
        SLIPWAY_COLLECT_AFTER_DAYS: String(inDays(after)),
        SLIPWAY_COLLECT_EVERY_DAYS: String(inDays(every)),
        SLIPWAY_KEEP_BUILDS_DAYS: String(inDays(keepBuilds)),
      },
    });
    grantRecords(this.program, storage);
    grantObjects(this.program, storage);
    // Hourly, whatever `every` says: a call that was not enough for all of it is gone on with by the next.
    new Rule(this, 'Hourly', {
      description: 'Slipway: collects',
      schedule: Schedule.rate(Duration.hours(1)),
      targets: [new FunctionTarget(this.program.function, { retryAttempts: 0 })],
    });
  }
}
