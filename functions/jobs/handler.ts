// The routes that runners use, behind API Gateway without its authorizer: each call shows its job's own token.
import { createJobApi } from '../../shared/api/jobs.ts';
import { JobService } from '../../shared/workflow/job-service.ts';
import { callOf, type GatewayEvent, type GatewayResult } from '../gateway.ts';
import { jobKey } from '../job-key.ts';
import { taskSignals } from '../task-signals.ts';
import { openWorkflow } from '../workflow.ts';

const ready = Promise.all([openWorkflow(process.env), jobKey(process.env)]).then(([ports, key]) =>
  createJobApi({ jobs: new JobService({ ...ports, signals: taskSignals() }), key, clock: Date.now }),
);

export async function handler(event: GatewayEvent): Promise<GatewayResult> {
  const { method, path, query, header, body, signal } = callOf(event);
  const answer = await (await ready)({
    method,
    url: `http://jobs${path}${query === '' ? '' : `?${query}`}`,
    headers: { get: (name) => header(name) ?? null },
    body: body ?? null,
    signal,
  });
  const text = answer.body instanceof Uint8Array ? Buffer.from(answer.body).toString('utf8') : '';
  return { statusCode: answer.status, headers: { ...answer.headers }, body: text, isBase64Encoded: false };
}
