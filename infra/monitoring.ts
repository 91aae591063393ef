// Alarms on what a team would want to be woken for, and one page that shows how registry and builds are doing.
import { Duration } from 'aws-cdk-lib';
import type { RestApi } from 'aws-cdk-lib/aws-apigateway';
import {
  Alarm,
  ComparisonOperator,
  Dashboard,
  GraphWidget,
  type IAlarmAction,
  type IMetric,
  MathExpression,
  TreatMissingData,
} from 'aws-cdk-lib/aws-cloudwatch';
import { Construct } from 'constructs';
import type { BuildWorkflow } from './build-workflow.ts';
import type { Program } from './functions.ts';
import type { Runners } from './runners.ts';
import type { Storage } from './storage.ts';

export interface MonitoringProps {
  readonly api: RestApi;
  readonly storage: Storage;
  /** By the name shown. */
  readonly programs: Readonly<Record<string, Program>>;
  readonly builds: BuildWorkflow;
  readonly runners: Runners;
  readonly alarmActions: readonly IAlarmAction[];
}

const period = Duration.minutes(5);

export class Monitoring extends Construct {
  readonly alarms: readonly Alarm[];
  readonly dashboard: Dashboard;

  constructor(scope: Construct, id: string, props: MonitoringProps) {
    super(scope, id);
    const { api, storage, builds, runners, alarmActions } = props;
    const { machine } = builds;
    const alarms: Alarm[] = [];
    const alarm = (name: string, metric: IMetric, threshold: number, periods: number, description: string): void => {
      const made = new Alarm(this, name, {
        metric,
        threshold,
        evaluationPeriods: periods,
        comparisonOperator: ComparisonOperator.GREATER_THAN_OR_EQUAL_TO_THRESHOLD,
        treatMissingData: TreatMissingData.NOT_BREACHING,
        alarmDescription: description,
      });
      made.addAlarmAction(...alarmActions);
      alarms.push(made);
    };
    const sum = { period, statistic: 'Sum' };
    // These answer what goes wrong for their callers; an error is one of their own.
    const answering = { ...props.programs, Control: builds.api, Jobs: builds.jobs, Launch: builds.launch };
    // These end with an error for every Dockerfile that has one.
    const working = { Plan: builds.plan, Stage: builds.stage, Finish: builds.finish };
    const programs: Readonly<Record<string, Program>> = { ...answering, ...working };
    for (const [name, program] of Object.entries(answering)) {
      alarm(
        `${name}Errors`,
        program.function.metricErrors(sum),
        5,
        1,
        `${name} failed five times within five minutes: see its log.`,
      );
    }
    for (const [name, program] of Object.entries(programs)) {
      alarm(
        `${name}Throttles`,
        program.function.metricThrottles(sum),
        1,
        3,
        `${name} was refused for a quarter of an hour: raise the account's concurrency for Lambda.`,
      );
    }
    alarm('BuildsTimedOut', machine.metricTimedOut(sum), 1, 1, 'A build took more than six hours and was ended.');
    alarm('BuildsThrottled', machine.metricThrottled(sum), 10, 1, 'Step Functions made builds wait: see its quotas.');
    alarm('ServerErrors', api.metricServerError(sum), 10, 1, 'The API answered 5xx ten times within five minutes.');
    for (const name of ['ReadThrottleEvents', 'WriteThrottleEvents']) {
      alarm(
        name,
        storage.table.metric(name, sum),
        10,
        1,
        'DynamoDB made calls wait: one key is very hot, or the load rose very fast.',
      );
    }
    this.alarms = alarms;

    const metrics = (pick: (program: Program, label: string) => IMetric): IMetric[] =>
      Object.entries(programs).map(([label, program]) => pick(program, label));
    const half = 12;
    this.dashboard = new Dashboard(this, 'Dashboard', { defaultInterval: Duration.days(1) });
    this.dashboard.addWidgets(
      new GraphWidget({
        title: 'Requests',
        width: half,
        left: [
          api.metricCount({ ...sum, label: 'all' }),
          api.metricClientError({ ...sum, label: '4xx (each login begins with one)' }),
          api.metricServerError({ ...sum, label: '5xx' }),
        ],
      }),
      new GraphWidget({
        title: 'Time to answer',
        width: half,
        left: [
          api.metricLatency({ period, statistic: 'p50', label: 'half' }),
          api.metricLatency({ period, statistic: 'p99', label: '99 of 100' }),
        ],
      }),
      new GraphWidget({
        title: 'Function time',
        width: half,
        left: metrics((p, label) => p.function.metricDuration({ period, statistic: 'p90', label })),
      }),
      new GraphWidget({
        title: 'Errors and throttles',
        width: half,
        left: [
          ...metrics((p, label) => p.function.metricErrors({ ...sum, label: `${label} errors` })),
          ...metrics((p, label) => p.function.metricThrottles({ ...sum, label: `${label} throttles` })),
        ],
      }),
      new GraphWidget({
        title: 'Builds',
        width: half,
        left: [
          machine.metricStarted({ ...sum, label: 'started' }),
          machine.metricSucceeded({ ...sum, label: 'succeeded' }),
          machine.metricFailed({ ...sum, label: 'failed' }),
          machine.metricAborted({ ...sum, label: 'cancelled' }),
        ],
        right: [machine.metricTime({ period, statistic: 'p90', label: 'time, nine of ten' })],
      }),
      new GraphWidget({
        title: 'Runners',
        width: half,
        left: [
          builds.launch.function.metricInvocations({ ...sum, label: 'started and stopped' }),
          ...Object.entries(runners.projects).map(([name, project]) =>
            project.metricDuration({ ...sum, label: `${name} seconds` }),
          ),
        ],
      }),
      new GraphWidget({
        title: 'Table',
        width: half,
        left: [
          storage.table.metricConsumedReadCapacityUnits({ ...sum, label: 'read units' }),
          storage.table.metricConsumedWriteCapacityUnits({ ...sum, label: 'write units' }),
        ],
      }),
      new GraphWidget({
        title: 'Share of requests that failed',
        width: half,
        left: [
          new MathExpression({
            expression: '100 * faults / requests',
            label: 'percent',
            period,
            usingMetrics: { faults: api.metricServerError(sum), requests: api.metricCount(sum) },
          }),
        ],
      }),
    );
  }
}
