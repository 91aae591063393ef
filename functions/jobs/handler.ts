// The routes that runners use, behind API Gateway without its authorizer: each call shows its job's own token.
import { createJobApi } from '../../shared/api/jobs.ts';
import { JobService } from '../../shared/workflow/job-service.ts';
import { apiHandler } from '../api-gateway.ts';
import { countedJob } from '../counted-calls.ts';
import { jobKey } from '../job-key.ts';
import { Metering } from '../metering.ts';
import { openTable } from '../stores.ts';
import { taskSignals } from '../task-signals.ts';
import { openWorkflow } from '../workflow.ts';

export const handler = apiHandler(
  async () => {
    const [ports, key] = await Promise.all([openWorkflow(process.env), jobKey(process.env)]);
    return createJobApi({ jobs: new JobService({ ...ports, signals: taskSignals() }), key, clock: Date.now });
  },
  countedJob(new Metering({ name: 'jobs', env: process.env }), openTable(process.env)),
);
